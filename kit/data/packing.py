"""Standardise a recording and pack it into arrays that open at once."""

import errno
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from kit.data.layout import BEHAVIOR, TIERS
from kit.data.official import Source, read_behavior_names, read_meta
from kit.files import progress

BLOCK = 128  # trials in memory at once
SIZE = (36, 64)  # height and width of images in the 2022 models, for recordings of that aspect


def pack(source: Source, part: Path, size: tuple[int, int]) -> None:
    """Write the standardised arrays and meta.npz into the folder `part`.

    size: height and width of the packed images. Trials that hold NaN get the tier "NaN". Raises
    ValueError if the recording is damaged, its statistics belong to other data, or `size` has
    another aspect ratio than its images; OSError if the disk has too little space.
    """
    arrays: dict[str, Any] = read_meta(source)
    tiers = arrays["tiers"]
    neurons = len(arrays["unit_ids"])
    trials = len(tiers)
    behavior_names = read_behavior_names(source)
    values_per_trial = math.prod(size) + neurons + len(behavior_names) + 2  # 2 of eye position
    if shutil.disk_usage(part).free < 4 * trials * values_per_trial:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # now, not after minutes of packing
    names = source.trial_arrays(trials)
    image_shape = _image_shape(source, names["images"][0], size)
    shapes = {"responses": (neurons,), "behavior": (len(behavior_names),), "pupil_center": (2,)}
    withheld, left_out = np.zeros((2, trials), bool)
    for kind in names:
        shape = shapes.get(kind, image_shape)
        values = Standardised(source, kind, names[kind], shape, tiers)
        file = part / f"{kind}.npy"
        _write_array(file, (trials, *shapes.get(kind, (1, *size))), values.blocks())
        if kind == "responses":
            hidden = [tier for tier in TIERS[2:] if values.empty[tiers == tier].all()]
            withheld = np.isin(tiers, hidden)  # in tiers without a single response
            values.gaps &= ~withheld  # NaN in these trials is no gap
            _write_nan(file, withheld, neurons)
        elif kind != "images" and values.empty.all():  # withheld
            file.unlink()
            continue
        values.require_units()
        values.require_complete(withheld)
        left_out |= values.gaps
        arrays |= {f"{kind}_mean": values.mean, f"{kind}_std": values.std}
        if kind == "behavior" and behavior_names != BEHAVIOR:
            arrays["behavior_names"] = np.array(behavior_names)
            arrays["behavior_average"] = values.average()
    arrays["tiers"] = np.where(left_out & np.isin(tiers, TIERS), "NaN", tiers)
    np.savez(part / "meta.npz", **arrays)


def _write_array(file, shape, blocks):
    """Write an array (T, …), given in blocks, as an .npy file of this shape. Images are resized.

    No memory map is used: on a full disk it would crash Python.
    """
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        for block in blocks:
            if block.shape[1:] != shape[1:]:
                images = torch.from_numpy(block)
                block = interpolate(images, shape[2:], mode="bilinear", align_corners=False).numpy()
            out.write(block.astype("<f4").tobytes())


def _write_nan(file, withheld, neurons):
    """Write NaN over the responses of withheld trials. Not every file system has memory maps."""
    blank = np.full(neurons, np.nan, "<f4").tobytes()
    with file.open("r+b") as out:
        for row in np.flatnonzero(withheld):
            out.seek((int(row) - len(withheld)) * len(blank), os.SEEK_END)  # rows end the file
            out.write(blank)


def default_size(source: Source) -> tuple[int, int]:
    """Height and width with the aspect of the recording's images and the usual number of pixels.

    Raises ValueError if the recording is damaged.
    """
    rows, columns = recorded_size(source)
    height, width = SIZE
    if _fits(SIZE, columns / rows):
        return SIZE
    height = max(1, round(math.sqrt(height * width * rows / columns)))
    return height, max(1, round(height * columns / rows))


def recorded_size(source: Source) -> tuple[int, int]:
    """Height and width of the images as recorded. Raises ValueError if it is damaged."""
    trials = read_meta(source)["tiers"].size
    _, rows, columns = _read_image_shape(source, source.trial_arrays(trials)["images"][0])
    return rows, columns


def _fits(size, aspect):
    """Whether a size has an aspect (width by height), rounded to a pixel."""
    height, width = size
    return abs(width - height * aspect) <= 0.5 or abs(height - width / aspect) <= 0.5


