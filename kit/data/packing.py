"""Standardise a recording and pack it into arrays that open at once."""

import errno
import math
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from kit.data.official import Source, read_meta
from kit.files import progress

BLOCK = 128  # trials in memory at once


def pack(mouse: str, source: Source, part: Path, size: tuple[int, int]) -> None:
    """Write the standardised arrays and meta.npz into the folder `part`.

    size: height and width of the packed images. Raises ValueError if the recording is damaged, and
    OSError if the disk has too little space.
    """
    meta = read_meta(source)
    trials, neurons = len(meta["tiers"]), len(meta["unit_ids"])
    needed = 4 * trials * (size[0] * size[1] + neurons + 5)
    if shutil.disk_usage(part).free < needed:  # said now, not after minutes of packing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    statistics = {}
    for kind, shape in _shapes(source, trials, neurons).items():
        mean, std = standardisation(source, kind, shape)
        file = part / f"{kind}.npy"
        starts = progress(range(0, trials, BLOCK), desc=f"packing {mouse} {kind}", unit="block")
        packed_shape = (trials, 1, *size) if kind == "images" else (trials, *shape)
        with file.open("wb") as out:  # a memory map would crash on a full disk
            np.lib.format.write_array_header_1_0(
                out, {"descr": "<f4", "fortran_order": False, "shape": packed_shape})
            for start in starts:
                rows = range(trials)[start:start + BLOCK]
                block = np.stack([source.read(f"data/{kind}/{row}", shape) for row in rows])
                block = _standardise(source, kind, block, mean, std)
                if block.shape[1:] != packed_shape[1:]:
                    block = interpolate(torch.from_numpy(block), size=size, mode="bilinear",
                                        align_corners=False).numpy()  # (B, 1, H, W)
                out.write(block.astype("<f4").tobytes())
        if kind in ("behavior", "pupil_center") and (np.load(file) == -mean / std).all():
            file.unlink()  # zeros throughout: withheld
        else:
            statistics[f"{kind}_mean"], statistics[f"{kind}_std"] = mean, std
    _mark_withheld(part / "responses.npy", meta["tiers"])
    np.savez(part / "meta.npz", **meta, **statistics)


def _standardise(source, kind, block, mean, std):
    """Raw values of some trials, (B, …), as float32 in units of their std."""
    with np.errstate(all="ignore"):  # an overflow is found below
        block = (block.astype(np.float32) - mean) / std
    if not is_possible(kind, block):
        raise ValueError(f"data/{kind} in {source.path} has values that are negative, not finite "
                         "or do not fit its statistics; the recording is damaged")
    return block


def is_possible(kind: str, values: np.ndarray) -> bool:
    """Whether standardised values (…) are finite, and those of responses not negative."""
    negative = kind == "responses" and (values < -0.01).any()
    return not negative and bool(np.isfinite(values).all())


def _mark_withheld(file, tiers):
    """Write NaN in place of the responses of a test tier that has nothing but zeros."""
    responses = np.load(file, mmap_mode="r+")
    for tier in ("test", "final_test"):
        rows = np.flatnonzero(tiers == tier)
        if not any(responses[row].any() for row in rows):
            responses[rows] = np.nan


def _shapes(source, trials, neurons):
    """The shape of one trial's array of each kind.

    Behaviour and eye position may be absent as a whole: not every lab records them.
    """
    raw = source.read("data/images/0").shape
    if len(raw) != 3 or raw[0] != 1 or not 0 < min(raw) <= max(raw) <= 1024:
        raise ValueError(f"data/images/0.npy in {source.path} has shape {raw}, expected one grey "
                         "image (1, height, width) of up to 1024 pixels")
    shapes = {"images": raw, "responses": (neurons,)}
    if source.trial_files("behavior"):
        shapes["behavior"] = (3,)
    if source.trial_files("pupil_center"):
        shapes["pupil_center"] = (2,)
    for kind in shapes:
        source.require_trials(kind, trials)
    return shapes


def standardisation(source: Source, kind: str, shape: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The float32 mean to subtract and std to divide by, from a recording's statistics.

    shape: of the values of one trial. Raises ValueError if the statistics are damaged.
    """
    if kind == "images":
        shape = ()
    mean = _read_statistic(source, f"meta/statistics/{kind}/all/mean", shape)
    std = _read_statistic(source, f"meta/statistics/{kind}/all/std", shape)
    if kind in ("responses", "behavior"):
        mean = np.zeros_like(std)  # scaled, not centred
    if kind == "responses" and std.any():
        return mean, np.maximum(std, 0.01 * std.mean())  # silent neurons must not explode
    return mean, np.where(std > 0, std, 1).astype(np.float32)


def _read_statistic(source, name, shape):
    values = source.read(name)
    if values.size != math.prod(shape) or values.dtype.kind not in "biuf":
        raise ValueError(f"{name}.npy in {source.path} holds {values.dtype} of shape "
                         f"{values.shape}, expected {math.prod(shape)} numbers; the recording is "
                         "damaged")
    with np.errstate(all="ignore"):  # an overflow is found below
        numbers = values.astype(np.float32).reshape(shape)
    if not np.isfinite(numbers).all() or (name.endswith("std") and (numbers < 0).any()):
        raise ValueError(f"{name}.npy in {source.path} has values that are not finite, or "
                         "negative; the recording is damaged")
    return numbers
