"""The official file layout of a recording."""

import io
import math
import re
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from kit.checks import brief
from kit.data.layout import BEHAVIOR, BEHAVIOR_NAMES, KINDS, META, MOUSE_ID, TIERS
from kit.data.zips import GET_AGAIN, READ_ERRORS, name_of, open_zip, require_readable
from kit.files import atomic_write, progress

META_CONTENT = {
    "tiers": ("U", f"texts, some of them {', '.join(TIERS)}"),
    "image_ids": ("iufU", "finite numbers or plain texts"),
    "trial_ids": ("iuU", "whole numbers or plain texts, none repeated"),
    "unit_ids": ("iu", "whole numbers below 2**53, none repeated"),
    "coordinates": ("iuf", "finite numbers"),
}  # the letters of dtype.kind that are allowed after `_as_ids`; the content in words

TIERS_FILE = "meta/trials/tiers.npy"  # the folder that holds this file is the root of a recording
MAX_ARRAY_BYTES = 2**26  # many times the size of a recording's largest array
PLAIN_ID = re.compile(r"[!#-+\--~]+")  # ids that a CSV file can hold: no comma, quote or blank
HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}  # by the version of the .npy format


def write(target: Path, recording: Mapping[str, Any], statistics_from: np.ndarray) -> None:
    """Write one recording as a zip, or as a folder if `target` is no .zip, in the official layout.

    recording: dict of arrays by their official names. One row per trial: images (T, 1, 144, 256)
    in 0-255, responses (T, N), behavior (T, 3), pupil_center (T, 2), tiers, trial_idx,
    frame_image_id. One row per neuron: unit_ids, cell_motor_coordinates (N, 3) in micrometres.
    behavior and pupil_center may be absent. Where they are there: behavior_names (K,) of behaviour
    (T, K) other than the official three, and mouse, the id in a file of any name.
    statistics_from: (T,) bool, the trials that the statistics describe. The values of trials may be
    anything that has a length and takes a trial's number, or this mask, as an index.
    """
    with _open_target(target) as put:
        for kind in [kind for kind in KINDS if kind in recording]:
            values = recording[kind]
            for trial in progress(range(len(values)), desc=f"writing {kind}", unit="trial"):
                put(f"data/{kind}/{trial}", values[trial])
            for name, value in _statistics(values[statistics_from]).items():
                put(f"meta/statistics/{kind}/all/{name}", value)
        for name in ("unit_ids", "cell_motor_coordinates"):
            put(f"meta/neurons/{name}", recording[name])
        for name in ("tiers", "trial_idx", "frame_image_id"):
            put(f"meta/trials/{name}", recording[name])
        for name, file in {"behavior_names": BEHAVIOR_NAMES, "mouse": MOUSE_ID}.items():
            if name in recording:
                put(file, recording[name])


@contextmanager
def _open_target(target):
    """A function that writes an array under its official name into a zip or a folder to come."""
    if target.suffix.lower() != ".zip":
        with atomic_write(target, folder=True, exclusive=True) as part:

            def put_file(name, array):
                file = part / f"{name}.npy"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, array, allow_pickle=False)

            yield put_file
        return
    with atomic_write(target) as part, zipfile.ZipFile(part, "w") as archive:

        def put_member(name, array):
            fixed_date = (2022, 6, 15, 0, 0, 0)
            member = zipfile.ZipInfo(f"{target.stem}/{name}.npy", fixed_date)
            if "/images/" in name:  # halves the images; responses do not compress
                member.compress_type = zipfile.ZIP_DEFLATED
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(member, buffer.getbuffer(), compresslevel=1)

        yield put_member


@dataclass(frozen=True)
class LazyArray:
    """Values (T, …), computed for each trial when they are needed."""

    read: Callable[[int], np.ndarray]  # the values of one trial
    length: int

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        """One trial by its number, or several by a mask (T,)."""
        if isinstance(index, int):
            return self.read(index)
        chosen = np.flatnonzero(index)
        example = self.read(chosen[0])
        trial_type = np.dtype((example.dtype, example.shape))
        return np.fromiter(map(self.read, chosen), trial_type, len(chosen))


def _statistics(values):
    """The five statistics of one kind of data: over all pixels of images, else over trials."""
    if values.ndim > 2:
        axis = None
        mean = np.mean(values, dtype=np.float64)
        # trial by trial: all squares at once would fill a gigabyte
        std = np.sqrt(np.mean([np.square(value - mean).mean() for value in values]))
    else:
        axis = 0
        mean = np.mean(values, 0, dtype=np.float64)
        std = np.std(values, 0, dtype=np.float64)
    return {
        "mean": mean,
        "std": std,
        "median": np.median(values, axis),
        "min": np.min(values, axis),
        "max": np.max(values, axis),
    }