def _image_shape(source, name, size):
    """The shape (1, height, width) of the images. Raises ValueError if `size` squeezes them."""
    shape = _read_image_shape(source, name)
    aspect = shape[2] / shape[1]
    if not _fits(size, aspect):
        height = size[0]
        raise ValueError(
            f"size={size} would squeeze the images of {source.path}; give their aspect ratio, such "
            f"as size=({height}, {max(1, round(height * aspect))}), or crop or pad the images"
        )
    return shape


def _read_image_shape(source, name):
    """The shape (1, height, width) of an image. Raises ValueError if it is none."""
    image = source.read(name)
    shape = image.shape
    if len(shape) != 3 or shape[0] != 1 or not 0 < min(shape) <= max(shape) <= 1024:
        expected = "one grey image (1, height, width) of up to 1024 pixels, and no video"
        raise source.mismatch(name, image, expected)
    return shape


# ---- units ----


@dataclass
class Standardised:
    """The standardised values of one kind of data, and what is noted as they are read."""

    source: Source
    kind: str
    arrays: list[str]  # the name of each trial's array
    shape: tuple[int, ...]  # of each
    tiers: np.ndarray  # (T,)

    def __post_init__(self):
        trials = len(self.tiers)
        self.gaps, self.empty = np.zeros((2, trials), bool)  # has NaN; has only zeros and NaN
        self.seen = np.isin(self.tiers, TIERS[:2])  # in the tiers that are never withheld
        seen_arrays = [self.arrays[row] for row in np.flatnonzero(self.seen)]
        self.mean, self.std = standardisation(self.source, self.kind, self.shape, seen_arrays)
        # the file's statistics may be of any one of the sets of trials in `blocks`
        self.evidence = [Moments() for _ in range(4)]

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the values of all trials in blocks (B, …), float32, to save memory. NaN stays."""
        for rows, raw in _blocks(self.source, self.arrays, self.shape):
            self.gaps[rows] = _has_nan(raw)
            self.empty[rows] = ~np.nan_to_num(raw).reshape(len(raw), -1).any(1)
            with np.errstate(all="ignore"):  # `_require_possible` finds an overflow
                block = (raw.astype(np.float32) - self.mean) / self.std
            self._require_possible(self.arrays[rows], block)
            sample = block
            if self.kind == "images":  # 23 is no period of stripes and divides few widths
                sample = block.reshape(len(block), -1, 1)[:, ::23]  # some of the pixels
            sets = (True, ~self.empty, self.seen, self.tiers == "train")
            for moments, trials in zip(self.evidence, sets, strict=True):
                moments.add(sample[(~self.gaps & trials)[rows]])
            yield block

    def _require_possible(self, names, block):
        for name, values in zip(names, block, strict=True):
            numbers = values if self.kind == "images" else values[~np.isnan(values)]
            if not is_possible(self.kind, numbers):
                problem = "holds values that are negative, not finite or far beyond its statistics"
                remedy = "correct them; where responses are dF/F, give deconvolved ones, 0 or more"
                raise self.source.error(name, problem, remedy)

    def require_units(self) -> None:
        """Raise ValueError if the values show that the statistics belong to other data."""
        misfits = [_misfit(self.kind, moments) for moments in self.evidence if moments.count]
        if not misfits or not all(misfits):  # they fit one of the sets
            return
        remedy = "correct them, or delete meta/statistics to have them computed"
        std = self.evidence[0].result()[1] * self.std  # of the raw values
        if self.kind == "responses" and np.median(std[std > 0]) < 0.01 * std.mean():
            remedy = (
                f"leave out neuron {std.argmax()} (from 0), or remove its artefacts: its std is "
                f"{std.max():.3g}, and that of most neurons is below 1 % of the mean std"
            )
        raise ValueError(
            f"meta/statistics/{self.kind} in {self.source.path} are not the statistics of data/"
            f"{self.kind}: standardised with them, the data have {misfits[0]}; {remedy}"
        )

    def average(self) -> np.ndarray:
        """The mean of the standardised values over train and validation: what is typical."""
        return self.evidence[2].result()[0]

    def require_complete(self, withheld: np.ndarray) -> None:
        """Raise ValueError for NaN in a trial of `withheld` (T,), or in every trial of a tier."""
        for tier in TIERS:
            gaps = self.gaps & (self.tiers == tier)
            only_gaps = gaps.any() and gaps[self.tiers == tier].all()
            if only_gaps or (gaps & withheld).any():
                problem = f"holds NaN, but must be predicted, or all of the tier {tier} hold NaN"
                remedy = "fill the gap, or leave this value out of all trials"
                raise self.source.error(self.arrays[gaps.argmax()], problem, remedy)


def _blocks(source: Source, arrays: list[str], shape: tuple) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield a slice of the trials and their raw values (B, …), a block at a time."""
    description = f"reading {os.path.dirname(arrays[0])}"
    for start in progress(range(0, len(arrays), BLOCK), desc=description, unit="block"):
        rows = slice(start, start + BLOCK)
        yield rows, np.stack([source.read(name, shape) for name in arrays[rows]])


