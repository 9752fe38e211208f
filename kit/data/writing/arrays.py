"""The arrays of a recording, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kit.checks import brief, require_array, require_finite, suggest
from kit.data.layout import BEHAVIOR, TIERS
from kit.data.official import is_plain_name

SIDE = 1024  # the most pixels along a side of an image
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class RecordingArrays:
    """The arrays of a recording: T trials, each an image and the responses of N neurons to it.

    Trials that hold NaN in responses, behaviour or eye position are left out when they are written.
    """

    images: Any  # (T, H, W) one a trial, or (distinct, H, W) with image_ids; grey from 0 to 255
    responses: Any  # (T, N) 0 or more: deconvolved activity or spike counts, in any unit
    mouse: str | None = None  # its id, letters and digits; by default the name of the file
    image_ids: Any = None  # (T,) the index in `images`, from 0, of the image of each trial
    tiers: Any = None  # (T,) train, validation, test, final_test, or unused; by default drawn
    behavior: Mapping[str, Any] | None = None  # name -> (T,), any number of columns in any unit
    pupil_center: Any = None  # (T, 2) x and y of the eye's position, in any unit
    unit_ids: Any = None  # (N,) whole numbers, each once; by default 0 to N - 1
    coordinates: Any = None  # (N, 2 or 3) x, y and depth in cortex, micrometres; may be unknown


def require_arrays(arrays: RecordingArrays) -> RecordingArrays:
    """The same as NumPy arrays, with image_ids, unit_ids and coordinates (N, 3) filled in.

    Unknown coordinates are zeros; of behaviour, the official columns come first. Raises ValueError,
    in one sentence, for the first array of a wrong shape, order, type, unit or id.
    """
    if not isinstance(arrays, RecordingArrays):
        kind = type(arrays).__name__
        raise ValueError(f"arrays are a {kind}; give kit.RecordingArrays(images, responses, ...)")
    images = _images(arrays.images)
    image_ids = _image_ids(arrays.image_ids, len(images))
    trials = len(images) if image_ids is None else len(image_ids)
    responses = _responses(arrays.responses, images, trials)
    neurons = responses.shape[1]
    behavior = None
    if arrays.behavior is not None:
        behavior = _behavior(arrays.behavior, trials)
    pupil_center = arrays.pupil_center
    if pupil_center is not None:
        pupil_center = _changing(
            "pupil_center", require_array("pupil_center", pupil_center, (trials, 2))
        )
    return replace(
        arrays,
        images=images,
        responses=responses,
        image_ids=np.arange(trials) if image_ids is None else image_ids,
        tiers=None if arrays.tiers is None else _tiers(arrays.tiers, trials),
        behavior=behavior,
        pupil_center=pupil_center,
        unit_ids=_unit_ids(arrays.unit_ids, neurons),
        coordinates=_coordinates(arrays.coordinates, neurons),
    )


# ---- images ----


def _images(values):
    shape = np.shape(values) if hasattr(values, "shape") else ()
    if len(shape) == 4:
        remedy = "average their colours: images.mean(-1)" if shape[-1] in (3, 4) else "images[:, 0]"
        raise ValueError(f"images must be grey, (T, H, W), these are {shape}; give {remedy}")
    images = require_array("images", values, ("T", "H", "W"))
    if max(images.shape[1:]) > SIDE or min(images.shape[1:]) < 4:
        raise ValueError(
            f"images must be (T, H, W) with sides of 4 to {SIDE} pixels, these are {images.shape}; "
            "move the trials to the front, or make the images smaller"
        )
    low, high = float(images.min()), float(images.max())  # NaN if any pixel is
    require_finite("images", np.array([low, high]))
    pixels = f"the pixels of images run from {low:.6g} to {high:.6g}"
    if low < 0:
        raise ValueError(f"{pixels}, as if z-scored; give the grey values from 0 to 255 themselves")
    if high > 255:
        raise ValueError(f"{pixels}, as of more than 8 bits; scale them to grey values 0 to 255")
    if high <= 1:
        raise ValueError(f"{pixels}; give grey values from 0 to 255, such as 255 * images")
    if low == high:
        raise ValueError(f"{pixels}: they are all the same; give the images that were shown")
    return images


def _image_ids(values, distinct):
    if values is None:
        return None
    ids = _whole("image_ids", require_array("image_ids", values, ("T",)))
    if ids.min() < 0 or ids.max() >= distinct:
        raise ValueError(
            f"image_ids run from {ids.min()} to {ids.max()}, and there are {distinct} images; give "
            f"the index of each trial's image, from 0 to {distinct - 1}"
        )
    return ids


def _whole(name, values):
    """The values as int64. Raises ValueError unless they are whole numbers below 2**53."""
    wrong = values[(values % 1 != 0) | (np.abs(values.astype(np.float64)) >= 2**53)]
    if values.dtype.kind == "b" or wrong.size:
        what = f"such as {wrong[0]:.6g}, " if wrong.size else "of True and False, "
        raise ValueError(f"{name} has values {what}that are no ids; give whole numbers below 2**53")
    return values.astype(np.int64)


# ---- responses ----


def _responses(values, images, trials):
    responses = require_array("responses", values, ("T", "N"))
    if len(responses) != trials:
        raise ValueError(
            f"responses are {responses.shape}, and there are {trials} trials by the images; "
            f"{_order(responses, images, trials)}"
        )
    complete = ~np.isnan(responses).any(1)
    if not complete.any():
        empty = np.flatnonzero(np.isnan(responses).all(0))
        which = f"neuron {empty[0]} is NaN throughout" if len(empty) else "no trial is complete"
        raise ValueError(f"responses hold NaN in every trial: {which}; leave such neurons out")
    low = responses.min(1)[complete].min()
    high = responses.max(1)[complete].max()
    if low < 0:
        raise ValueError(
            f"responses go down to {low:.6g}, and must be 0 or more, as a rate is; of dF/F give "
            "deconvolved activity, or np.maximum(responses, 0) if what is below is noise"
        )
    if high > LARGEST:
        raise ValueError(f"responses go up to {high:.6g}; give finite numbers, NaN for a gap")
    if high == 0:
        raise ValueError("all responses are 0; give the activity of the neurons in each trial")
    return responses


def _order(responses, images, trials):
    """What to do about responses of a wrong number of trials."""
    if responses.shape[1] == trials:
        return "trials come first: give responses.T"
    if images.shape[2] == len(responses):
        return "trials come first in images too: give np.moveaxis(images, -1, 0)"
    return "give one row of responses a trial, and image_ids if images were shown more than once"


# ---- the animal ----


def _behavior(values, trials):
    if not isinstance(values, Mapping):
        kind = type(values).__name__
        raise ValueError(f'behavior is a {kind}; give a dict of columns, such as {{"running": …}}')
    if not values:
        return None
    for name in values:
        if not isinstance(name, str) or not is_plain_name(name):
            raise ValueError(
                f"behavior has a column {brief(repr(name))}; give names of up to 40 letters"
            )
    names = [name for name in BEHAVIOR if name in values]
    names += [name for name in values if name not in BEHAVIOR]
    columns = {}
    for name in names:
        field = f"behavior[{name!r}]"
        columns[name] = _changing(field, require_array(field, values[name], (trials,)))
    return columns


def _changing(name, values):
    """Numbers (T, …) as float64. Raises ValueError if they are infinite or never change."""
    values = values.astype(np.float64)
    complete = values[~np.isnan(values)]
    if not len(complete):
        raise ValueError(f"{name} is NaN in every trial; leave it out")
    if np.abs(complete).max() > LARGEST:
        raise ValueError(f"{name} has values that are not finite; give NaN for a gap")
    if (np.nanmin(values, 0) == np.nanmax(values, 0)).any():
        raise ValueError(f"{name} never changes, so nothing can be learned from it; leave it out")
    return values


# ---- neurons and tiers ----


def _unit_ids(values, neurons):
    if values is None:
        return np.arange(neurons)
    ids = _whole("unit_ids", require_array("unit_ids", values, (neurons,)))
    listed, counts = np.unique(ids, return_counts=True)
    if counts.max() > 1:
        repeated = listed[counts.argmax()]
        raise ValueError(f"unit_ids has {repeated} {counts.max()} times; give each neuron its own")
    return ids


def _coordinates(values, neurons):
    """Coordinates (N, 3), zeros if they are unknown."""
    coordinates = np.zeros((neurons, 3))
    if values is None:
        return coordinates
    values = require_array("coordinates", values, (neurons, 2), (neurons, 3))
    require_finite("coordinates", values)
    span = np.ptp(values[:, :2], axis=0).max()
    if 0 < span < 5:
        raise ValueError(
            f"coordinates span {span:.3g}, less than one cell if they are micrometres; give "
            "micrometres, such as 1000 * coordinates if these are millimetres"
        )
    coordinates[:, : values.shape[1]] = values
    return coordinates


def _tiers(values, trials):
    allowed = (*TIERS, "unused")
    listed = list(values) if isinstance(values, list | tuple | np.ndarray) else []
    if len(listed) != trials:
        raise ValueError(
            f"tiers must be {trials} texts, one a trial, these are {brief(values)}; give one of "
            f"{', '.join(allowed)} for each"
        )
    for tier in listed:
        if not isinstance(tier, str) or tier not in allowed:
            raise ValueError(
                f"there is no tier {brief(repr(tier))}; {suggest(tier, allowed)}tiers are "
                f"{', '.join(allowed)}"
            )
    return np.array([str(tier) for tier in listed])
