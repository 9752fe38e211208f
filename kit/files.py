"""Atomic writes, progress bars and the data folder."""

import errno
import hashlib
import multiprocessing
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import platformdirs
from tqdm.auto import tqdm

from kit.checks import expand_user, one_line, require_path, system_words


@contextmanager
def atomic_write(
    path: str | Path, folder: bool = False, exclusive: bool = False
) -> Generator[Path]:
    """A temporary path beside `path` that is renamed to `path` if the block ends without an error.

    The block writes a file, or a folder if `folder` is true. If several processes write one path,
    the last file or the first folder stays; if `exclusive` is true, the others' folders are an
    error. Raises OSError, with what to do, if the place cannot be written, is full, or holds
    something of another kind.
    """
    path = part = expand_user(path)
    try:
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            kind = "a folder" if folder else "an ordinary file"
            raise FileExistsError(errno.EEXIST, f"it is not {kind}")
        with temporary_folder(path) as temporary:
            part = temporary / path.name
            yield part
            try:
                os.replace(part, path)
            except OSError:
                if not (folder and path.is_dir()):
                    raise
                if exclusive:  # another process was first
                    raise FileExistsError(
                        f"{path} exists already, and is never replaced; name another place"
                    ) from None
    except (OSError, ValueError) as problem:
        text = str(problem).replace(str(part), str(path))  # the user never saw `part`
        if isinstance(problem, OSError) and problem.errno is not None:
            text = (
                f"{path} cannot be written: {system_words(problem)}; make room there, or "
                "name another place (for data, in KIT_DATA_DIR)"
            )
        elif len(problem.args) != 1:
            raise
        raise type(problem)(text) from problem


@contextmanager
def temporary_folder(path: Path) -> Generator[Path]:
    """A folder beside `path`, for its owner alone, that is removed at the end of the block.

    Those of processes that were killed are removed too. Raises OSError if there can be none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    prefix = f".{path.name}.part-{_machine()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as temporary:
        yield Path(temporary)


def _remove_leftovers(path):
    """Remove temporary folders beside `path` of processes that were killed.

    Only processes of this machine can be seen to have ended; the folders of others, on a shared
    drive, go after a day, when their path is written again.
    """
    for leftover in path.parent.glob(".*.part-*"):
        with suppress(FileNotFoundError):  # another process may have removed it
            name, _, owner = leftover.name.rpartition(".part-")
            old = time.time() - leftover.stat().st_mtime > 86_400
            if _has_ended(owner) or (old and name == f".{path.name}"):
                shutil.rmtree(leftover, ignore_errors=True)


def _has_ended(owner):
    """Whether the process of "machine-process-…" ran on this machine and has ended."""
    machine, process, *_ = f"{owner}--".split("-")
    if machine == _machine() and process.isdigit() and os.name != "nt":  # there 0 is a signal
        try:
            os.kill(int(process), 0)
        except (OSError, OverflowError) as problem:
            return isinstance(problem, ProcessLookupError)  # else it is another user's
    return False


@cache
def _machine():
    """Eight digits that stand for this machine and, in a container, for its own process numbers."""
    names = [platform.node()]
    with suppress(OSError):
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        names.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]


def started_by_torchrun() -> bool:
    """Whether this is one of the processes that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Whether this process speaks for all: it is the only one, or the first that torchrun started.

    Other launchers and schedulers set RANK too, for processes that each work alone.
    """
    return not started_by_torchrun() or os.environ.get("RANK", "0") == "0"


def is_quiet() -> bool:
    """Whether to show no progress bars: in CI, in threads, and in processes that another started.

    A bar of a thread would appear below whichever cell of a notebook runs.
    """
    in_thread = threading.current_thread() is not threading.main_thread()
    in_child = multiprocessing.parent_process() is not None
    return bool(os.environ.get("CI")) or in_thread or in_child or not is_first_process()


def progress(iterable: Iterable | None = None, **options) -> tqdm:
    """A tqdm progress bar, for a terminal or a notebook. It shows nothing in CI."""
    return tqdm(iterable, disable=is_quiet(), leave=False, **options)


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder for data: the argument, else KIT_DATA_DIR, else the user's cache. Creates it.

    Raises ValueError if it is not a path, OSError if it cannot be created or opened.

    >>> kit.data_folder("data").name
    'data'
    """
    chosen = folder or os.environ.get("KIT_DATA_DIR", "").strip(" \t\r\n'\"")
    if not chosen:
        chosen = "~/sensorium-kit"  # refused below for a user without a home folder
        with suppress(RuntimeError):
            chosen = platformdirs.user_cache_dir("sensorium-kit")
    path = require_path("folder", chosen)
    return make_folder(path, "name another one in KIT_DATA_DIR or as an argument")


def make_folder(path: Path, remedy: str) -> Path:
    """`path`, a folder that exists and can be opened. Raises OSError, with a remedy, otherwise."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.stat(os.path.join(path, "."))  # fails in a folder that only another user may open
    except OSError as problem:
        raise OSError(
            f"the folder {one_line(path)!r} cannot be used: {system_words(problem)}; {remedy}"
        ) from None
    return path


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