# ---- finding and opening a recording ----


def array_files(path: Path) -> dict[str, Path]:
    """Path relative to a folder -> file, for the .npy files of all recordings in the folder.

    Recordings may be up to two levels below it. Links are followed.
    """
    marks = [mark for below in ("", "*/", "*/*/") for mark in path.glob(below + TIERS_FILE)]
    patterns = ("data/*/*.npy", "meta/*/*.npy", "meta/statistics/*/*/*.npy")
    files = [
        file for mark in marks for pattern in patterns for file in mark.parents[2].glob(pattern)
    ]
    return {file.relative_to(path).as_posix(): file for file in sorted(files)}


@contextmanager
def open_source(path: Path) -> Generator["Source"]:
    """Open the one recording in a zip or a folder. Raises ValueError if there is not just one."""
    with nullcontext() if path.is_dir() else open_zip(path) as archive:
        if archive:
            files = {name_of(member): member for member in archive.infolist()}
        else:
            files = array_files(path)
        marks = [name for name in files if name.endswith(TIERS_FILE) and "__MACOSX" not in name]
        if len(marks) != 1:
            raise ValueError(
                f"{path} holds {len(marks)} files {TIERS_FILE}; give one recording's zip or folder"
            )
        root = marks[0].removesuffix(TIERS_FILE)
        files = {
            name.removeprefix(root): file for name, file in files.items() if name.startswith(root)
        }
        yield Source(path, PurePath(root).name, files, archive)


@dataclass(frozen=True)
class Source:
    """Reads the arrays of one recording by their official names."""

    path: Path
    folder_name: str  # of the folder that holds data and meta
    files: Mapping[str, Any]  # name in that folder -> a Path, or a member of the archive
    archive: zipfile.ZipFile | None

    def read(self, name: str, shape: tuple | None = None) -> np.ndarray:
        """One array, read-only. Raises ValueError if it is missing, damaged or of another shape."""
        # in bytes: for a known shape the header, and at most 16 for each value
        largest = MAX_ARRAY_BYTES if shape is None else 4096 + 16 * math.prod(shape)
        try:
            with self._open(f"{name}.npy") as file:
                array = _parse(file.read(largest))  # the start of a longer one is refused
        except READ_ERRORS as problem:
            require_readable(f"{name}.npy in {self.path}", problem)
            raise self.error(name, f"cannot be read: {brief(problem)}", GET_AGAIN) from None
        if shape is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise self.mismatch(name, array, f"numbers of shape {shape}")
        return array

    def _open(self, name):
        file = self.files.get(name)
        if self.archive and file:
            return self.archive.open(file)
        if not file or not file.is_file():  # a device or a pipe may never end
            raise ValueError("there is no such file")
        return file.open("rb")

    def error(self, name: str, problem: str, remedy: str) -> ValueError:
        """The error for an array with a problem."""
        return ValueError(f"{name}.npy in {self.path} {problem}; {remedy}")

    def mismatch(self, name: str, array: np.ndarray, expected: str) -> ValueError:
        """The error for an array that holds something else than expected."""
        content = f"{array.dtype} of shape {array.shape}, {brief(array)}"
        remedy = "correct it, or download or unpack the recording again"
        return self.error(name, f"holds {content}; it must hold {expected}", remedy)

    def has_statistics(self, kind: str) -> bool:
        """Whether there is a mean or a std of a kind."""
        folder = f"meta/statistics/{kind}/all"
        return f"{folder}/mean.npy" in self.files or f"{folder}/std.npy" in self.files

    def trial_arrays(self, trials: int) -> dict[str, list[str]]:
        """Kind -> the names of the trials' arrays, in the order of their numbers.

        Behaviour and eye position may be absent as a whole: not every lab records them. Raises
        ValueError unless each other kind has an array for every trial, and all are numbered alike.
        """
        arrays = {kind: self._numbered_arrays(kind) for kind in KINDS}
        first = arrays["images"][0][0] if arrays["images"] else 0
        expected = range(first, first + trials)
        for kind, numbered in arrays.items():
            absent = kind in ("behavior", "pupil_center") and not numbered
            if not absent and [number for number, _ in numbered] != list(expected):
                raise ValueError(
                    f"data/{kind} in {self.path} holds {len(numbered)} files, expected {first}.npy "
                    f"to {expected[-1]}.npy; number all kinds alike, or download or unpack it again"
                )
        return {
            kind: [name for _, name in numbered] for kind, numbered in arrays.items() if numbered
        }

    def _numbered_arrays(self, kind):
        """Sorted (number, name) of the arrays of a kind. A Mac's ._0.npy is none of them."""
        pattern = re.compile(rf"(data/{kind}/([0-9]{{1,18}}))\.npy")
        matches = filter(None, map(pattern.fullmatch, self.files))
        return sorted((int(match[2]), match[1]) for match in matches)


