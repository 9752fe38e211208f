"""A ranking as one self-contained HTML page, for a web site or a printer.

Names of entries, reasons and flags are untrusted text, which `kit.pages.html` escapes.
"""

import math
import time
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks import one_line
from kit.pages.html import write_html

MARGIN = 6.0  # % of the figure on the left and right, for the labels of its axis


def write_page(
    path: str | Path, ranking: Any, track: str, test_set: str, reload: float | None = None
) -> Path:
    """Write a ranking as one self-contained HTML page. Returns its path.

    ranking: a `kit.challenge.Ranking`, which stands above this file; track, test_set: its names.
    The page loads nothing, and opens from a disk. Without JavaScript its table cannot be sorted;
    all else works. reload: seconds after which a browser opens it again, for a page that follows
    a contest; it then tells the time. Raises OSError, with what to do, if the path cannot be
    written.
    """
    ticks = _ticks(ranking)
    names = [one_line(row.entry).casefold() for row in ranking]
    values = {
        "reload": reload and math.ceil(reload),
        "now": time.strftime("%H:%M:%S"),
        "ranking": ranking,
        "track": track,
        "test_set": test_set,
        "alphabetical": np.argsort(np.argsort(names, kind="stable")).tolist(),
        "ticks": _labelled(ticks),
    }
    filters = {
        "plain": one_line,
        "digits": _digits,
        "span": _span,
        "ranks": _ranks,
        "p": _p,
        "shorten": _shorten,
        "position": partial(_position, ticks),
    }
    return write_html(path, Path(__file__).with_name("ranking.html"), values, filters)


# ---- text ----


def _shorten(name, width):
    """A plain name that is at most so many letters wide; wide letters (as Chinese) count twice."""
    name = one_line(name)
    wide = [unicodedata.east_asian_width(letter) in "WF" for letter in name]
    ends = np.cumsum(1 + np.array(wide, int))
    return name if not name or ends[-1] <= width else name[: int(np.sum(ends < width))] + "…"


def _digits(number):
    """A score with four digits, or a dash if there is none."""
    if number is None or not math.isfinite(number):
        return "–"
    return f"{number:.4f}".replace("-", "−")


def _span(interval):
    return f"{_digits(interval[0])} to {_digits(interval[1])}"


def _ranks(interval):
    return "–".join(map(str, dict.fromkeys(interval)))


def _p(p):
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


# ---- the axis of the figure ----


def _ticks(ranking):
    """The scores at which the axis is labelled. The first and the last are its ends."""
    from matplotlib.ticker import MaxNLocator  # takes a moment

    scores = [score for row in ranking for score in (*row.interval, row.score)]
    if ranking.image_alone is not None:
        scores.append(ranking.image_alone)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(min(scores), max(scores))
    return list(map(float, ticks))


def _labelled(ticks):
    """(tick, label) with as many digits as tell the ticks apart."""
    digits = max(0, -math.floor(math.log10((ticks[-1] - ticks[0]) / (len(ticks) - 1))))
    return [(tick, f"{tick:.{digits}f}".replace("-", "−")) for tick in ticks]


def _position(ticks, score):
    """The place of a score in % of the figure's width, so that it fits a screen of any width."""
    width = 100 - 2 * MARGIN
    return round(MARGIN + width * (score - ticks[0]) / (ticks[-1] - ticks[0]), 2)
