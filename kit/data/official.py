"""The official file layout of a recording."""

import io
import math
import re
import zipfile
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks import one_line
from kit.data.layout import KINDS, META, TIERS
from kit.data.zips import GET_CONTENT, POINTER, READ_ERRORS, name_of, open_zip, require_readable
from kit.files import atomic_write, progress

META_DTYPES = {
    "tiers": "U",
    "image_ids": "iufU",
    "trial_ids": "iuU",
    "unit_ids": "iu",
    "coordinates": "iuf",
}  # values of numpy's dtype.kind, after `_as_ids`
META_WORDS = {
    "tiers": "texts",
    "image_ids": "finite numbers or plain texts",
    "trial_ids": "whole numbers or plain texts, none repeated",
    "unit_ids": "whole numbers below 2**53, none repeated",
    "coordinates": "finite numbers",
}

TIERS_FILE = "meta/trials/tiers.npy"  # the folder that holds this file is the root of a recording
MAX_ARRAY_BYTES = 2**26  # bytes of one array: many times any that a recording holds
TRIAL_FILE = re.compile(r"[0-9]{1,18}\.npy")
PLAIN_ID = re.compile(r"[!#-+\--~]+")  # ids that a CSV file can hold: no comma, quote or blank


def write(target: Path, recording: Mapping[str, Any], statistics_from: np.ndarray) -> None:
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
    return {
        "mean": mean,
        "std": np.sqrt(variance),
        "median": np.median(values, axis),
        "min": np.min(values, axis),
        "max": np.max(values, axis),
    }


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
def open_source(path: Path) -> Generator["Source"]:
    """Open the one recording in a zip or a folder. Raises ValueError if there is not just one."""
    if path.is_dir():
        yield Source(path, str(_only_root(path, find_roots(path))))
        return
    with open_zip(path) as archive:
        members = {name_of(member): member for member in archive.infolist()}
        marks = [name for name in members if name.endswith(TIERS_FILE)]
        roots = [mark.removesuffix(TIERS_FILE) for mark in marks if "__MACOSX" not in mark]
        yield Source(path, _only_root(path, roots), archive, members)


def _only_root(path, roots):
    if len(roots) != 1:
        raise ValueError(
            f"{path} is not one recording in the official layout: it holds "
            f"{len(roots)} files {TIERS_FILE}; give the static…zip or its folder"
        )
    return roots[0]


@dataclass(frozen=True)
class Source:
    """Reads the arrays of one recording by their official names."""

    path: Path
    root: str  # of the recording: its folder, or how its members' names begin
    archive: zipfile.ZipFile | None = None
    members: dict[str, zipfile.ZipInfo] = field(default_factory=dict)  # by names with /

    def read(self, name: str, shape: tuple | None = None) -> np.ndarray:
        """One array. Raises ValueError if it is missing, damaged or not of this shape."""
        # of a known shape: the header, and at most 16 bytes for each value
        largest = MAX_ARRAY_BYTES if shape is None else 4096 + 16 * math.prod(shape)
        try:
            with self._open(f"{name}.npy") as file:
                array = _parse(file.read(largest + 1), largest)
        except (KeyError, FileNotFoundError):
            raise ValueError(
                f"{self.path} has no {name}.npy; the recording is incomplete, "
                "download or unpack it again"
            ) from None
        except READ_ERRORS as problem:
            require_readable(f"{name}.npy in {self.path}", problem)
            reason = one_line(" ".join(str(problem).split()))
            if reason != GET_CONTENT:
                reason += "; download or unpack the recording again"
            raise ValueError(f"{name}.npy in {self.path} cannot be read: {reason}") from None
        if shape is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise ValueError(
                f"{name}.npy in {self.path} holds {array.dtype} of shape "
                f"{array.shape}, expected numbers of shape {shape}; the recording is "
                "damaged"
            )
        return array

    def _open(self, file):
        if self.archive:
            return self.archive.open(self.members[self.root + file])
        path = Path(self.root, file)
        if not path.is_file():  # a device or a pipe may never end
            raise FileNotFoundError
        return path.open("rb")

    def has_statistics(self, kind: str) -> bool:
        """Whether there is a mean or a std of a kind."""
        names = [f"meta/statistics/{kind}/all/{name}.npy" for name in ("mean", "std")]
        if self.archive:
            return any(self.root + name in self.members for name in names)
        return any(Path(self.root, name).exists() for name in names)

    def trial_files(self, kind: str) -> list[str]:
        """The names of the files of one kind, such as 0.npy, in the order of their numbers."""
        if self.archive:
            start = f"{self.root}data/{kind}/"
            names = [name.removeprefix(start) for name in self.members if name.startswith(start)]
        else:
            names = [file.name for file in Path(self.root, "data", kind).glob("*.npy")]
        names = [name for name in names if TRIAL_FILE.fullmatch(name)]  # not a Mac's ._0.npy
        return sorted(names, key=_number)

    def trial_arrays(self, kind: str, trials: int) -> list[str]:
        """The name of each trial's array, numbered from 0 or from 1, perhaps with leading zeros.

        Raises ValueError unless there is one file of a kind for each trial.
        """
        names = self.trial_files(kind)
        numbers = Counter(map(_number, names))
        first = 1 if names and (_number(names[0]), _number(names[-1])) == (1, trials) else 0
        expected = Counter(range(first, first + trials))
        missing, surplus = expected - numbers, numbers - expected
        if missing or surplus:
            raise ValueError(
                f"data/{kind} in {self.path} holds {len(names)} files, but "
                f"{TIERS_FILE} lists {trials} trials: {missing.total()} missing, "
                f"{surplus.total()} too many, the first is "
                f"{min(missing | surplus)}.npy; download or unpack the recording "
                "again"
            )
        return [f"data/{kind}/{name.removesuffix('.npy')}" for name in names]


