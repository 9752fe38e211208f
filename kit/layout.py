"""The official file layout of a recording: written, read, and packed into standardised arrays.

A zip or folder with one .npy file per trial and kind, and meta files; see `write` for its members.
"""

import errno
import io
import lzma
import math
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
import torch
from torch.nn.functional import interpolate

from kit.files import progress, whole

TIERS = ("train", "validation", "test", "final_test")
META = {"tiers": "trials/tiers", "image_ids": "trials/frame_image_id",
        "trial_ids": "trials/trial_idx", "unit_ids": "neurons/unit_ids",
        "coordinates": "neurons/cell_motor_coordinates"}


def write(target, recording, statistics_from):
    """Write one recording as a zip in the official layout.

    recording: dict of arrays, one row a trial: images (T, 1, 144, 256) in 0-255, responses (T, N),
    behavior (T, 3), pupil_center (T, 2), tiers, trial_idx, frame_image_id; one row a neuron:
    unit_ids, cell_motor_coordinates (N, 3) in micrometres. statistics_from: (T,) bool, the trials
    that the mean and std files describe.
    """
    folder = target.stem
    with whole(target) as part, zipfile.ZipFile(part, "w") as archive:

        def put(member, array):
            member = zipfile.ZipInfo(f"{folder}/{member}.npy", (2022, 6, 15, 0, 0, 0))
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            # level 1: half the size of the images for little time; responses do not compress
            small = zipfile.ZIP_DEFLATED if "/images/" in member.filename else zipfile.ZIP_STORED
            archive.writestr(member, buffer.getbuffer(), small, 1)

        for kind in ("images", "responses", "behavior", "pupil_center"):
            values = recording[kind]
            for trial in progress(range(len(values)), desc=f"writing {kind}", unit="trial"):
                put(f"data/{kind}/{trial}", values[trial])
            for name, value in _statistics(values[statistics_from]).items():
                put(f"meta/statistics/{kind}/all/{name}", value)
        for name in ("unit_ids", "cell_motor_coordinates"):
            put(f"meta/neurons/{name}", recording[name])
        for name in ("tiers", "trial_idx", "frame_image_id"):
            put(f"meta/trials/{name}", recording[name])


def _statistics(values):
    """What the statistics folder holds: over all pixels of images, else over trials."""
    axis = None if values.ndim > 2 else 0
    mean = np.mean(values, axis, dtype=np.float64)
    # trial by trial, as the squares of all images at once would fill half a gigabyte
    variance = np.mean([np.mean((value - mean) ** 2, axis) if axis is None else (value - mean) ** 2
                        for value in values], 0)
    return {"mean": mean, "std": np.sqrt(variance), "median": np.median(values, axis),
            "min": np.min(values, axis), "max": np.max(values, axis)}


PLAIN = re.compile(r"[!#-+\--~]+")  # ids that a CSV file can hold: no comma, quote or blank
MARK = "meta/trials/tiers.npy"  # the folder that holds it is a recording's top
LARGEST = 2**26  # bytes of one array: many times any that a recording holds


def tops(path):
    """The folder of a recording's files: those found at `path` and up to two levels below."""
    return [mark.parents[2] for stars in ("", "*/", "*/*/") for mark in path.glob(stars + MARK)
            if "__MACOSX" not in mark.parts]


def array_files(top):
    """The .npy files of a recording in a folder, links followed."""
    patterns = ("data/*/*.npy", "meta/*/*.npy", "meta/statistics/*/*/*.npy")
    return sorted(file for pattern in patterns for file in top.glob(pattern))