def _has_nan(values):
    """(B,) bool: the trials of (B, …) that hold NaN."""
    return np.isnan(values).reshape(len(values), -1).any(1)


def is_possible(kind: str, values: np.ndarray) -> bool:
    """Whether standardised values (…) are finite, and responses not negative."""
    negative = kind == "responses" and (values < -0.01).any()
    return not negative and bool(np.isfinite(values).all())


class Moments:
    """Mean and std (…) of values (B, …) that come in blocks; over all pixels of images."""

    def __init__(self):
        self.trials, self.count = 0, 0  # they differ for images: each pixel counts
        self.origin, self.total, self.squares = 0.0, 0.0, 0.0  # sums of differences from `origin`

    def add(self, block: np.ndarray) -> None:
        """Count the values of a block."""
        if not len(block):
            return
        values = block.astype(np.float64)
        if block.ndim > 2:
            values = values.reshape(-1)
        if not self.count:
            self.origin = values[0].copy()  # so what never changes has a std of exactly 0
        values -= self.origin
        self.trials += len(block)
        self.count += len(values)
        self.total += values.sum(0)
        self.squares += np.square(values).sum(0)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std, float32; 0 if there are no values."""
        mean = self.total / max(self.count, 1)
        variance = self.squares / max(self.count, 1) - mean**2
        std = np.sqrt(np.maximum(variance, 0))
        return np.asarray(self.origin + mean, np.float32), np.asarray(std, np.float32)


def standardisation(
    source: Source, kind: str, shape: tuple, seen: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The float32 mean to subtract and std to divide by, from a recording's statistics.

    shape: of the values of one trial. seen: names of the arrays from which both are computed if
    there are no statistics. Raises ValueError if the statistics are damaged.
    """
    if source.has_statistics(kind) or not seen:  # with neither, the error names the file
        values_shape = () if kind == "images" else shape
        mean, std = (_read_statistic(source, kind, name, values_shape) for name in ("mean", "std"))
    else:
        moments = Moments()
        for _, raw in _blocks(source, seen, shape):
            moments.add(raw[~_has_nan(raw)])
        mean, std = moments.result()
    if kind in ("responses", "behavior"):
        mean = np.zeros_like(std)  # scaled, not centred
    if kind == "responses":
        std = np.maximum(std, 0.01 * std.mean())  # silent neurons must not explode
    return mean, np.where(std > 0, std, 1).astype(np.float32)


def _read_statistic(source, kind, name, shape):
    array_name = f"meta/statistics/{kind}/all/{name}"
    values = source.read(array_name)
    if values.dtype.kind in "biuf" and values.size == math.prod(shape):
        with np.errstate(all="ignore"):  # `isfinite` finds an overflow
            numbers = values.astype(np.float32).reshape(shape)
        if np.isfinite(numbers).all() and (name == "mean" or (numbers >= 0).all()):
            return numbers
    expected = f"finite numbers of shape {shape}, 0 or more for a std"
    expected += " (if you delete meta/statistics, the kit computes them)"
    raise source.mismatch(array_name, values, expected)


def _misfit(kind, moments):
    """How the moments differ from a mean of 0 and a std of 1 by more than chance, or ""."""
    slow = kind in ("behavior", "pupil_center")  # so a few trials may be far from typical
    slack = 0.5 + 3 * moments.trials**-0.5 if slow else 0.1 + moments.trials**-0.5
    mean, std = map(np.atleast_1d, moments.result())
    if kind in ("images", "pupil_center") and np.abs(mean).max() > slack:
        return f"a mean of {mean[np.abs(mean).argmax()]:.3g}, not 0"
    std = std[std > 0]  # what never changes tells nothing
    if kind == "responses" and len(std) and std.max() < 10:  # the median: single neurons may burst
        std = np.median(std, keepdims=True)
    wrong = std[np.abs(np.log(std)) > 2 * slack]
    return f"a std of {wrong[-1]:.3g}, not 1" if len(wrong) else ""
