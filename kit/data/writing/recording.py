"""Write a recording of your own in the official layout."""

import os
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks import brief, require_int, require_path
from kit.data.layout import BEHAVIOR, TIERS
from kit.data.loading import official_mouse, plain_mouse
from kit.data.official import LazyArray, write
from kit.data.writing.arrays import RecordingArrays, require_arrays
from kit.files import progress
from kit.report import Report

VALIDATION = 0.1  # share of the trials of images shown once
FEWEST = 20  # trials of such images from which train and validation can be drawn


class WrittenRecording(Report):
    """The report on a recording that was written: what was decided, and its path."""

    @property
    def path(self) -> Path:
        """The zip or folder, for `kit.load`."""
        return Path(str(self.what))


@dataclass(frozen=True)
class Trials:
    """The trials that are written, R of T."""

    rows: np.ndarray  # (R,) of the arrays: those without NaN
    image_ids: np.ndarray  # (R,) index of the first image with the same pixels
    tiers: np.ndarray  # (R,) str
    pixel_type: Any  # uint8 if all pixels are whole numbers, else float32


def write_recording(path: str | Path, arrays: RecordingArrays, seed: int = 0) -> WrittenRecording:
    """Write arrays of your own as a recording in the official layout, which `kit.load` opens.

    path: a new zip, or a new folder if it does not end in .zip. What `arrays` leave open is
    decided here and told in the report that is returned, which has the `.path`: without tiers,
    images that were shown more than once become "test", and of the other trials 10 % become
    "validation" and the rest "train", drawn with `seed`. Equal pixels get one image id, and may not
    lie in two tiers. Trials that hold NaN are left out. Without coordinates, zeros are written, and
    the readout of a model learns a free position for each neuron. Values keep their raw units;
    statistics are of train and validation.
    Behaviour may have any columns. Those called "pupil", "pupil_change" and "running" are the
    benchmark's; names of others are kept in the file, and models take them by name.
    Raises ValueError for arrays of a wrong shape, order, type, unit or id, FileExistsError if
    there is something at `path`, OSError if it cannot be written. Nothing half-written stays.

    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (110, 48, 48))
    >>> image_ids = np.concatenate([np.arange(100), np.repeat(np.arange(100, 110), 4)])  # (140,)
    >>> responses = rng.gamma(1, size=(140, 30))
    >>> arrays = kit.RecordingArrays(images, responses, image_ids=image_ids)
    >>> kit.write_recording("mine.zip", arrays)
    OK: mine.zip: mouse mine, 30 neurons
    ...
    >>> kit.load("mine.zip", folder="data")
    mouse mine: 30 neurons, 90 train, 10 validation, 40 test trials, images 48x48, without behaviour
    """
    path = require_path("path", path)
    seed = require_int("seed", seed, 0)
    arrays = require_arrays(arrays)
    mouse = _require_mouse(arrays.mouse, path)
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists already and is never replaced; name a new one")
    trials = _choose_trials(arrays, seed)
    public = np.isin(trials.tiers, TIERS[:2])
    recording = _official(arrays, trials)
    if mouse != _mouse_of_name(path):
        recording["mouse"] = np.array(mouse)
    std = _require_std(arrays.responses, trials.rows[public])
    write(path, recording, statistics_from=public)
    lines = _decisions(arrays, trials, (std == 0).sum())
    summary = [f"mouse {mouse}, {len(std)} neurons", *lines]
    return WrittenRecording(path, (), "\n  - ".join(summary))


def _require_mouse(mouse, path):
    """The mouse's id: the given one, or that of the file's name."""
    in_name = _mouse_of_name(path)
    if mouse is None:
        return in_name
    if not isinstance(mouse, str) or not mouse or plain_mouse(mouse) != mouse:
        raise ValueError(
            f"mouse={brief(repr(mouse))} is not possible; give up to 80 letters, digits, - or _"
        )
    if official_mouse(path.name) and in_name != mouse:
        raise ValueError(f"{path.name} is a file of mouse {in_name}, not of {mouse}; rename it")
    return mouse


def _mouse_of_name(path):
    return plain_mouse(official_mouse(path.name) or path.name.removesuffix(".zip"))


# ---- trials ----


def _choose_trials(arrays, seed):
    """The trials that are written, with their images and tiers."""
    complete = ~np.isnan(arrays.responses).any(1)
    for values in (*(arrays.behavior or {}).values(), arrays.pupil_center):
        if values is not None:
            complete &= ~np.isnan(values).reshape(len(complete), -1).any(1)
    rows = np.flatnonzero(complete)
    pixel_type = _pixel_type(arrays.images)
    first = _first_of_equal(arrays.images, np.unique(arrays.image_ids[rows]), pixel_type)
    image_ids = first[arrays.image_ids[rows]]
    tiers = _draw_tiers(image_ids, seed) if arrays.tiers is None else arrays.tiers[rows]
    _require_tiers(tiers, len(arrays.responses))
    _require_separate(image_ids, tiers)
    return Trials(rows, image_ids, tiers, pixel_type)


def _pixel_type(images):
    """uint8, in a quarter of the space, if all pixels are whole numbers."""
    whole = images.dtype.kind in "iu" or all((image == np.rint(image)).all() for image in images)
    return np.uint8 if whole else np.float32


