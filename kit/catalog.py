"""What exists and where: the seven recordings, their hashes, the data folder, the download."""

import errno
import glob
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch
from tqdm.auto import tqdm

IMAGES = "GrayImageNet-94c6ff995dac583098847cfecd43e7b6"  # the stimulus set
HOST = "https://gin.g-node.org/cajal/Sensorium2022/raw/master/"


@dataclass(frozen=True)
class Entry:
    """One published recording: what it is for, how large it is, how to know it."""

    mouse: str
    role: str      # "Sensorium", "Sensorium+" or "open"
    neurons: int
    megabytes: int  # of the zip
    sha256: str    # of the zip

    @property
    def file(self):
        return f"static{self.mouse}-{IMAGES}.zip"


RECORDINGS = {entry.mouse: entry for entry in (
    Entry("26872-17-20", "Sensorium", 7776, 416,
          "c004994ba0110dcff21273af3e7b759ca30881dabbdc74201e777e89a8ce68d0"),
    Entry("27204-5-13", "Sensorium+", 7538, 412,
          "bfafe3589131485ae1a20be643956618e3520c7fbaf25df39e9d7b1ccca9da5d"),
    Entry("21067-10-18", "open", 8372, 423,
          "2a3a0a7516855f3b305fc000e8987b609d6917c89804c911b76300fc66cfc802"),
    Entry("22846-10-16", "open", 7344, 397,
          "c5baf086e58ef303ebe62cb49da35b73c496f974cc990e973c3f104309cef6da"),
    Entry("23343-5-17", "open", 7334, 393,
          "8145d4b3f5d7a8aae9df4f04d4d6061215ab9060a47611fb4cdbf8c5ecfb626d"),
    Entry("23656-14-22", "open", 8107, 411,
          "fb02840192b226c0b7951df6387ff3ebf8236874725fb57ab29212376479c937"),
    Entry("23964-4-22", "open", 8098, 411,
          "677739254fd338d1a249a2cf2f4f965048c5a8919a254d57d5317d2f998f7481"),
)}
NAMES = {
    "sensorium": [m for m, e in RECORDINGS.items() if e.role == "Sensorium"],
    "sensorium+": [m for m, e in RECORDINGS.items() if e.role == "Sensorium+"],
    "pretrain": [m for m, e in RECORDINGS.items() if e.role == "open"],
    "all": list(RECORDINGS),
}


def data_folder(folder=None):
    """Where data is kept: the argument, else KIT_DATA_DIR, else the user's cache."""
    chosen = folder or os.environ.get("KIT_DATA_DIR") or pooch.os_cache("sensorium-kit")
    path = Path(chosen).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OSError(f"the data folder {path} cannot be made ({problem.strerror}); name one that "
                      "can be written, in KIT_DATA_DIR or as an argument") from None
    return path


def fetch(mouse, folder=None):
    """Path of a published recording's zip, downloaded once and checked against its SHA-256.

    mouse: an id in `RECORDINGS`. Raises ConnectionError, with what to do, if it cannot be had.
    """
    entry, folder = RECORDINGS[mouse], data_folder(folder) / "recordings"
    path = folder / entry.file
    if path.exists():  # it got this name only after its hash was checked, or was put there by hand
        return path
    by_hand = (f"download {HOST}{entry.file} ({entry.megabytes} MB) by other means and put it at "
               f'{path}; kit.load("sample+") works without it')
    if os.environ.get("KIT_OFFLINE", "0") not in ("", "0"):
        raise ConnectionError(f"recording {mouse} is not on this machine and KIT_OFFLINE forbids "
                              f"the network; unset it, or {by_hand}")
    try:
        pooch.retrieve(HOST + entry.file, f"sha256:{entry.sha256}", entry.file, folder,
                       downloader=pooch.HTTPDownloader(progressbar=not quiet()))
    except (OSError, ValueError) as problem:  # a ValueError: the wrong hash
        raise ConnectionError(f"recording {mouse} could not be downloaded ({problem}); "
                              f"{by_hand}") from problem
    return path


@contextmanager
def whole(path, folder=False):
    """A temporary path beside `path` that takes its name only if the block ends well.

    For a file, or a folder: what is written appears whole or not at all. Raises OSError, with what
    to do, where the place cannot be written or is full.
    """
    path = Path(path)
    try:
        if path.is_dir() and not folder:
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as workshop:
            part = Path(workshop) / path.name
            yield part
            if not (folder and path.is_dir()):  # else another process was first, with the same
                os.replace(part, path)
    except OSError as problem:
        if problem.errno is None:  # has its sentence already
            raise
        raise type(problem)(f"{path} cannot be written: {problem.strerror.lower()}; make room "
                            "there, or name another place") from problem


def _sweep(path):
    """Remove what processes that were killed more than a day ago left beside `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}-*"):
        if time.time() - left.stat().st_mtime > 86_400:
            shutil.rmtree(left, ignore_errors=True)


def quiet():
    """Whether progress bars should stay away: in CI, whose logs they would fill."""
    return bool(os.environ.get("CI"))


def progress(iterable=None, **options):
    """A tqdm progress bar, in a terminal or a notebook; silent in CI."""
    return tqdm(iterable, disable=quiet(), leave=False, **options)
