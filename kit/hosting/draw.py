"""The draw of a challenge: its public trials, their order, and their ids."""

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
        tested = np.unique(images[tiers == "test"]).tolist()
        final = rng.sample(tested, round(final_share * len(tested)))
        tiers[np.isin(images, final) & (tiers == "test")] = "final_test"
    _require_fair(tiers, images)
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
    ids = recording.image_ids[rows]
    images = np.empty(len(rows), int)
    image_of_pixels = {}
    image_of_id = {}
    for k in np.argsort(ids, kind="stable"):  # not by pixels: the last digits do not matter
        pixels = blake2b(recording.images[rows[k]].tobytes()).digest()
        images[k] = image_of_pixels.setdefault(pixels, len(image_of_pixels))
        if image_of_id.setdefault(ids[k], images[k]) != images[k]:
            raise ValueError(
                f"image id {ids[k]} of mouse {recording.mouse} has different pixels in several "
                "trials; give each picture an id of its own"
            )
    return images


def _require_fair(tiers, images):
    """Raise ValueError unless every test set is withheld by all, and large enough to score."""
    for tier in TEST_SETS:
        inside = tiers == tier
        tested, counts = np.unique(images[inside], return_counts=True)
        if len(tested) < FEWEST_IMAGES or counts.max() == 1:
            raise ValueError(
                f"tier {tier!r} would have {len(tested)} images and {inside.sum()} trials; a test "
                f"set needs {FEWEST_IMAGES} images, or twice as many to be split, and repeats"
            )
        elsewhere = np.isin(images, tested) & ~inside
        if elsewhere.any():
            raise ValueError(
                f"images of tier {tier!r} are also shown in tier '{tiers[elsewhere][0]}', which "
                'tells what is withheld; give those trials another tier, such as "unused"'
            )
