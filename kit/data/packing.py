"""Standardise a recording and pack it into arrays that open at once."""

import errno
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from kit.data.layout import TIERS
from kit.data.official import Source, read_meta
from kit.files import progress

BLOCK = 128  # trials in memory at once


def pack(mouse: str, source: Source, part: Path, size: tuple[int, int]) -> None:
    """Write the standardised arrays and meta.npz into the folder `part`.

    size: height and width of the packed images. Trials that hold NaN get the tier "NaN". Raises
    ValueError if the recording is damaged, its statistics belong to other data, or `size` has
    another aspect than its images; OSError if the disk has too little space.
    """
    meta = read_meta(source)
    trials, neurons = len(meta["tiers"]), len(meta["unit_ids"])
    _require_space(part, 4 * trials * (size[0] * size[1] + neurons + 5))
    names = _trial_arrays(source, trials)
    shapes = {
        "images": _image_shape(source, names["images"][0], size),
        "responses": (neurons,),
        "behavior": (3,),
        "pupil_center": (2,),
    }
    statistics, gaps = {}, {}
    for kind, arrays in names.items():
        values = Standardised(source, kind, arrays, shapes[kind], meta["tiers"])
        blocks = progress(
            values.blocks(),
            desc=f"packing {mouse} {kind}",
            total=math.ceil(trials / BLOCK),
            unit="block",
        )
        _write_array(part / f"{kind}.npy", (trials, *shapes[kind]), blocks, size)
        if kind == "responses":
            withheld = _withheld(meta["tiers"], values.empty)
        elif kind != "images" and values.empty.all():  # withheld
            (part / f"{kind}.npy").unlink()
            continue
        values.require_units()
        gaps[kind] = values.gaps
        statistics |= {f"{kind}_mean": values.mean, f"{kind}_std": values.std}
    _write_nan(part / "responses.npy", withheld, neurons)
    meta["tiers"] = _without_gaps(source, meta["tiers"], names, gaps, withheld)
    arrays: dict[str, Any] = meta | statistics
    np.savez(part / "meta.npz", **arrays)


def _require_space(folder, needed):
    """Raise OSError if the disk has not so many bytes: now, not after minutes of packing."""
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write_array(file, shape, blocks, size):
    """Write blocks of an array (T, …) as an .npy file, images scaled to this height and width.

    A memory map would crash on a full disk.
    """
    packed_shape = (*shape[:2], *size) if len(shape) == 4 else shape
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": packed_shape}
        )
        for block in blocks:
            if block.shape[1:] != packed_shape[1:]:
                block = interpolate(
                    torch.from_numpy(block), size=size, mode="bilinear", align_corners=False
                ).numpy()  # (B, 1, H, W)
            out.write(block.astype("<f4").tobytes())


class Standardised:
    """The values of one kind, in units of their std, and what is seen of them on the way."""

    def __init__(
        self, source: Source, kind: str, arrays: list[str], shape: tuple, tiers: np.ndarray
    ) -> None:
        self.source, self.kind, self.arrays, self.shape = source, kind, arrays, shape
        self.gaps, self.empty = np.zeros((2, len(tiers)), bool)  # trials with NaN; of zeros or NaN
        self.train, self.seen = tiers == "train", np.isin(tiers, ["train", "validation"])
        public = [name for name, seen in zip(arrays, self.seen, strict=True) if seen]
        self.mean, self.std = standardisation(source, kind, shape, public)
        # statistics are of all trials, of those not withheld, or of the first tiers
        self.evidence = [Moments() for _ in range(4)]

    def blocks(self) -> Iterator[np.ndarray]:
        """The values of all trials, (B, …) float32, some at a time to save memory. NaN stays."""
        for rows, raw in _blocks(self.source, self.arrays, self.shape):
            flat = raw.reshape(len(raw), -1)
            self.gaps[rows] = np.isnan(flat).any(1)
            self.empty[rows] = ~np.nan_to_num(flat).any(1)
            with np.errstate(all="ignore"):  # an overflow is found below
                block = (raw.astype(np.float32) - self.mean) / self.std
            self._require_possible(self.arrays[rows], block)
            sample = block
            if self.kind == "images":  # 23 is no period of stripes, and divides few widths
                sample = block.reshape(len(block), -1, 1)[:, ::23]
            sets = (True, ~self.empty, self.seen, self.train)
            for moments, some in zip(self.evidence, sets, strict=True):
                moments.add(sample[(~self.gaps & some)[rows]])
            yield block

    def _require_possible(self, arrays, block):
        for name, values in zip(arrays, block, strict=True):
            numbers = values if self.kind == "images" else values[~np.isnan(values)]
            if is_possible(self.kind, numbers):
                continue
            if np.isfinite(numbers).all():
                raise ValueError(
                    f"{name}.npy in {self.source.path} holds negative responses, as "
                    "dF/F does; responses are counts of activity, 0 or more: give "
                    "deconvolved ones, or write 0 where they are negative"
                )
            raise ValueError(
                f"{name}.npy in {self.source.path} has values that are not finite, or "
                "do not fit its statistics; the recording is damaged"
            )

    def require_units(self) -> None:
        """Raise ValueError if the values show that the statistics belong to other data."""
        misfits = [_misfit(self.kind, moments) for moments in self.evidence if moments.count]
        if not misfits or not all(misfits):
            return
        kind, path = self.kind, self.source.path
        std = self.evidence[0].result()[1] * self.std  # of the raw values
        if kind == "responses" and np.median(std[std > 0]) < 0.01 * std.mean():
            raise ValueError(
                f"the responses of neuron {std.argmax()} (from 0) in {path} have a "
                f"std of {std.max():.3g}, most others have one below 1 % of the "
                "mean; leave out that neuron, or the trials of this artefact"
            )
        raise ValueError(
            f"meta/statistics/{kind} in {path} are not the statistics of data/{kind}: "
            f"in their units, the data have {misfits[0]}; put them right, or delete "
            "meta/statistics to have them computed"
        )


