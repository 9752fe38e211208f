"""A ranking as one self-contained HTML page, for a web site or a printer.

Names of entries, reasons and flags are untrusted text, which `kit.pages.html` escapes.
"""

import math
import time
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kit.checks import one_line
from kit.pages.html import write_html

NAME_WIDTH = 38  # letters of a name in the figure: as many fit on a phone
LABEL_WIDTH = 16  # and in the map of pairs
MARGIN = 6.0  # % of the figure on the left and right, for the labels of its axis


class Cell(NamedTuple):
    """The text of a cell of the table, and the number by which it is sorted."""

    text: str
    value: float | str  # "" is sorted last


class Mark(NamedTuple):
    """An entry's place in the figure, in % of its width from the left."""

    low: float
    middle: float
    high: float
    score: float


class Pair(NamedTuple):
    """A cell of the map: how the entry of its row compares with the entry of its column."""

    verdict: str  # "better", "worse", "open" (cannot be told apart), or "same" on the diagonal
    p: str


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
    values = {
        "reload": reload and math.ceil(reload),
        "now": time.strftime("%H:%M:%S"),
        "ranking": ranking,
        "track": track,
        "test_set": test_set,
        "cells": [_cells(row, row is ranking[0]) for row in ranking],
        "alphabetical": _alphabetical([row.entry for row in ranking]),
        "pairs": _pairs(ranking),
    }
    filters = {
        "plain": one_line,
        "digits": _digits,
        "span": _span,
        "ranks": _ranks,
        "name": lambda text: _shorten(text, NAME_WIDTH),
        "label": lambda text: _shorten(text, LABEL_WIDTH),
    }
    return write_html(
        path, Path(__file__).with_name("ranking.html"), values | _figure(ranking), filters
    )


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


# ---- the table ----


def _cells(row, best):
    """The cells of an entry that hold numbers, in the order of the template's columns."""
    behind = row.behind_best
    cells = [Cell(_digits(row.score), row.score), Cell(_span(row.interval), row.interval[0])]
    if best:
        cells += [Cell("best", 0.0), Cell("–", "")]
    else:
        text = f"{_digits(behind.difference)} ({_span(behind.interval)})"
        cells += [Cell(text, behind.difference), Cell(_p(row.p), row.p)]
    for score in (row.single_trial, row.to_average, row.feve):
        missing = score is None or not math.isfinite(score)
        cells.append(Cell(_digits(score), "" if missing else score))
    return cells


def _alphabetical(names):
    """The place of each name (in the order given) when names are sorted."""
    order = sorted(range(len(names)), key=lambda i: (one_line(names[i]).casefold(), i))
    return np.argsort(order).tolist()


# ---- the map of pairs ----


def _pairs(ranking):
    """K rows of K `Pair`s, in order of the ranking."""
    scores = [row.score for row in ranking]
    return [
        [
            _pair(score, other, p, i == j)
            for j, (other, p) in enumerate(zip(scores, row, strict=True))
        ]
        for i, (score, row) in enumerate(zip(scores, ranking.p_pairs, strict=True))
    ]


def _pair(score, other, p, same):
    if same:
        return Pair("same", "")
    if p >= 0.05:
        return Pair("open", _p(p))
    return Pair("better" if score > other else "worse", _p(p))


# ---- the figure of intervals ----


def _figure(ranking):
    """Places in the figure, in % of its width, so that it fits a screen of any width."""
    from matplotlib.ticker import MaxNLocator  # takes a moment

    values = [value for row in ranking for value in (*row.interval, row.score)]
    if ranking.image_alone is not None:
        values.append(ranking.image_alone)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(min(values), max(values))
    first, last = float(ticks[0]), float(ticks[-1])
    digits = max(0, -math.floor(math.log10((last - first) / (len(ticks) - 1))))

    def place(value):
        return round(MARGIN + (100 - 2 * MARGIN) * (value - first) / (last - first), 2)

    marks = [
        Mark(
            place(row.interval[0]),
            place(sum(row.interval) / 2),
            place(row.interval[1]),
            place(row.score),
        )
        for row in ranking
    ]
    return {
        "marks": marks,
        "ticks": [(place(tick), f"{tick:.{digits}f}".replace("-", "−")) for tick in ticks],
        "alone": None if ranking.image_alone is None else place(ranking.image_alone),
    }
