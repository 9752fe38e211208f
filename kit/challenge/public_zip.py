"""The public recording of a challenge: trials in random order with random ids, and their zip."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from kit.challenge.tracks import TEST_SETS
from kit.data.official import KINDS, TIERS, write
from kit.data.recordings import Recording

FEWEST_IMAGES = 3  # of a test set: fewer cannot be ranked
IMAGE_IDS = range(10**8)
BITS = 16          # of a value that are kept; float32 has 24, and the last show how it was made


@dataclass(frozen=True, eq=False)
class PublicTrials:
    """The T trials of the public recording, in an order and with ids that tell nothing."""

    rows: np.ndarray       # (T,) of the given recording
    secret: int            # from which the rounding of responses is drawn
    tiers: np.ndarray      # (T,) str
    trial_ids: np.ndarray  # (T,) 32 hexadecimal digits
    image_ids: np.ndarray  # (T,) int: repeats of an image share it

    @property
    def hidden(self) -> np.ndarray:
        """(T,) bool: the trials whose responses are withheld."""
        return np.isin(self.tiers, list(TEST_SETS))


def draw_trials(recording: Recording, final_share: float, seed: int | None) -> PublicTrials:
    """Draw the test sets, the order of the trials, and all ids.

    final_share: of the test images, if there is no final_test. Raises ValueError if a tier is
    missing, is not known, or cannot be scored.
    """
    # the system's numbers cannot be computed from each other; those of numpy's generators can
    rng = random.SystemRandom() if seed is None else random.Random(seed)
    for tier in ("train", "validation", "test"):
        recording.rows(tier)  # raises ValueError if there is none
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
    return PublicTrials(rows[order], rng.getrandbits(128), tiers[order], trial_ids,
                        image_ids[images[order]])


def _index_images(recording, rows):
    """Index of the image of each trial, (T,). Images of the same pixels are the same image.

    Raises ValueError if one id has two pictures.
    """
    _, first, image = np.unique(recording.image_ids[rows], return_index=True, return_inverse=True)
    digests = [blake2b(recording.images[row].tobytes()).digest() for row in rows]
    for row, digest, own in zip(rows, digests, first[image], strict=True):
        if digest != digests[own]:
            raise ValueError(f"image id {recording.image_ids[row]} of mouse {recording.mouse} has "
                             f"different pixels in trials {recording.trial_ids[rows[own]]} and "
                             f"{recording.trial_ids[row]}; give each picture an id of its own")
    index = {}  # digest -> index, in order of the ids: the last digits do not matter
    same = [index.setdefault(digests[k], len(index)) for k in first]
    return np.array(same)[image]


def _require_fair(recording, rows, tiers, images):
    """Raise ValueError unless every test set is withheld by all, and large enough to score."""
    for tier in ("test", "final_test"):
        here = tiers == tier
        shown, counts = np.unique(images[here], return_counts=True)
        if not np.isfinite(recording.responses[rows[here]]).all():
            raise ValueError(f"the responses of tier {tier!r} of mouse {recording.mouse} are "
                             "withheld; put in the true ones: dataclasses.replace(recording, "
                             "responses=…), for a sample mouse kit.truth(name).responses")
        if len(shown) < FEWEST_IMAGES:
            raise ValueError(f"tier {tier!r} would have {len(shown)} images; a test set needs at "
                             f"least {FEWEST_IMAGES}, and one that is split in two, twice as many")
        if counts.max() == 1:
            raise ValueError(f"no image of tier {tier!r} would be shown twice, and without repeats "
                             "there is no noise to compare a model with")
        elsewhere = np.isin(images, shown) & ~here
        if elsewhere.any():
            raise ValueError(f"{len(np.unique(images[elsewhere]))} images of tier {tier!r} are "
                             f"also shown in tier '{tiers[elsewhere][0]}', which tells what is "
                             'withheld; give those trials another tier, such as "unused"')


# ---- from trials to a zip ----

def write_public(path: Path, recording: Recording, trials: PublicTrials, track: str) -> None:
    """Write the public zip, trial by trial. track: "sensorium" has zeros for behaviour."""
    count, hidden = len(trials.rows), trials.hidden
    pixel_type = _pixel_type(recording, trials)

    def images(trial):
        return raw_values(recording, "images", trials.rows[trial]).astype(pixel_type)

    def responses(trial):
        if hidden[trial]:
            return np.zeros(len(recording.unit_ids), np.float32)
        return raw_responses(recording, trials, trial)

    if track == "sensorium+":
        state = {kind: raw_values(recording, kind, trials.rows) for kind in KINDS[2:]}
    else:
        state = {"behavior": np.zeros((count, 3), np.float32),
                 "pupil_center": np.zeros((count, 2), np.float32)}
    write(path, {"images": _Lazy(images, count), "responses": _Lazy(responses, count), **state,
                 "tiers": trials.tiers, "trial_idx": trials.trial_ids,
                 "frame_image_id": trials.image_ids, "unit_ids": recording.unit_ids,
                 "cell_motor_coordinates": recording.coordinates}, statistics_from=~hidden)


def raw_values(recording: Recording, kind: str, rows: np.ndarray | int) -> np.ndarray:
    """Images, behaviour or eye positions (…) in their raw unit, float32 of which 16 bits are used.

    Pixels become the whole numbers that they were.
    """
    std = np.asarray(recording.statistics[f"{kind}_std"], float)
    values = getattr(recording, kind)[rows] * std + recording.statistics[f"{kind}_mean"]
    return _keep_bits(values, std, np.rint)


def raw_responses(recording: Recording, trials: PublicTrials, trial: int) -> np.ndarray:
    """Responses (N,) of one of the trials in their raw unit, float32 of which 16 bits are used.

    The last bits depend on the std that the values were divided by, which may be that of hidden
    trials too. Rounding to the nearest could still tell it, so it goes up or down by chance, the
    same each time; values that need no more than 16 bits stay as they are.
    """
    values = recording.responses[trials.rows[trial]] * np.asarray(
        recording.statistics["responses_std"], float)
    chance = np.random.default_rng([trials.secret, trial]).random(values.shape)
    return _keep_bits(values, values, lambda scaled: np.floor(np.rint(16 * scaled) / 16 + chance))


def _keep_bits(values, scale, rounding):
    """Values as float32, rounded to 16 bits of the scale."""
    _, exponent = np.frexp(scale)
    rounded = np.ldexp(rounding(np.ldexp(values, BITS - exponent)), exponent - BITS)
    return rounded.astype(np.float32) + 0  # no -0.0


def _pixel_type(recording, trials):
    """uint8, in a quarter of the space, if all pixels are whole numbers from 0 to 255."""
    _, first = np.unique(trials.image_ids, return_index=True)
    for row in trials.rows[first]:
        pixels = raw_values(recording, "images", row)
        if pixels.min() < 0 or pixels.max() > 255 or (pixels != np.rint(pixels)).any():
            return np.float32
    return np.uint8


@dataclass(frozen=True)
class _Lazy:
    """The values (T, …) of all trials, each of them computed when it is needed."""

    read: Callable[[int], np.ndarray]  # the values of one trial
    trials: int

    def __len__(self):
        return self.trials

    def __getitem__(self, index):
        """One trial by its number, or several by a mask (T,)."""
        if isinstance(index, int):
            return self.read(index)
        chosen = np.flatnonzero(index)
        example = self.read(chosen[0])
        values = np.empty((len(chosen), *example.shape), example.dtype)
        for place, trial in enumerate(chosen):
            values[place] = self.read(trial)
        return values
