"""The published recordings and models, and how to fetch them."""

from dataclasses import dataclass
from pathlib import Path

from kit.data.sources.download import download
from kit.files import data_folder

IMAGES = "GrayImageNet-94c6ff995dac583098847cfecd43e7b6"  # the stimulus set
HOST = "https://gin.g-node.org/cajal/Sensorium2022/raw/master/"
WEIGHTS_HOST = (
    "https://raw.githubusercontent.com/sinzlab/sensorium/main/notebooks/model_tutorial/"
    "model_checkpoints/pretrained/"
)


@dataclass(frozen=True)
class PublishedRecording:
    """One published recording: its role in the competition and its file."""

    mouse: str
    role: str  # "Sensorium", "Sensorium+" or "open"
    megabytes: int  # of the zip
    sha256: str  # of the zip

    @property
    def file(self) -> str:
        """The name of the zip."""
        return f"static{self.mouse}-{IMAGES}.zip"


# mouse, role, megabytes and SHA-256
TABLE = """
26872-17-20  Sensorium   416 c004994ba0110dcff21273af3e7b759ca30881dabbdc74201e777e89a8ce68d0
27204-5-13   Sensorium+  412 bfafe3589131485ae1a20be643956618e3520c7fbaf25df39e9d7b1ccca9da5d
21067-10-18  open        423 2a3a0a7516855f3b305fc000e8987b609d6917c89804c911b76300fc66cfc802
22846-10-16  open        397 c5baf086e58ef303ebe62cb49da35b73c496f974cc990e973c3f104309cef6da
23343-5-17   open        393 8145d4b3f5d7a8aae9df4f04d4d6061215ab9060a47611fb4cdbf8c5ecfb626d
23656-14-22  open        411 fb02840192b226c0b7951df6387ff3ebf8236874725fb57ab29212376479c937
23964-4-22   open        411 677739254fd338d1a249a2cf2f4f965048c5a8919a254d57d5317d2f998f7481
"""
RECORDINGS = {
    mouse: PublishedRecording(mouse, role, int(megabytes), sha256)
    for mouse, role, megabytes, sha256 in map(str.split, TABLE.strip().splitlines())
}
NAMES = {
    "sensorium": ["26872-17-20"],
    "sensorium+": ["27204-5-13"],
    "pretrain": [mouse for mouse, entry in RECORDINGS.items() if entry.role == "open"],
    "all": list(RECORDINGS),
}


@dataclass(frozen=True)
class PublishedModel:
    """One published baseline of 2022 (MIT licence): its architecture, its file and its scores.

    live, final: single-trial correlation, correlation to average and FEVE on the two test sets
    (Willeke et al. 2022); None if no number is published.
    """

    kind: str  # "CNN" or "LN"
    mouse: str  # it was trained on
    file: str
    bytes: int
    sha256: str
    live: tuple[float | None, ...] = (None, None, None)
    final: tuple[float | None, ...] = (None, None, None)

    @property
    def track(self) -> str:
        """The track of its mouse: "Sensorium" or "Sensorium+"."""
        return RECORDINGS[self.mouse].role


WEIGHTS = {
    "sensorium-cnn": PublishedModel(
        "CNN",
        "26872-17-20",
        "sensorium_sota_model.pth",
        2383728,
        "7a87989732c34068fe10aaf1dd2c0421cb47cb1693b4f95a5e0e381632456173",
        (0.274, 0.513, 0.433),
        (0.287, 0.528, 0.439),
    ),
    "sensorium-ln": PublishedModel(
        "LN",
        "26872-17-20",
        "sensorium_ln_model.pth",
        2334280,
        "4a243d8b76b9a523563c58530414bc6da5778be0448c7ec37b9d1a010989114a",
        final=(0.207, 0.377, None),
    ),
    "sensorium+-cnn": PublishedModel(
        "CNN",
        "27204-5-13",
        "sensorium_p_sota_model.pth",
        2380702,
        "2c82812e8193ce72896d37e0ca6a5bf688ec3e284ba1e27dad8040ee21da274a",
        (0.374, 0.571, None),
        (0.384, 0.578, None),
    ),
    "sensorium+-ln": PublishedModel(
        "LN",
        "27204-5-13",
        "sensorium_p_ln_model.pth",
        2331190,
        "786723be498d87f676459f7fd9e975df61d7c86295dda8ea3afae8a29dc1d161",
    ),
}


def fetch(mouse: str, folder: str | Path | None = None) -> Path:
    """Path of a published recording's zip, downloaded once and checked against its SHA-256.

    mouse: an id in `RECORDINGS`. folder: the data folder; else KIT_DATA_DIR, else the user's cache.
    Raises ConnectionError, with what to do, if it cannot be downloaded.
    """
    entry = RECORDINGS[mouse]
    path = data_folder(folder) / "recordings" / entry.file
    download(f"recording {mouse}", HOST + entry.file, path, entry.sha256, entry.megabytes)
    return path


def fetch_weights(name: str, folder: str | Path | None = None) -> Path:
    """Path of a published model's file, downloaded once and checked against its SHA-256.

    name: a key of `WEIGHTS`. folder: the data folder; else KIT_DATA_DIR, else the user's cache.
    Raises ConnectionError, with what to do, if it cannot be downloaded.
    """
    entry = WEIGHTS[name]
    path = data_folder(folder) / "weights" / entry.file
    megabytes = round(entry.bytes / 1e6, 1)
    download(f"model {name}", WEIGHTS_HOST + entry.file, path, entry.sha256, megabytes)
    return path
