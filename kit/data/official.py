"""The official file layout of a recording."""

import io
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from kit.files import atomic_write, progress

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
    with atomic_write(target) as part, zipfile.ZipFile(part, "w") as archive:

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


def find_roots(path):
    """The folder of a recording's files: those found at `path` and up to two levels below."""
    return [mark.parents[2] for stars in ("", "*/", "*/*/") for mark in path.glob(stars + MARK)
            if "__MACOSX" not in mark.parts]


def array_files(top):
    """The .npy files of a recording in a folder, links followed."""
    patterns = ("data/*/*.npy", "meta/*/*.npy", "meta/statistics/*/*/*.npy")
    return sorted(file for pattern in patterns for file in top.glob(pattern))


def zip_names(path):
    """The names in a zip file. Raises ValueError if it is damaged or was made to do harm."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except PermissionError:
        raise PermissionError(f"{path} may not be read by you; ask its owner, or copy it") from None
    except READ_ERRORS:
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
READ_ERRORS = (ValueError, TypeError, EOFError, OSError, RuntimeError, SyntaxError, OverflowError,
              MemoryError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError)


class Source:
    """Reads the arrays of a recording, from a zip or a folder, by their official names."""

    def __init__(self, path):
        self.path, self.archive = path, None
        if path.is_file():
            names = zip_names(path)
            found = [name.removesuffix(MARK) for name in names
                     if name.endswith(MARK) and "__MACOSX" not in name]
        else:
            found = find_roots(path)
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
        except READ_ERRORS as problem:
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
    except (*READ_ERRORS, KeyError):
        raise ValueError("it does not begin as an .npy file of version 1 or 2 does") from None
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which could run code")
    promised, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if promised != there or min(shape, default=0) < 0:
        raise ValueError(f"its header promises {promised:,} bytes, {there:,} are there")
    array = np.frombuffer(data, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if columns_first else "C")


def read_meta(source):
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