def members(path):
    """The names in a zip file. Raises ValueError if it is damaged or was made to do harm."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except PermissionError:
        raise PermissionError(f"{path} may not be read by you; ask its owner, or copy it") from None
    except UNREADABLE:
        raise ValueError(f"{path} is not a zip file; it may be cut off or a web page: "
                         "download it again") from None
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ValueError(f"{path} holds {twice[:80]!r} more than once, so its content is in doubt; "
                         "no published recording does: download it again")
    for name in names:
        if ".." in PurePosixPath(name).parts or re.match(r"[/\\]|[A-Za-z]:", name):
            raise ValueError(f"{path} has a member that leads out of its folder, {name[:80]!r}; "
                             "no published recording has: download it again")
    return names


# what zipfile, zlib and numpy raise on damaged, encrypted or hostile bytes
UNREADABLE = (ValueError, TypeError, EOFError, OSError, RuntimeError, SyntaxError, OverflowError,
              MemoryError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError)


class Source:
    """Reads the arrays of a recording, from a zip or a folder, by their official names."""

    def __init__(self, path):
        self.path, self.archive = path, None
        if path.is_file():
            names = members(path)
            found = [name.removesuffix(MARK) for name in names
                     if name.endswith(MARK) and "__MACOSX" not in name]
        else:
            found = tops(path)
        if len(found) != 1:
            raise ValueError(f"{path} is not one recording in the official layout: it holds "
                             f"{len(found)} files {MARK}; give the static…zip or its folder")
        if path.is_file():
            self.top, self.names = found[0], set(names)
            self.archive = zipfile.ZipFile(path)
        else:
            self.path, self.top = found[0], ""
            self.names = {file.relative_to(self.path).as_posix()
                          for file in array_files(self.path)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.archive:
            self.archive.close()

    def read(self, name, shape=None):
        """The array of that name; an error if it is missing or has another shape."""
        member = f"{self.top}{name}.npy"
        if member not in self.names:
            raise ValueError(f"{self.path} has no {name}.npy; the recording is incomplete, "
                             "download or unpack it again")
        largest = LARGEST if shape is None else 4096 + 16 * int(np.prod(shape))
        try:
            if not self.archive and not (self.path / member).is_file():
                raise ValueError("it is no file")
            size = (self.archive.getinfo(member).file_size if self.archive
                    else (self.path / member).stat().st_size)
            if size > largest:
                raise ValueError(f"it unpacks to {size:,} bytes, at most {largest:,} can be right")
            array = _array(self.archive.read(member) if self.archive
                           else (self.path / member).read_bytes())
        except UNREADABLE as problem:
            said = " ".join(str(problem).split())[:200]
            raise ValueError(f"{name}.npy in {self.path} cannot be read ({said}); "
                             "download or unpack the recording again") from None
        if shape is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise ValueError(f"{name}.npy in {self.path} holds {array.dtype} of shape "
                             f"{array.shape}, expected numbers of shape {shape}; the recording is "
                             "damaged")
        return array

    def has(self, kind):
        """Whether there is any file of a kind."""
        return any(name.startswith(f"{self.top}data/{kind}/") for name in self.names)

    def expect(self, kind, trials):
        """Refuse a recording that has not one file of a kind for each trial, 0.npy and so on."""
        start = f"{self.top}data/{kind}/"
        found = {name.removeprefix(start) for name in self.names if name.startswith(start)}
        found = {name for name in found if re.fullmatch(r"\d+\.npy", name)}  # not a Mac's ._0.npy
        expected = {f"{trial}.npy" for trial in range(trials)}
        wrong = sorted(expected ^ found, key=lambda name: (len(name), name))
        if wrong:
            raise ValueError(f"data/{kind} in {self.path} holds {len(found)} files where "
                             f"{MARK} lists {trials} trials: "
                             f"{len(expected - found)} missing, {len(found - expected)} too many, "
                             f"the first is {wrong[0]}; download or unpack the recording again")


def _array(data):
    """The array in the bytes of an .npy file, which may promise more than it holds."""
    file = io.BytesIO(data)
    try:
        header = {(1, 0): np.lib.format.read_array_header_1_0,
                  (2, 0): np.lib.format.read_array_header_2_0}[np.lib.format.read_magic(file)]
        shape, columns_first, dtype = header(file)
    except (*UNREADABLE, KeyError):
        raise ValueError("it does not begin as an .npy file of version 1 or 2 does") from None
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which could run code")
    promised, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if promised != there or min(shape, default=0) < 0:
        raise ValueError(f"its header promises {promised:,} bytes, {there:,} are there")
    array = np.frombuffer(data, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if columns_first else "C")


def pack(mouse, source, part, size):
    """Write the standardised arrays and meta.npz into the folder `part`."""
    meta = _meta(source)
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


def _meta(source):
    """The arrays about trials and neurons, by the kit's names, all that they must be."""
    meta = {name: source.read(f"meta/{file}") for name, file in META.items()}
    trials, neurons = meta["tiers"].size, meta["unit_ids"].size
    if not trials or not neurons:
        raise ValueError(f"{source.path} lists {trials} trials of {neurons} neurons; a recording "
                         "has at least one of each")
    for name, values in meta.items():
        expected = {"unit_ids": (neurons,), "coordinates": (neurons, 3)}.get(name, (trials,))
        if values.shape != expected:
            raise ValueError(f"meta/{META[name]}.npy in {source.path} has shape {values.shape}, "
                             f"expected {expected}; the recording is damaged")
    unknown = sorted(set(map(str, meta["tiers"].tolist())) - set(TIERS))
    if unknown:
        raise ValueError(f"{source.path} has the unknown tier {unknown[0][:40]!r} "
                         f"({len(unknown)} unknown in all); known are {', '.join(TIERS)}")
    for name, kinds in (("unit_ids", "iu"), ("trial_ids", "iuU"), ("image_ids", "iufU"),
                        ("coordinates", "iuf")):
        values, once = meta[name], name in ("unit_ids", "trial_ids")
        if (values.dtype.kind not in kinds or (once and len(np.unique(values)) < len(values))
                or (values.dtype.kind == "f" and not np.isfinite(values.astype(np.float32)).all())
                or (name == "unit_ids" and np.abs(values.astype(float)).max() >= 2**53)
                or (values.dtype.kind == "U" and not all(map(PLAIN.fullmatch, values.tolist())))):
            raise ValueError(f"meta/{META[name]}.npy in {source.path} does not hold "
                             f"{'ids, each once' if once else 'finite numbers'}; the recording is "
                             "damaged")
    return meta


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
