"""Atomic writes, progress bars and the data folder."""

import errno
import glob
import hashlib
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from tqdm.auto import tqdm


@contextmanager
def atomic_write(path: str | Path, folder: bool = False,
                 exclusive: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that is renamed to `path` if the block ends without an error.

    The block writes a file, or a folder if `folder` is true. If several processes write one path,
    the last file or the first folder stays; if `exclusive` is true, the others' folders are an
    error. Raises OSError, with what to do, if the place cannot be written, is full, or holds
    something of another kind.
    """
    path = Path(path)
    try:
        fits = path.is_dir() if folder else path.is_file()
        if path.exists() and not fits:
            wanted = "a folder" if folder else "an ordinary file"
            raise FileExistsError(errno.EEXIST, f"it is not {wanted}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        prefix = f".{path.name}.part-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as temporary:
            part = Path(temporary) / path.name
            yield part
            try:
                os.replace(part, path)
            except OSError:
                if exclusive or not (folder and path.is_dir()):  # another process was first
                    raise
    except OSError as problem:
        if problem.errno is None:  # has its sentence already
            raise
        raise type(problem)(f"{path} cannot be written: {problem.strerror.lower()}; make room "
                            "there, or name another place (for data, in KIT_DATA_DIR)") from problem


def _remove_leftovers(path: Path) -> None:
    """Remove temporary folders beside `path` of processes that were killed over a day ago."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.part-*"):
        with suppress(FileNotFoundError):  # another process may have removed it
            if time.time() - leftover.stat().st_mtime > 86_400:
                shutil.rmtree(leftover, ignore_errors=True)


def is_first_process() -> bool:
    """Whether this process speaks for all: it is the only one, or the first that torchrun started.

    Other launchers and schedulers set RANK too, for processes that each work alone.
    """
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def is_quiet() -> bool:
    """Whether to show no progress bars: in CI, in threads, and in processes that another started.

    A bar of a thread would appear below whichever cell of a notebook runs.
    """
    if os.environ.get("CI") or not is_first_process():
        return True
    if threading.current_thread() is not threading.main_thread():
        return True
    return multiprocessing.parent_process() is not None


def progress(iterable: Iterable | None = None, **options) -> tqdm:
    """A tqdm progress bar, for a terminal or a notebook. It shows nothing in CI."""
    return tqdm(iterable, disable=is_quiet(), leave=False, **options)


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder for data: the argument, else KIT_DATA_DIR, else the user's cache. Creates it.

    Raises OSError if it cannot be created.

    >>> kit.data_folder("data").name
    'data'
    """
    folder = folder or os.environ.get("KIT_DATA_DIR")
    chosen = folder or platformdirs.user_cache_dir("sensorium-kit")
    if not isinstance(chosen, str | Path):
        raise ValueError(f"folder={chosen!r} is not a path; give a text or a Path, or leave it out")
    path = Path(os.path.expanduser(chosen))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise OSError(f"the data folder {str(path)[:200]!r} cannot be created ({reason}); name "
                      "another one in KIT_DATA_DIR or as an argument") from None
    return path


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