def _parse(data):
    """The array in the bytes of an .npy file; its header ends with a newline."""
    shape, fortran_order, dtype, start = _parse_header(data[: data.find(b"\n", 10) + 1])
    array = np.frombuffer(data, dtype, offset=start)  # raises ValueError for objects
    if array.size != math.prod(shape):
        raise ValueError("its header does not fit its content")
    return array.reshape(shape, order="F" if fortran_order else "C")


@lru_cache(maxsize=64)  # numpy parses slowly, and all trials have the same header
def _parse_header(header):
    """Shape, whether in Fortran order, dtype, and the byte at which the values start."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version not in HEADER_READERS:
        raise ValueError(f"version {version} of its format is unknown")
    return *HEADER_READERS[version](file), file.tell()


# ---- trials and neurons ----


def read_meta(source: Source) -> dict[str, np.ndarray]:
    """The arrays about trials and neurons, by the kit's names. Raises ValueError for a bad one."""
    if any(name.startswith("data/videos/") for name in source.files):
        raise ValueError(f"{source.path} holds videos; give a recording with one image a trial")
    meta = {name: _as_ids(name, source.read(file)) for name, file in META.items()}
    trials = meta["tiers"].size
    neurons = meta["unit_ids"].size
    shapes = dict.fromkeys(META, (trials,)) | {"unit_ids": (neurons,), "coordinates": (neurons, 3)}
    for name, values in meta.items():
        if not values.size or values.shape != shapes[name] or not _is_valid(name, values):
            expected = f"{META_CONTENT[name][1]}, of shape {shapes[name]}"
            raise source.mismatch(META[name], values, expected)
    return meta


def read_behavior_names(source: Source) -> tuple[str, ...]:
    """The names of the columns of behaviour. Raises ValueError if the file lists no such names."""
    if f"{BEHAVIOR_NAMES}.npy" not in source.files:
        return BEHAVIOR
    names = source.read(BEHAVIOR_NAMES)
    listed = names.tolist() if names.ndim == 1 and names.dtype.kind == "U" else []
    if not 0 < len(set(listed)) == len(listed) <= 1000 or not all(map(is_plain_name, listed)):
        expected = "the names of the columns of behaviour, each once, up to 40 letters"
        raise source.mismatch(BEHAVIOR_NAMES, names, expected)
    return tuple(listed)


def is_plain_name(name: str) -> bool:
    """Whether a text can name a column of behaviour."""
    return name.isprintable() and name == name.strip() and 0 < len(name) <= 40


def read_mouse_id(source: Source) -> str | None:
    """The mouse's id in the file, or None."""
    if f"{MOUSE_ID}.npy" not in source.files:
        return None
    mouse = source.read(MOUSE_ID)
    if mouse.shape or mouse.dtype.kind != "U":
        raise source.mismatch(MOUSE_ID, mouse, "the mouse's id, one text")
    return str(mouse)


def _as_ids(name, values):
    """The values with bytes decoded, and ids that were written as floats or texts as integers."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "latin-1")
    if values.dtype.kind in {"unit_ids": "fU", "trial_ids": "f"}.get(name, ""):
        with suppress(ValueError), np.errstate(invalid="ignore"):
            numbers = values.astype(np.float64)
            if ((numbers % 1 == 0) & (np.abs(numbers) < 2**53)).all():
                return numbers.astype(np.int64)
    return values


def _is_valid(name, values):
    """Whether an array has the right type and content; ids of units and trials are unique."""
    if values.dtype.kind not in META_CONTENT[name][0]:
        return False
    if name in ("unit_ids", "trial_ids") and len(np.unique(values)) < len(values):
        return False
    if name == "tiers":
        return np.isin(values, TIERS).any()
    if name == "unit_ids":
        return np.abs(values.astype(float)).max() < 2**53
    if values.dtype.kind == "U":
        return all(map(PLAIN_ID.fullmatch, values.tolist()))
    return np.isfinite(values.astype(np.float32)).all()
