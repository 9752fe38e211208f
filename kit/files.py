"""Atomic writes, progress bars and the data folder."""

import errno
import glob
import hashlib
import multiprocessing
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from tqdm.auto import tqdm


@contextmanager
def atomic_write(path, folder=False):
    """A temporary path beside `path` that takes its name only if the block ends well.

    For a file, or a folder: what is written appears whole or not at all. Of several processes that
    write one path, a file's last one and a folder's first one wins. Raises OSError, with what to
    do, where the place cannot be written, is full or is neither free nor an ordinary file.
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            what = "a folder" if path.is_dir() else "not an ordinary file or folder"
            raise FileExistsError(errno.EEXIST, f"it is {what}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as workshop:
            part = Path(workshop) / path.name
            yield part
            try:
                os.replace(part, path)
            except OSError:
                if not (folder and path.is_dir()):  # else another process was first
                    raise
    except OSError as problem:
        if problem.errno is None:  # has its sentence already
            raise
        raise type(problem)(f"{path} cannot be written: {problem.strerror.lower()}; make room "
                            "there, or name another place (for data, in KIT_DATA_DIR)") from problem


def _sweep(path):
    """Remove what processes that were killed more than a day ago left beside `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}-*"):
        with suppress(FileNotFoundError):  # another process may have removed it
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


def quiet():
    """Whether progress bars should stay away: in CI, and in processes that others started."""
    return (bool(os.environ.get("CI")) or os.environ.get("RANK", "0") != "0"
            or multiprocessing.parent_process() is not None)


def progress(iterable=None, **options):
    """A tqdm progress bar, in a terminal or a notebook; silent in CI."""
    return tqdm(iterable, disable=quiet(), leave=False, **options)


def data_folder(folder=None):
    """Where data is kept: the argument, else KIT_DATA_DIR, else the user's cache."""
    chosen = folder or os.environ.get("KIT_DATA_DIR") or platformdirs.user_cache_dir("sensorium-kit")
    if not isinstance(chosen, str | Path):
        raise ValueError(f"{chosen!r} is no folder; give its path as text, or leave it out")
    path = Path(os.path.expanduser(chosen))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise OSError(f"the data folder {str(path)[:200]!r} cannot be made ({reason}); name one "
                      "that can be written, in KIT_DATA_DIR or as an argument") from None
    return path


def file_sha256(path):
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
