"""A board that needs no server: a folder with a file for each scored entry, and one page of them.

The files hold scores, intervals and hashes, and nothing of the ground truth, so they may lie in a
public repository. The page is made from them alone: equal files give an equal page, to the byte.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kit.checks import check_settings, one_line, require_date, require_path
from kit.files import atomic_write
from kit.pages.ranking import facts, render_rows, scored, write_json

PAGE = "index.html"
MAX_BYTES = 20_000  # of an entry's file, which takes a few hundred
SAME = ("track", "tier", "metric", "images", "neurons", "truth_sha256")  # in all files of a board
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BoardEntry:
    """What the file of an entry says."""

    entry: str  # its name: untrusted text
    baseline: bool  # out of competition
    score: float  # by which the track is ranked
    low: float  # 95 % of the score, over other images
    high: float
    single_trial: float
    to_average: float | None
    feve: float | None
    sha256: str  # of its CSV file
    truth_sha256: str
    title: str
    date: str  # when it was scored
    kit: str  # version
    track: str
    tier: str
    metric: str
    images: int
    neurons: int
    seed: int
    resamples: int

    tied_with_best = False  # a board compares no pairs

    def __post_init__(self):
        correlations = dict.fromkeys(("score", "low", "high", "single_trial"), (-100, 100))
        check_settings(self, tier=("test", "final_test"), feve=(-1e300, 1e300), **correlations)
        if not (SHA256.fullmatch(self.sha256) and SHA256.fullmatch(self.truth_sha256)):
            raise ValueError("sha256 or truth_sha256 is not 64 hexadecimal digits")
        object.__setattr__(self, "date", require_date("date", self.date))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score."""
        return self.low, self.high

    @property
    def file_name(self) -> str:
        """The name of its file: plain, and another one for each entry."""
        words = re.sub(r"[^a-z0-9]+", "-", self.entry.lower())[:40].strip("-")
        digest = hashlib.sha256(self.entry.encode(errors="surrogatepass")).hexdigest()
        return f"{words or 'entry'}-{digest[:8]}.json"


def add_to_board(ranking: Any, folder: str | Path) -> Path:
    """Write a file for each entry of a `kit.challenge.Ranking`, and the page. Returns the page.

    An entry of the same name is replaced, the others stay. Raises ValueError if the board is of
    another ground truth, FileExistsError if the folder has a page that is none.
    """
    folder = require_path("folder", folder)
    added = [BoardEntry(**scored(row), **facts(ranking)) for row in ranking]
    old = _read(folder) if folder.is_dir() else []
    if not old and (folder / PAGE).exists():
        raise FileExistsError(f"{folder / PAGE} is not a board's page; give a folder without one")
    _require_same([*old, *added])
    for entry in added:
        with atomic_write(folder / entry.file_name) as part:
            write_json(part, asdict(entry))
    return write_board(folder)


def write_board(folder: str | Path) -> Path:
    """Make the page of a board again from its entries' files. Returns its path, index.html.

    Raises ValueError if there is no file, or one that is not an entry's, or of another truth.
    """
    folder = require_path("folder", folder)
    return _render(folder, folder / PAGE)


def check_board(folder: str | Path) -> None:
    """Raise ValueError if the page of a board is not the one that its entries' files give.

    Ends of lines do not count, as Git may change them on Windows.
    """
    folder = require_path("folder", folder)
    with TemporaryDirectory() as temporary:
        expected = _render(folder, Path(temporary) / PAGE).read_text(encoding="utf-8")
    page = folder / PAGE
    if not page.is_file() or page.read_text(encoding="utf-8", errors="replace") != expected:
        raise ValueError(f"{page} is not what its entries give; run python -m kit board {folder}")


def _render(folder, path):
    entries = _read(folder)
    if not entries:
        raise ValueError(f"{folder} holds no entry's file; python -m kit rank --board writes them")
    _require_same(entries)
    entries.sort(key=lambda entry: (-round(entry.score, 4), entry.entry))
    competing = [round(entry.score, 4) for entry in entries if not entry.baseline]
    ranks = [
        None if entry.baseline else 1 + sum(score > round(entry.score, 4) for score in competing)
        for entry in entries
    ]
    newest = max(entries, key=lambda entry: (entry.date, entry.entry))
    values = {"board": newest, "ranks": ranks}
    return render_rows(path, "board.html", entries, None, values)


def _read(folder: Path) -> list[BoardEntry]:
    """All entries of a board. Raises ValueError for a file that is not an entry's."""
    entries = []
    for path in sorted(folder.glob("*.json")):
        try:
            if not path.is_file():  # a pipe, or a link to a device, may never end
                raise ValueError("it is not a file")
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
            entry = BoardEntry(**json.loads(path.read_bytes()))
            if path.name != entry.file_name:
                raise ValueError(f"the file of this entry is called {entry.file_name}")
        except (TypeError, ValueError, RecursionError) as problem:
            reason = one_line(problem, 300)
            raise ValueError(f"{path} is not the file of an entry: {reason}; remove it") from None
        entries.append(entry)
    return entries


def _require_same(entries: Iterable[BoardEntry]) -> None:
    """Raise ValueError unless all entries were scored for the same ground truth."""
    first, *others = entries
    for entry in others:
        for name in SAME:
            if getattr(entry, name) != getattr(first, name):
                raise ValueError(
                    f"{one_line(entry.entry)} and {one_line(first.entry)} differ in {name}; a "
                    "board has one ground truth, so give another folder"
                )
