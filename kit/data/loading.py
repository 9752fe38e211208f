"""From a name to an open recording."""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from kit.data import catalog, simulation
from kit.data.official import Source, array_files, find_roots, zip_names
from kit.data.packing import pack
from kit.data.recordings import Dataset, open_packed
from kit.doctor import limit_threads
from kit.files import atomic_write, data_folder
from kit.report import suggest

PACKED = 2  # version of the packed arrays: part of the cache key


def load(names, size=(36, 64), folder=None):
    """Open recordings by name, id or path. Returns a `Dataset`.

    names: "sample", "sample+", "sample-pretrain" (simulated), "sensorium", "sensorium+",
        "pretrain", "all" (published), a recording id, a path to a zip or folder in the official
        layout, or a list of these.
    size: height and width of the images in pixels, scaled from 144 x 256 by bilinear interpolation.
    folder: the data folder; else KIT_DATA_DIR, else the user's cache.
    The first opening packs the recording into the data folder; it never writes into the recording.
    """
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(
            isinstance(n, int | np.integer) and n is not True and 0 < n <= 1024 for n in size):
        raise ValueError(f"size={size!r} is not a height and width in pixels, such as (36, 64)")
    listed = list(names) if isinstance(names, list | tuple) else [names]
    if not listed or not all(isinstance(name, str | Path) and str(name) for name in listed):
        raise ValueError(f"{str(names)[:80]!r} names no recording; try kit.load(\"sample+\")")
    limit_threads()
    found = {}  # mouse -> how to get its path; all names are looked up before any work
    for name in listed:
        for mouse, get in _find(name).items():
            if found.setdefault(mouse, get) != get:
                raise ValueError(f"mouse {mouse} is in both {found[mouse].argument} and "
                                 f"{get.argument}; name one")
    return Dataset([_open(mouse, get(folder), (int(size[0]), int(size[1])), folder)
                    for mouse, get in found.items()])


def _find(name):
    """Mouse -> function from the data folder to the path of its zip or folder, for one name."""
    known = {**catalog.NAMES, **{mouse: [mouse] for mouse in catalog.RECORDINGS}}
    simulated = {**simulation.NAMES, **{mouse: [mouse] for mouse in simulation.MICE}}
    for names, get in ((simulated, simulation.path), (known, catalog.fetch)):
        if name in names:
            return {mouse: _Getter(get, mouse) for mouse in names[name]}
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path) or os.path.isdir(path):
        path = path.resolve()
        return {_mouse(path): _Getter(_given, path)}
    raise ValueError(f"{str(name)[:200]!r} is neither a known recording nor a file or folder; "
                     f"{suggest(name, [*simulated, *known])}names are "
                     f"{', '.join([*simulation.NAMES, *catalog.NAMES])}, or a recording's id")


class _Getter(NamedTuple):
    """A function and its first argument: two of the same recording are equal."""

    function: Callable
    argument: object

    def __call__(self, folder):
        return self.function(self.argument, folder)


def _given(path, _folder):
    return path


def _mouse(path):
    """The mouse's id: from the path's name, else from the folder inside, else the name itself."""
    def inside():
        if path.is_dir():
            yield from (child.name for child in path.iterdir())
        elif zipfile.is_zipfile(path):
            yield from zip_names(path)

    matches = (re.match(r"static([^/\\]+?)-GrayImageNet", name)
               for name in chain([path.name], inside()))
    mouse = next((match[1] for match in matches if match), path.name.removesuffix(".zip"))
    # part of a file's name; and torch allows no dot in a readout's name, nor its own words
    mouse = re.sub(r"[^\w+-]", "-", mouse)[:80]
    return f"mouse-{mouse}" if hasattr(torch.nn.ModuleDict, mouse) else mouse


def _open(mouse, path, size, folder):
    """The packed recording, packed first if the source or the size is new."""
    root = data_folder(folder)
    key = hashlib.sha1(repr((PACKED, _fingerprint(path, root))).encode()).hexdigest()[:16]
    packed = root / "packed" / f"{mouse}-{size[0]}x{size[1]}-{key}"
    if not packed.is_dir():
        try:
            with Source(path) as source, atomic_write(packed, folder=True) as part:
                part.mkdir()
                pack(mouse, source, part, size)
        except ValueError:
            if mouse not in simulation.MICE:
                raise
            raise ValueError(f"the simulated mouse {path} is damaged; delete that file and it is "
                             "simulated anew") from None
    return open_packed(mouse, packed.absolute(), size)


def _fingerprint(path, root):
    """What changes when a recording's files change: place, sizes and times of change.

    Inside the data folder the place is relative, so that the folder may be moved or mounted.
    """
    place, root = path.resolve(), root.resolve()
    files = [path] if path.is_file() else [file for top in find_roots(path) for file in array_files(top)]
    try:
        stats = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    except OSError as problem:
        raise ValueError(f"{problem.filename} cannot be read ({problem.strerror.lower()}); if it "
                         "is a link of git-annex, get its content first") from None
    return (str(place.relative_to(root) if place.is_relative_to(root) else place),
            [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
