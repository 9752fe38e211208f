"""The official file layout of a recording."""

import io
import lzma
import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.files import atomic_write, progress

KINDS = ("images", "responses", "behavior", "pupil_center")
TIERS = ("train", "validation", "test", "final_test")
META = {"tiers": "meta/trials/tiers", "image_ids": "meta/trials/frame_image_id",
        "trial_ids": "meta/trials/trial_idx", "unit_ids": "meta/neurons/unit_ids",
        "coordinates": "meta/neurons/cell_motor_coordinates"}
META_DTYPES = {"tiers": "U", "image_ids": "iufU", "trial_ids": "iuU", "unit_ids": "iu",
               "coordinates": "iuf"}  # values of numpy's dtype.kind

TIERS_FILE = "meta/trials/tiers.npy"  # the folder that holds this file is the root of a recording
MAX_ARRAY_BYTES = 2**26  # bytes of one array: many times any that a recording holds
LOCAL_HEADER = b"PK\3\4"  # begins every member of a zip
PLAIN_ID = re.compile(r"[!#-+\--~]+")  # ids that a CSV file can hold: no comma, quote or blank

# raised by zipfile, zlib and numpy on damaged, encrypted or hostile bytes
READ_ERRORS = (ValueError, TypeError, EOFError, OSError, RuntimeError, SyntaxError, OverflowError,
               MemoryError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError,
               tokenize.TokenError)


def write(target: Path, recording: dict[str, np.ndarray], statistics_from: np.ndarray) -> None:
    """Write one recording as a zip in the official layout.

    recording: dict of arrays by their official names. One row per trial: images (T, 1, 144, 256)
    in 0-255, responses (T, N), behavior (T, 3), pupil_center (T, 2), tiers, trial_idx,
    frame_image_id. One row per neuron: unit_ids, cell_motor_coordinates (N, 3) in micrometres.
    statistics_from: (T,) bool, the trials that the mean and std files describe. The values of
    trials may be anything with a length that gives one by its number, and several by this mask.
    """
    with atomic_write(target) as part, zipfile.ZipFile(part, "w") as archive:

        def put(name, array):
            member = zipfile.ZipInfo(f"{target.stem}/{name}.npy", (2022, 6, 15, 0, 0, 0))
            if "/images/" in name:  # halves the images; responses do not compress
                member.compress_type = zipfile.ZIP_DEFLATED
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(member, buffer.getbuffer(), compresslevel=1)

        for kind in KINDS:
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
    """The five statistics of one kind of data: over all pixels of images, else over trials."""
    axis = None if values.ndim > 2 else 0
    mean = np.mean(values, axis, dtype=np.float64)
    squares = ((value - mean) ** 2 for value in values)  # one by one: all would fill a gigabyte
    if axis is None:
        variance = np.mean([square.mean() for square in squares])
    else:
        variance = sum(squares) / len(values)
    return {"mean": mean, "std": np.sqrt(variance), "median": np.median(values, axis),
            "min": np.min(values, axis), "max": np.max(values, axis)}


# ---- finding and opening a recording ----

def find_roots(path: Path) -> list[Path]:
    """The folders of recordings at `path` and up to two levels below."""
    marks = [mark for stars in ("", "*/", "*/*/") for mark in path.glob(stars + TIERS_FILE)]
    return [mark.parents[2] for mark in marks if "__MACOSX" not in mark.parts]


def array_files(root: Path) -> list[Path]:
    """The .npy files of a recording in a folder, links followed."""
    patterns = ("data/*/*.npy", "meta/*/*.npy", "meta/statistics/*/*/*.npy")
    return sorted(file for pattern in patterns for file in root.glob(pattern))


@contextmanager
def open_source(path: Path) -> Iterator["Source"]:
    """Open the one recording in a zip or a folder. Raises ValueError if there is not just one."""
    if path.is_dir():
        yield Source(path, _only_root(path, find_roots(path)))
        return
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError:
        raise PermissionError(f"you may not read {path}; ask its owner, or copy it") from None
    except READ_ERRORS:
        raise ValueError(f"{path} is not a zip file; it may be cut off or a web page: "
                         "download it again") from None
    with archive:
        try:
            problem = _find_problem(archive)
        except READ_ERRORS:
            problem = "has a damaged directory"
        if problem:
            raise ValueError(f"{path} {problem}; no published recording does: download it again")
        marks = [name for name in archive.namelist() if name.endswith(TIERS_FILE)]
        roots = [mark.removesuffix(TIERS_FILE) for mark in marks if "__MACOSX" not in mark]
        yield Source(path, _only_root(path, roots), archive)


def _only_root(path, roots):
    if len(roots) != 1:
        raise ValueError(f"{path} is not one recording in the official layout: it holds "
                         f"{len(roots)} files {TIERS_FILE}; give the static…zip or its folder")
    return roots[0]


def _find_problem(archive):
    """A sign that a zip is damaged or was made to do harm, or None."""
    names = archive.namelist()
    for name, count in Counter(names).items():
        if count > 1:
            return f"holds {name[:80]!r} more than once"
        if ".." in name.split("/") or re.match(r"[/\\]|[A-Za-z]:", name):
            return f"has a member outside its folder, {name[:80]!r}"
    return "has a member that its directory does not list" if _hides_members(archive) else None


