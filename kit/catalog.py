"""What exists and where: the seven recordings, their hashes, the data folder."""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from kit.files import download

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


def fetch(mouse, folder=None):
    """Path of a published recording's zip, downloaded once and checked against its SHA-256.

    mouse: an id in `RECORDINGS`. Raises ConnectionError, with what to do, if it cannot be had.
    """
    entry = RECORDINGS[mouse]
    path = data_folder(folder) / "recordings" / entry.file
    if not os.path.exists(path):  # it gets this name when its hash is right, or by hand
        download(f"recording {mouse}", HOST + entry.file, path, entry.sha256, entry.megabytes)
    return path