def _number(name):
    return int(name.removesuffix(".npy"))


def _parse(data, largest):
    """The array in the bytes of an .npy file."""
    if POINTER.match(data):
        raise ValueError(GET_CONTENT)
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
    if source.trial_files("videos"):
        raise ValueError(
            f"{source.path} holds videos, as recordings of SENSORIUM 2023 do; this "
            "kit opens recordings with one image a trial"
        )
    meta = {name: _as_ids(name, source.read(file)) for name, file in META.items()}
    trials, neurons = meta["tiers"].size, meta["unit_ids"].size
    if not trials or not neurons:
        raise ValueError(
            f"{source.path} lists {trials} trials of {neurons} neurons; a recording "
            "has at least one of each"
        )
    shapes = dict.fromkeys(META, (trials,)) | {"unit_ids": (neurons,), "coordinates": (neurons, 3)}
    for name, values in meta.items():
        if values.shape != shapes[name]:
            raise ValueError(
                f"{META[name]}.npy in {source.path} has shape {values.shape}, "
                f"expected {shapes[name]}; the recording is damaged"
            )
        if not _is_valid(name, values):
            raise ValueError(
                f"{META[name]}.npy in {source.path} holds {values.dtype}; it must "
                f"hold {META_WORDS[name]}: put it right, or download or unpack the "
                "recording again"
            )
    if not np.isin(meta["tiers"], TIERS).any():
        raise ValueError(
            f"no trial of {source.path} has one of the tiers {', '.join(TIERS)}; the "
            f"first has {one_line(meta['tiers'][0], 40)!r}"
        )
    return meta


def _as_ids(name, values):
    """Texts for bytes, and whole numbers for ids that other programs write as floats or texts."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "latin-1")
    if name not in ("unit_ids", "trial_ids") or not values.size:
        return values
    if values.dtype.kind == "f":
        numbers = values.astype(np.float64)
        whole = (numbers % 1 == 0).all() and np.abs(numbers).max() < 2**53
        return numbers.astype(np.int64) if whole else values
    digits = values.dtype.kind == "U" and np.char.isdecimal(values).all()
    if name == "unit_ids" and digits and np.char.str_len(values).max() < 16:
        return values.astype(np.int64)
    return values


def _is_valid(name, values):
    """Whether an array has the right type and holds finite numbers or plain ids, each id once."""
    if values.dtype.kind not in META_DTYPES[name]:
        return False
    if name in ("unit_ids", "trial_ids") and len(np.unique(values)) < len(values):
        return False
    if values.dtype.kind == "U":
        return name == "tiers" or all(map(PLAIN_ID.fullmatch, values.tolist()))
    if name == "unit_ids":
        return np.abs(values.astype(float)).max() < 2**53
    return np.isfinite(values.astype(np.float32)).all()