def _hides_members(archive):
    """Whether members overlap, or one lies where the central directory lists none."""
    file, end = archive.fp, 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if not _is_gap(file, end, member.header_offset):
            return True
        file.seek(member.header_offset)
        name_length, extra_length = struct.unpack_from("<2H", file.read(30), 26)
        end = member.header_offset + 30 + name_length + extra_length + member.compress_size
    return not _is_gap(file, end, file.seek(0, io.SEEK_END))


def _is_gap(file, start, stop):
    """Whether `start` is not after `stop` (no overlap) and no member begins between them."""
    file.seek(start)
    return start <= stop and LOCAL_HEADER not in file.read(stop - start)


@dataclass(frozen=True)
class Source:
    """Reads the arrays of one recording by their official names."""

    path: Path
    root: Path | str  # of the recording: a folder, or how its members' names begin
    archive: zipfile.ZipFile | None = None

    def read(self, name: str, shape: tuple | None = None) -> np.ndarray:
        """One array. Raises ValueError if it is missing, damaged or not of this shape."""
        # of a known shape: the header, and at most 16 bytes for each value
        largest = MAX_ARRAY_BYTES if shape is None else 4096 + 16 * math.prod(shape)
        try:
            with self._open(f"{name}.npy") as file:
                array = _parse(file.read(largest + 1), largest)
        except (KeyError, FileNotFoundError):
            raise ValueError(f"{self.path} has no {name}.npy; the recording is incomplete, "
                             "download or unpack it again") from None
        except READ_ERRORS as problem:
            reason = " ".join(str(problem).split())[:200]
            raise ValueError(f"{name}.npy in {self.path} cannot be read ({reason}); "
                             "download or unpack the recording again") from None
        if shape is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise ValueError(f"{name}.npy in {self.path} holds {array.dtype} of shape "
                             f"{array.shape}, expected numbers of shape {shape}; the recording is "
                             "damaged")
        return array

    def _open(self, file):
        if self.archive:
            return self.archive.open(self.root + file)
        path = self.root / file
        if not path.is_file():  # a device or a pipe may never end
            raise FileNotFoundError
        return path.open("rb")

    def trial_files(self, kind: str) -> set[str]:
        """The names of the files of one kind, such as 0.npy."""
        if self.archive:
            start = f"{self.root}data/{kind}/"
            names = [name.removeprefix(start) for name in self.archive.namelist()
                     if name.startswith(start)]
        else:
            names = [file.name for file in (self.root / "data" / kind).glob("*.npy")]
        return {name for name in names if re.fullmatch(r"\d+\.npy", name)}  # not a Mac's ._0.npy

    def require_trials(self, kind: str, trials: int) -> None:
        """Raise ValueError unless there is one file of a kind for each trial."""
        found = self.trial_files(kind)
        expected = {f"{trial}.npy" for trial in range(trials)}
        wrong = sorted(expected ^ found, key=lambda name: (len(name), name))
        if wrong:
            raise ValueError(f"data/{kind} in {self.path} holds {len(found)} files, but "
                             f"{TIERS_FILE} lists {trials} trials: "
                             f"{len(expected - found)} missing, {len(found - expected)} too many, "
                             f"the first is {wrong[0]}; download or unpack the recording "
                             "again")


def _parse(data, largest):
    """The array in the bytes of an .npy file."""
    if len(data) > largest:
        raise ValueError(f"it holds more than {largest:,} bytes")
    file = io.BytesIO(data)
    array = np.lib.format.read_array(file, allow_pickle=False)
    if array.size > len(data) or file.read(1):  # empty texts take no bytes, so many cost nothing
        raise ValueError("its header does not fit its content")
    return array


# ---- trials and neurons ----

def read_meta(source: Source) -> dict[str, np.ndarray]:
    """The arrays about trials and neurons, by the kit's names. Raises ValueError if one is bad."""
    meta = {name: source.read(file) for name, file in META.items()}
    trials, neurons = meta["tiers"].size, meta["unit_ids"].size
    if not trials or not neurons:
        raise ValueError(f"{source.path} lists {trials} trials of {neurons} neurons; a recording "
                         "has at least one of each")
    shapes = dict.fromkeys(META, (trials,)) | {"unit_ids": (neurons,), "coordinates": (neurons, 3)}
    for name, values in meta.items():
        if values.shape != shapes[name]:
            raise ValueError(f"{META[name]}.npy in {source.path} has shape {values.shape}, "
                             f"expected {shapes[name]}; the recording is damaged")
        if not _is_valid(name, values):
            raise ValueError(f"{META[name]}.npy in {source.path} holds values of another type, "
                             "too large, repeated, not plain or not finite; the recording is "
                             "damaged")
    unknown = sorted(set(meta["tiers"].tolist()) - set(TIERS))
    if unknown:
        raise ValueError(f"{source.path} has the unknown tier {unknown[0][:40]!r} "
                         f"({len(unknown)} unknown in all); known are {', '.join(TIERS)}")
    return meta


def _is_valid(name, values):
    """Whether an array has the right type and holds finite numbers or plain ids, each id once."""
    if values.dtype.kind not in META_DTYPES[name]:
        return False
    if name in ("unit_ids", "trial_ids") and len(np.unique(values)) < len(values):
        return False
    if values.dtype.kind == "U":
        return all(map(PLAIN_ID.fullmatch, values.tolist()))
    if name == "unit_ids":
        return np.abs(values.astype(float)).max() < 2**53
    return np.isfinite(values.astype(np.float32)).all()