def _blocks(source: Source, arrays: list[str], shape: tuple) -> Iterator[tuple[slice, np.ndarray]]:
    """Which rows, and the raw values of these trials: (B, …), some at a time to save memory."""
    for start in range(0, len(arrays), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, np.stack([source.read(name, shape) for name in arrays[rows]])


def is_possible(kind: str, values: np.ndarray) -> bool:
    """Whether standardised values (…) are finite, and responses not negative."""
    negative = kind == "responses" and (values < -0.01).any()
    return not negative and bool(np.isfinite(values).all())


# ---- trials that are withheld, or hold NaN ----


def _withheld(tiers, empty):
    """(T,) bool: the trials of test tiers with nothing but zeros or NaN as responses."""
    withheld = np.zeros(len(tiers), bool)
    for tier in ("test", "final_test"):
        withheld |= (tiers == tier) & empty[tiers == tier].all()
    return withheld


def _write_nan(file, withheld, neurons):
    """Write NaN over the responses of the withheld trials. A map of the file may be impossible."""
    blank = np.full(neurons, np.nan, "<f4").tobytes()
    with file.open("r+b") as out:
        header = file.stat().st_size - len(withheld) * len(blank)
        for row in np.flatnonzero(withheld):
            out.seek(header + int(row) * len(blank))
            out.write(blank)


def _without_gaps(source, tiers, names, gaps, withheld):
    """The tiers, "NaN" for trials that hold NaN, so that no method uses them.

    Raises ValueError if no trial of a tier would be left, or if one that must be predicted has NaN.
    """
    left_out = np.zeros(len(tiers), bool)
    for kind, gap in gaps.items():
        gap = gap & ~withheld if kind == "responses" else gap
        left_out |= gap
        for tier in TIERS:
            here = (tiers == tier) & gap
            if not here.any() or not (withheld[here].any() or gap[tiers == tier].all()):
                continue
            reason = (
                "the trial must be predicted, as its responses are withheld"
                if withheld[here].any()
                else f"so does every trial of the tier {tier}"
            )
            raise ValueError(
                f"{names[kind][np.flatnonzero(here)[0]]}.npy in {source.path} holds "
                f"NaN, and {reason}; fill the gap, or leave this value out of all "
                "trials"
            )
    return np.where(left_out & np.isin(tiers, TIERS), "NaN", tiers)


# ---- files and shapes ----


def _trial_arrays(source, trials):
    """The names of the trials' arrays of each kind: a dict of lists.

    Behaviour and eye position may be absent as a whole: not every lab records them.
    """
    kinds = ["images", "responses"]
    kinds += [kind for kind in ("behavior", "pupil_center") if source.trial_files(kind)]
    names = {kind: source.trial_arrays(kind, trials) for kind in kinds}
    firsts = {int(arrays[0].rpartition("/")[2]) for arrays in names.values()}
    if len(firsts) > 1:
        raise ValueError(
            f"the files of some kinds in {source.path} are numbered from 0 and those "
            "of others from 1; number them alike"
        )
    return names


def _image_shape(source, name, size):
    """The shape (1, height, width) of the images. Raises ValueError if `size` would squeeze it."""
    raw = source.read(name).shape
    if len(raw) != 3 or raw[0] != 1 or not 0 < min(raw) <= max(raw) <= 1024:
        raise ValueError(
            f"{name}.npy in {source.path} has shape {raw}, expected one grey image "
            "(1, height, width) of up to 1024 pixels; videos cannot be opened"
        )
    height, width = size
    fits = height * raw[2] / raw[1], width * raw[1] / raw[2]  # width and height of the same aspect
    if abs(width - fits[0]) > 0.5 and abs(height - fits[1]) > 0.5:
        raise ValueError(
            f"size={size} would squeeze the images of {source.path}, which have "
            f"{raw[1]} x {raw[2]} pixels; choose a size of their aspect, such as "
            f"size=({height}, {max(1, round(fits[0]))}), or crop or pad the images"
        )
    return raw


# ---- units ----


class Moments:
    """Mean and std (…) of values (B, …) that come in blocks; all pixels of images count alike."""

    def __init__(self):
        self.trials, self.count, self.total, self.squares = 0, 0, 0, 0

    def add(self, block: np.ndarray) -> None:
        """Count the values of a block."""
        if not len(block):
            return
        values = block.astype(np.float64)
        if block.ndim > 2:
            values = values.reshape(-1)
        if not self.count:
            self.origin = values[:1].copy()  # so what never changes has a std of exactly 0
        values -= self.origin
        self.trials += len(block)
        self.count += len(values)
        self.total += values.sum(0)
        self.squares += np.square(values).sum(0)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std, float32."""
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        return (self.origin[0] + mean).astype(np.float32), std.astype(np.float32)


def standardisation(
    source: Source, kind: str, shape: tuple, seen: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The float32 mean to subtract and std to divide by, from a recording's statistics.

    shape: of the values of one trial. seen: the arrays that they are computed from if there are no
    statistics. Raises ValueError if the statistics are damaged.
    """
    expected = () if kind == "images" else shape
    if source.has_statistics(kind) or not seen:
        mean = _read_statistic(source, f"meta/statistics/{kind}/all/mean", expected)
        std = _read_statistic(source, f"meta/statistics/{kind}/all/std", expected)
    else:
        moments = Moments()
        for _, raw in _blocks(source, seen, shape):
            moments.add(raw[~np.isnan(raw).reshape(len(raw), -1).any(1)])
        mean, std = moments.result() if moments.count else np.zeros((2, *expected), np.float32)
    if kind in ("responses", "behavior"):
        mean = np.zeros_like(std)  # scaled, not centred
    if kind == "responses" and std.any():
        return mean, np.maximum(std, 0.01 * std.mean())  # silent neurons must not explode
    return mean, np.where(std > 0, std, 1).astype(np.float32)


def _misfit(kind, moments):
    """How standardised values differ from a mean of 0 and a std of 1 by more than chance, or ""."""
    slow = kind in ("behavior", "pupil_center")  # so a few trials differ more from all
    slack = 0.5 + 3 * moments.trials**-0.5 if slow else 0.1 + moments.trials**-0.5
    mean, std = map(np.atleast_1d, moments.result())
    if kind in ("images", "pupil_center") and np.abs(mean).max() > slack:
        return f"a mean of {mean[np.abs(mean).argmax()]:.3g}, not 0"
    std = std[std > 0]  # what never changes tells nothing
    if kind == "responses" and len(std) and std.max() < 10:  # single neurons burst now and then
        std = np.median(std, keepdims=True)
    wrong = std[np.abs(np.log(std)) > 2 * slack]
    return f"a std of {wrong[-1]:.3g}, not 1" if len(wrong) else ""


def _read_statistic(source, name, shape):
    values = source.read(name)
    if values.size != math.prod(shape) or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}.npy in {source.path} holds {values.dtype} of shape "
            f"{values.shape}, expected {math.prod(shape)} numbers; the recording is "
            "damaged"
        )
    with np.errstate(all="ignore"):  # an overflow is found below
        numbers = values.astype(np.float32).reshape(shape)
    if not np.isfinite(numbers).all() or (name.endswith("std") and (numbers < 0).any()):
        raise ValueError(
            f"{name}.npy in {source.path} has values that are not finite, or "
            "negative; put them right, or delete meta/statistics to have them "
            "computed"
        )
    return numbers