def _first_of_equal(images, used, pixel_type):
    """(distinct,) the index of the first image with the same pixels, for the images in use."""
    first = np.arange(len(images))
    seen = {}
    for index in progress(used.tolist(), desc="comparing images", unit="image"):
        pixels = images[index].astype(pixel_type) + pixel_type(0)  # no -0.0
        digest = blake2b(pixels.tobytes(), digest_size=16).digest()
        first[index] = seen.setdefault(digest, index)
    return first


def _draw_tiers(image_ids, seed):
    """Tiers (R,): images shown more than once are test, the others are drawn."""
    _, inverse, counts = np.unique(image_ids, return_inverse=True, return_counts=True)
    once = np.flatnonzero(counts[inverse] == 1)
    if len(once) < FEWEST:
        raise ValueError(
            f"{len(once)} of {len(image_ids)} trials show an image that no other trial shows, too "
            "few to draw train and validation from; give tiers, each image in one tier"
        )
    tiers = np.full(len(image_ids), "test", "<U10")
    tiers[once] = "train"
    drawn = np.random.default_rng(seed).permutation(once)
    tiers[drawn[: round(VALIDATION * len(once))]] = "validation"
    return tiers


def _require_tiers(tiers, trials):
    counts = Counter(tiers.tolist())
    for tier in TIERS[:2]:
        if counts[tier] < 2:
            raise ValueError(
                f"{counts[tier]} trials without NaN (of {trials} trials) have the tier {tier}; "
                "give two or more of train and of validation"
            )


def _require_separate(image_ids, tiers):
    """Raise ValueError if equal pixels lie in two tiers."""
    tier_of = {}
    for image, tier in zip(image_ids.tolist(), tiers.tolist(), strict=True):
        if tier in TIERS and tier_of.setdefault(image, tier) != tier:
            raise ValueError(
                f"image {image}, or one of the same pixels, lies in the tiers {tier_of[image]} and "
                f"{tier}, so a score would be of images seen in training; give all its trials one "
                'tier, or some "unused"'
            )


# ---- what is written ----


def _official(arrays, trials):
    """The arrays by their official names, for `write`."""
    rows = trials.rows

    def image(trial):
        return arrays.images[arrays.image_ids[rows[trial]]][None].astype(trials.pixel_type)

    def responses(trial):
        return arrays.responses[rows[trial]].astype(np.float32)

    recording = {
        "images": LazyArray(image, len(rows)),
        "responses": LazyArray(responses, len(rows)),
        "tiers": trials.tiers,
        "trial_idx": rows,
        "frame_image_id": trials.image_ids,
        "unit_ids": arrays.unit_ids,
        "cell_motor_coordinates": arrays.coordinates,
    }
    if arrays.behavior:
        recording["behavior"] = np.stack(list(arrays.behavior.values()), 1)[rows]
        if tuple(arrays.behavior) != BEHAVIOR:
            recording["behavior_names"] = np.array(list(arrays.behavior))
    if arrays.pupil_center is not None:
        recording["pupil_center"] = arrays.pupil_center[rows]
    return recording


def _require_std(responses, rows):
    """The std (N,) of the responses in these trials. Raises ValueError for a neuron of artefacts.

    Responses are divided by their std, at least 1 % of its mean over neurons.
    """
    total = np.zeros((2, responses.shape[1]))
    for row in rows:
        values = responses[row].astype(np.float64)
        total += values, np.square(values)
    mean, square = total / len(rows)
    std = np.sqrt(np.maximum(square - np.square(mean), 0))
    std[std < 1e-7 * mean] = 0  # of rounding alone
    if not std.any():
        raise ValueError(
            "no neuron's responses change between the trials; give those of each trial"
        )
    if np.median(std[std > 0]) < 0.01 * std.mean():
        raise ValueError(
            f"responses of neuron {std.argmax()} have a std of {std.max():.3g}, and those of most "
            "neurons less than 1 % of the mean std; leave it out, or remove its artefacts"
        )
    return std


# ---- the report ----


def _decisions(arrays, trials, silent):
    """One line for each decision."""
    counts = Counter(trials.tiers.tolist())
    listed = ", ".join(f"{counts[tier]} {tier}" for tier in (*TIERS, "unused") if counts[tier])
    origin = "drawn: images shown more than once are test" if arrays.tiers is None else "as given"
    shows = Counter(Counter(trials.image_ids.tolist()).values())
    repeats = [f"{shows[times]} shown {times} times" for times in sorted(shows) if times > 1]
    height, width = arrays.images.shape[1:]
    yield f"trials: {listed} ({origin})"
    yield (
        f"images: {shows.total()} different ones, {height} x {width} pixels, "
        f"{', '.join(repeats[:5]) or 'none shown twice, so noise ceilings cannot be computed'}"
        f"{', …' if len(repeats) > 5 else ''}"
    )
    left_out = len(arrays.responses) - len(trials.rows)
    yield f"left out: {left_out or 'no'} trial{'' if left_out == 1 else 's'} with NaN"
    if silent:
        yield f"silent: {silent} neurons whose responses never change in train and validation"
    names = ", ".join(arrays.behavior or {}) or "none"
    eye = "not known, so models have no shifter" if arrays.pupil_center is None else "known"
    yield f"behaviour: {names}; eye position: {eye}"
    places = arrays.coordinates[:, :2]
    if len(places) > 1 and (places == places[0]).all():
        yield (
            "coordinates: not known, so zeros are written, and the readout of a model learns a "
            "free position for each neuron"
        )
