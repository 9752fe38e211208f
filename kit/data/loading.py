"""From a name to an open recording."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from kit.checks import brief, expand_user, require, suggest
from kit.data import simulation
from kit.data.official import array_files, open_source, read_mouse_id
from kit.data.packing import SIZE, default_size, pack
from kit.data.recordings import Dataset, open_packed
from kit.data.sources import catalog
from kit.data.zips import directory_bytes
from kit.files import atomic_write, data_folder, file_sha256
from kit.machine import limit_threads

OFFICIAL_NAME = re.compile(r"static([^/\\]+?)-GrayImageNet")
DIGEST = re.compile(r"[0-9a-f]{40}")  # of what a recording holds
PACKED = 3  # version of the packed arrays: part of the cache key


def load(
    names: str | Path | list[str | Path],
    size: tuple[int, int] | None = None,
    folder: str | Path | None = None,
) -> Dataset:
    """Open recordings by name, id or path. Returns a `Dataset`.

    names: "sample", "sample+", "sample-pretrain" (simulated), "sensorium", "sensorium+",
        "pretrain", "all" (published), a recording id, a path to a zip or folder in the official
        layout, or a list of these.
    size: height and width of the images in pixels, scaled by bilinear interpolation; their aspect
        is the recording's, rounded to a pixel. By default (36, 64) for the 144 x 256 of the
        benchmark, and as many pixels for another aspect, such as (48, 48).
    folder: the data folder; else KIT_DATA_DIR, else the user's cache.
    The first opening packs the recording into the data folder; it never writes into the recording.
    Trials that hold NaN get the tier "NaN"; trials of tiers other than train, validation, test and
    final_test are kept too, and no method uses them. Where a recording has no statistics, they
    are computed from its train and validation trials.
    Raises ValueError if a name is unknown, a recording is damaged, its statistics belong to
    other data, or `size` would squeeze its images.

    >>> data = kit.load("sample+")
    >>> data
    mouse 99002-1-1: 600 neurons, 1600 train, 200 validation, ..., images 36x64, with behaviour
    >>> data.mouse.responses.shape[1]
    600
    """
    if size is not None:
        size = require("size", size, tuple[int, int], (1, 1024))
    listed = names if isinstance(names, list | tuple) else [names]
    if not listed or not all(isinstance(name, str | Path) and str(name) for name in listed):
        raise ValueError(f'{brief(names)!r} names no recording; try kit.load("sample+")')
    limit_threads()
    origins = {}  # mouse -> path of a recording, or its id; all are looked up before any work
    for name in listed:
        for mouse, origin in _find(name).items():
            if origins.setdefault(mouse, origin) != origin:
                raise ValueError(f"mouse {mouse} is in {origins[mouse]} and {origin}; name one")
    return Dataset([_open(mouse, origin, size, folder) for mouse, origin in origins.items()])


def _find(name):
    """Mouse -> its id, or the path of its zip or folder, for one name."""
    ids = {mouse: [mouse] for mouse in (*simulation.MICE, *catalog.RECORDINGS)}
    mice = {**simulation.NAMES, **catalog.NAMES, **ids}
    if name in mice:
        return {mouse: mouse for mouse in mice[name]}
    path = expand_user(name)
    if os.path.isfile(path) or os.path.isdir(path):
        path = path.resolve()
        return {_mouse_id(path): path}
    raise ValueError(
        f"{brief(name)!r} is neither a known recording nor a file or folder; {suggest(name, mice)}"
        f"names are {', '.join(mice)}; if it is a link of git-annex, get its content first"
    )


def _mouse_id(path):
    """The mouse's id, from the name of the file or folder, else from inside."""
    mouse = official_mouse(path.name)
    if not mouse:
        with open_source(path) as source:
            mouse = official_mouse(source.folder_name) or read_mouse_id(source)
    return plain_mouse(mouse or path.name.removesuffix(".zip"))


def official_mouse(name: str) -> str | None:
    """The mouse's id in an official name of a file or folder; None in any other name."""
    match = OFFICIAL_NAME.match(name)
    return match and match[1]


def plain_mouse(mouse: str) -> str:
    """A mouse's id as file names and torch take it."""
    mouse = re.sub(r"[^\w+-]", "-", mouse)[:80]  # torch allows no dot in names
    # a ModuleDict, which holds a model's readouts, takes no "keys" or "pop" for a name
    return f"mouse-{mouse}" if hasattr(torch.nn.ModuleDict, mouse) else mouse


def _open(mouse, origin, size, folder):
    """The packed recording, packed first if its content or the size is new."""
    fetch = simulation.fetch if origin in simulation.MICE else catalog.fetch
    path = origin if isinstance(origin, Path) else fetch(origin, folder)
    root = data_folder(folder)
    note = None if path.is_file() else root / "content" / _listing(path)
    noted = note.read_text(errors="replace") if note and note.is_file() else ""
    content = noted if DIGEST.fullmatch(noted) else _content(path)  # a lost disk leaves empty notes
    key = hashlib.sha1(repr((PACKED, content)).encode()).hexdigest()[:16]

    def packed_at(size):
        return root / "packed" / f"{mouse}-{size[0]}x{size[1]}-{key}"

    if size is None:
        size = SIZE if os.path.isdir(packed_at(SIZE)) else _default_size(mouse, path)
    packed = packed_at(size)
    if not os.path.isdir(packed):  # nor does another user's, closed to others, count
        try:
            with open_source(path) as source, atomic_write(packed, folder=True) as part:
                part.mkdir()
                pack(source, part, size)
        except ValueError:
            if mouse not in simulation.MICE:
                raise
            raise ValueError(f"{path} is damaged; delete it, and it is simulated again") from None
    if note and noted != content:
        with suppress(OSError), atomic_write(note) as part:  # the data folder may be read-only
            part.write_text(content)
    return open_packed(mouse, packed.absolute())


def _default_size(mouse, path):
    """The size at which a recording is opened if none is asked for."""
    if mouse in simulation.MICE or mouse in catalog.RECORDINGS:
        return SIZE
    with open_source(path) as source:
        return default_size(source)


# ---- the key of a packed copy: what the recording holds, wherever it lies and whatever its dates


def _content(path):
    """A digest of all that a recording holds. A zip lists the CRC-32 of its members at its end."""
    if path.is_file():
        return hashlib.sha1(directory_bytes(path)).hexdigest()
    digest = hashlib.sha1()
    for name, file in array_files(path).items():
        if file.is_file():  # a device or a pipe may never end
            digest.update(f"{name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _listing(path):
    """A digest that tells whether a folder is as it was when its content was read.

    To read 25,000 files takes long. A file that changes gets a new ctime, even where its date and
    size stay; not on Windows, so the files of meta, a few kilobytes, are always read.
    """
    digest = hashlib.sha1(os.fsencode(path))
    for name, file in array_files(path).items():
        with suppress(FileNotFoundError):  # a link to nowhere, which is refused when it is read
            stat = file.stat()
            times = stat.st_mtime_ns, stat.st_ctime_ns
            digest.update(repr((name, stat.st_size, *times, stat.st_ino)).encode())
            if "/meta/" in f"/{name}" and file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()
