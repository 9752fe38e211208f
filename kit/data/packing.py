"""Standardise a recording and pack it into arrays that open at once."""

import errno
import math
import os
import shutil

import numpy as np
import torch
from torch.nn.functional import interpolate

from kit.data.official import read_meta
from kit.files import progress


def pack(mouse, source, part, size):
    """Write the standardised arrays and meta.npz into the folder `part`."""
    meta = read_meta(source)
    trials, neurons = len(meta["tiers"]), len(meta["unit_ids"])
    needed = 4 * trials * (size[0] * size[1] + neurons + 5)
    if shutil.disk_usage(part).free < needed:  # said now, not after minutes of packing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    statistics = {}
    for kind, shape in _shapes(source, trials, neurons).items():
        mean, std = _standardisation(source, kind, shape)
        packed = part / f"{kind}.npy"
        with packed.open("wb") as out:  # a memory map would crash on a full disk
            np.lib.format.write_array_header_1_0(out, {
                "descr": "<f4", "fortran_order": False,
                "shape": (trials, 1, *size) if kind == "images" else (trials, *shape)})
            known = False  # anything but zeros?
            for start in progress(range(0, trials, 128), desc=f"packing {mouse} {kind}",
                                  unit="block"):
                block = _block(source, kind, shape, range(start, min(start + 128, trials)), std)
                known = known or block.any()
                block = _standardised(block, mean, std, f"data/{kind} in {source.path}")
                if kind == "images" and shape[-2:] != size:
                    block = interpolate(torch.from_numpy(block), size=size, mode="bilinear",
                                        align_corners=False).numpy()  # (B, 1, H, W)
                out.write(block.astype("<f4").tobytes())
        if not known and kind in ("behavior", "pupil_center"):  # withheld: zeros throughout
            packed.unlink()
        else:
            statistics |= {f"{kind}_mean": mean, f"{kind}_std": std}
    _mark_withheld(part / "responses.npy", meta["tiers"])
    np.savez(part / "meta.npz", **meta, **statistics)


def _mark_withheld(packed, tiers):
    """Write NaN in place of the responses of a test tier that has nothing but zeros."""
    responses = np.load(packed, mmap_mode="r+")
    for tier in ("test", "final_test"):
        rows = np.flatnonzero(tiers == tier)
        if len(rows) and not any(responses[row].any() for row in rows):
            responses[rows] = np.nan


def _shapes(source, trials, neurons):
    """The shape of one trial's array of each kind, once there is one for every trial.

    Behaviour and eye position may be absent as a whole: not every lab records them.
    """
    state = {"behavior": (3,), "pupil_center": (2,)}
    state = {kind: shape for kind, shape in state.items() if source.has(kind)}
    for kind in ("images", "responses", *state):
        source.expect(kind, trials)
    raw = source.read("data/images/0").shape
    if len(raw) != 3 or raw[0] != 1 or not 0 < min(raw) <= max(raw) <= 1024:
        raise ValueError(f"data/images/0.npy in {source.path} has shape {raw}, expected one grey "
                         "image (1, height, width) of up to 1024 pixels; only such recordings can "
                         "be read")
    return {"images": raw, "responses": (neurons,), **state}


def _block(source, kind, shape, trials, std):
    """Some trials' arrays of one kind in raw units, (B, *shape) float32."""
    block = np.stack([source.read(f"data/{kind}/{trial}", shape).astype(np.float32)
                      for trial in trials])
    finite = np.isfinite(block).all()
    if not finite or (kind == "responses" and (block < -0.01 * std).any()):
        raise ValueError(f"data/{kind} in {source.path} has values that are "
                         f"{'negative' if finite else 'not finite'}, in trials {trials[0]} to "
                         f"{trials[-1]}; the recording is damaged")
    return block


def _standardised(block, mean, std, where):
    with np.errstate(all="ignore"):  # what overflows is found here
        block = (block - mean) / std
    if not np.isfinite(block).all():
        raise ValueError(f"{where} cannot be standardised: its statistics do not fit its values; "
                         "the recording is damaged")
    return block


def _standardisation(source, kind, shape):
    """The float32 mean to subtract and std to divide by."""
    mean, std = (_statistic(source, f"meta/statistics/{kind}/all/{name}",
                            () if kind == "images" else shape) for name in ("mean", "std"))
    if kind in ("responses", "behavior"):
        mean = np.zeros_like(std)  # scaled, not centred
    if kind == "responses" and std.any():
        floor = 0.01 * std.mean()  # so that silent neurons do not explode
        return mean, np.where(std > floor, std, floor)
    return mean, np.where(std > 0, std, 1).astype(np.float32)


def _statistic(source, name, shape):
    values = source.read(name)
    if values.size != math.prod(shape) or values.dtype.kind not in "biuf":
        raise ValueError(f"{name}.npy in {source.path} holds {values.dtype} of shape "
                         f"{values.shape}, expected {math.prod(shape)} numbers; the recording is "
                         "damaged")
    with np.errstate(all="ignore"):
        numbers = values.astype(np.float32).reshape(shape)
    if not np.isfinite(numbers).all() or (name.endswith("std") and (numbers < 0).any()):
        raise ValueError(f"{name}.npy in {source.path} has values that are not finite, or "
                         "negative; the recording is damaged")
    return numbers
