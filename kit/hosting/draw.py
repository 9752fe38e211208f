"""Which trials of a recording become public, in what order and under what ids."""

import random
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from kit.challenge.tracks import TEST_SETS
from kit.data.layout import TIERS
from kit.data.recordings import Recording

FEWEST_IMAGES = 3  # of a test set: fewer cannot be ranked
IMAGE_IDS = range(10**8)


@dataclass(frozen=True, eq=False)
class PublicTrials:
    """The T trials of the public recording, in an order and with ids that tell nothing."""

    rows: np.ndarray  # (T,) of the given recording
    secret: int  # from which the rounding of responses is drawn
    tiers: np.ndarray  # (T,) str
    trial_ids: np.ndarray  # (T,) 32 hexadecimal digits
    image_ids: np.ndarray  # (T,) int: repeats of an image share it

    @property
    def hidden(self) -> np.ndarray:
        """(T,) bool: the trials with withheld responses."""
        return np.isin(self.tiers, list(TEST_SETS))


def draw_trials(recording: Recording, final_share: float, seed: int | None) -> PublicTrials:
    """Draw the test sets, the order of the trials, and all ids.

    final_share: of the test images, if there is no final_test. Raises ValueError if a tier is
    missing, is not known, or cannot be scored.
    """
    # nobody can compute the system's numbers from each other, as numpy's can be
    rng = random.SystemRandom() if seed is None else random.Random(seed)
    recording.require_tiers("train", "validation", "test")
    rows = np.flatnonzero(np.isin(recording.tiers, TIERS))
    images = _index_images(recording, rows)
    tiers = recording.tiers[rows].astype("<U10")
    if "final_test" not in tiers:
        shown = np.unique(images[tiers == "test"]).tolist()
        final = rng.sample(shown, round(final_share * len(shown)))
        tiers[np.isin(images, final) & (tiers == "test")] = "final_test"
    _require_fair(recording, rows, tiers, images)
    order = rng.sample(range(len(rows)), len(rows))
    image_ids = np.array(rng.sample(IMAGE_IDS, images.max() + 1))
    trial_ids = np.array([rng.randbytes(16).hex() for _ in rows])
    return PublicTrials(
        rows[order], rng.getrandbits(128), tiers[order], trial_ids, image_ids[images[order]]
    )


def _index_images(recording, rows):
    """Index of the image of each trial, (T,). Images of the same pixels are the same image.

    Raises ValueError if one id has two pictures.
    """
    _, first, image = np.unique(recording.image_ids[rows], return_index=True, return_inverse=True)
    digests = [blake2b(recording.images[row].tobytes()).digest() for row in rows]
    for row, digest, own in zip(rows, digests, first[image], strict=True):
        if digest != digests[own]:
            raise ValueError(
                f"image id {recording.image_ids[row]} of mouse {recording.mouse} has "
                f"different pixels in trials {recording.trial_ids[rows[own]]} and "
                f"{recording.trial_ids[row]}; give each picture an id of its own"
            )
    index = {}  # digest -> index, in order of the ids: the last digits do not matter
    same = [index.setdefault(digests[k], len(index)) for k in first]
    return np.array(same)[image]


def _require_fair(recording, rows, tiers, images):
    """Raise ValueError unless every test set is withheld by all, and large enough to score."""
    for tier in ("test", "final_test"):
        here = tiers == tier
        shown, counts = np.unique(images[here], return_counts=True)
        if not np.isfinite(recording.responses[rows[here]]).all():
            raise ValueError(
                f"the responses of tier {tier!r} of mouse {recording.mouse} are "
                "withheld; put in the true ones: dataclasses.replace(recording, "
                "responses=…), for a sample mouse kit.truth(name).responses"
            )
        if len(shown) < FEWEST_IMAGES:
            raise ValueError(
                f"tier {tier!r} would have {len(shown)} images; a test set needs at "
                f"least {FEWEST_IMAGES}, and one that is split in two, twice as many"
            )
        if counts.max() == 1:
            raise ValueError(
                f"no image of tier {tier!r} would be shown twice, and without repeats "
                "there is no noise to compare a model with"
            )
        elsewhere = np.isin(images, shown) & ~here
        if elsewhere.any():
            raise ValueError(
                f"{len(np.unique(images[elsewhere]))} images of tier {tier!r} are "
                f"also shown in tier '{tiers[elsewhere][0]}', which tells what is "
                'withheld; give those trials another tier, such as "unused"'
            )
