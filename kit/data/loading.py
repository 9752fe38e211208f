"""From a name to an open recording."""

import hashlib
import os
import re
from pathlib import Path, PurePath

import torch

from kit.data import catalog, simulation
from kit.data.official import array_files, find_roots, open_source
from kit.data.packing import pack
from kit.data.recordings import Dataset, open_packed
from kit.files import atomic_write, data_folder
from kit.report import require_int, suggest
from kit.threads import limit_threads

PACKED = 2  # version of the packed arrays: part of the cache key


def load(names: str | Path | list[str | Path], size: tuple[int, int] = (36, 64),
         folder: str | Path | None = None) -> Dataset:
    """Open recordings by name, id or path. Returns a `Dataset`.

    names: "sample", "sample+", "sample-pretrain" (simulated), "sensorium", "sensorium+",
        "pretrain", "all" (published), a recording id, a path to a zip or folder in the official
        layout, or a list of these.
    size: height and width of the images in pixels, scaled from 144 x 256 by bilinear interpolation.
    folder: the data folder; else KIT_DATA_DIR, else the user's cache.
    The first opening packs the recording into the data folder; it never writes into the recording.
    Raises ValueError if a name is unknown or a recording is damaged.

    >>> data = kit.load("sample+")
    >>> data
    mouse 99002-1-1: 600 neurons, 1600 train, 200 validation, ..., images 36x64, with behaviour
    >>> data.mouse.responses.shape[1]
    600
    """
    try:
        height, width = [require_int("size", pixels, 1, 1024) for pixels in size]
    except (TypeError, ValueError):
        raise ValueError(f"size={size!r} is not a height and width of 1 to 1024 pixels, such as "
                         "(36, 64)") from None
    listed = names if isinstance(names, list | tuple) else [names]
    if not listed or not all(isinstance(name, str | Path) and str(name) for name in listed):
        raise ValueError(f"{str(names)[:80]!r} names no recording; try kit.load(\"sample+\")")
    limit_threads()
    origins = {}  # mouse -> path of a recording, or its id; all are looked up before any work
    for name in listed:
        for mouse, origin in _find(name).items():
            if origins.setdefault(mouse, origin) != origin:
                raise ValueError(f"mouse {mouse} is in both {origins[mouse]} and {origin}; "
                                 "name one")
    return Dataset([_open(mouse, origin, (height, width), folder)
                    for mouse, origin in origins.items()])


def _find(name):
    """Mouse -> its id, or the path of its zip or folder, for one name."""
    named = {**simulation.NAMES, **catalog.NAMES}
    ids = [*simulation.MICE, *catalog.RECORDINGS]
    if name in named:
        return {mouse: mouse for mouse in named[name]}
    if name in ids:
        return {name: name}
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path) or os.path.isdir(path):
        path = path.resolve()
        return {_mouse_id(path): path}
    raise ValueError(f"{str(name)[:200]!r} is neither a known recording nor a file or folder; "
                     f"{suggest(name, [*named, *ids])}names are {', '.join(named)}, or a "
                     "recording's id")


def _mouse_id(path):
    """The mouse's id, from the name of the file or folder, else from that of the folder inside."""
    pattern = re.compile(r"static([^/\\]+?)-GrayImageNet")
    match = pattern.match(path.name)
    if not match:
        with open_source(path) as source:
            match = pattern.match(PurePath(source.root).name)
    mouse = match[1] if match else path.name.removesuffix(".zip")
    mouse = re.sub(r"[^\w+-]", "-", mouse)[:80]  # for file names, and torch allows no dot in names
    return f"mouse-{mouse}" if hasattr(torch.nn.ModuleDict, mouse) else mouse  # nor its own


def _fetch(origin, folder):
    """The path of a recording's zip or folder, simulated or downloaded first if need be."""
    if isinstance(origin, Path):
        return origin
    if origin in simulation.MICE:
        return simulation.fetch(origin, folder)
    return catalog.fetch(origin, folder)


def _open(mouse, origin, size, folder):
    """The packed recording, packed first if the source or the size is new."""
    path, root = _fetch(origin, folder), data_folder(folder)
    key = hashlib.sha1(repr((PACKED, _fingerprint(path, root))).encode()).hexdigest()[:16]
    packed = root / "packed" / f"{mouse}-{size[0]}x{size[1]}-{key}"
    if not packed.is_dir():
        try:
            with open_source(path) as source, atomic_write(packed, folder=True) as part:
                part.mkdir()
                pack(mouse, source, part, size)
        except ValueError:
            if mouse not in simulation.MICE:
                raise
            raise ValueError(f"the simulated mouse {path} is damaged; delete that file, and it is "
                             "simulated again") from None
    return open_packed(mouse, packed.absolute(), size)


def _fingerprint(path, root):
    """The location, sizes and times of change of a recording's files.

    Inside the data folder the location is relative, so that the folder may be moved or mounted.
    """
    location, root = path.resolve(), root.resolve()
    files = [path]
    if path.is_dir():
        files = [file for folder in find_roots(path) for file in array_files(folder)]
    try:
        stats = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    except OSError as problem:
        raise ValueError(f"{problem.filename} cannot be read ({problem.strerror.lower()}); if it "
                         "is a link of git-annex, get its content first") from None
    return (str(location.relative_to(root) if location.is_relative_to(root) else location),
            [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
