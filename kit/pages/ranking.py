"""A ranking as one self-contained HTML page, for a web site or a printer; as CSV and as JSON.

Names of entries, reasons and flags are untrusted text, which `kit.pages.html` escapes. Numbers have
at most six digits, so that the last digits, which depend on the processor, show nowhere.
"""

import csv
import json
import math
import sys
import time
import unicodedata
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks import one_line
from kit.files import atomic_write
from kit.pages.html import write_html

FILES = ("ranking.html", "ranking.csv", "ranking.json")
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
    values = {
        "reload": reload and math.ceil(reload),
        "now": time.strftime("%H:%M:%S"),
        "ranking": ranking,
        "track": track,
        "test_set": test_set,
        "facts": facts(ranking),
    }
    return render_rows(path, "ranking.html", ranking, ranking.image_alone, values)


def render_rows(
    path: str | Path, template: str, rows: Any, image_alone: float | None, values: dict
) -> Path:
    """Write a page of rows with a name, a score and its interval. Returns its path.

    template: a file beside this one, which extends scores.html; values: what it needs besides.
    """
    rows = list(rows)
    ticks = _ticks(rows, image_alone)
    names = [one_line(row.entry).casefold() for row in rows]
    values = values | {
        "rows": rows,
        "image_alone": image_alone,
        "alphabetical": np.argsort(np.argsort(names, kind="stable")).tolist(),
        "ticks": _labelled(ticks),
    }
    filters = {
        "plain": one_line,
        "digits": _digits,
        "number": rounded,
        "span": _span,
        "ranks": _ranks,
        "p": _p,
        "shorten": _shorten,
        "position": partial(_position, ticks),
    }
    return write_html(path, Path(__file__).with_name(template), values, filters)


# ---- CSV and JSON ----


def save_results(ranking: Any, folder: Path) -> tuple[Path, ...]:
    """Write page, CSV and JSON of a `kit.challenge.Ranking` into a folder. Returns their paths."""
    paths = tuple(folder / name for name in FILES)
    with ExitStack() as stack:  # all files appear, or none
        page, table, record = (stack.enter_context(atomic_write(path)) for path in paths)
        ranking.page(page)
        _write_csv(table, ranking)
        pairs = [list(map(rounded, line)) for line in ranking.p_pairs.tolist()]
        entries = list(map(_record, ranking))
        rest = {"entries": entries, "p_pairs": pairs, "not_ranked": ranking.broken}
        write_json(record, facts(ranking) | rest)
    return paths


def facts(ranking: Any) -> dict[str, Any]:
    """What the files say of a ranking as a whole."""
    return {
        "title": ranking.title,
        "date": ranking.date,
        "kit": sys.modules["kit"].__version__,
        "track": ranking.track,
        "tier": ranking.tier,
        "metric": ranking.metric,
        "seed": ranking.seed,
        "resamples": ranking.resamples,
        "images": ranking.images,
        "neurons": ranking.neurons,
        "truth_sha256": ranking.truth_sha256,
    }


def scored(row: Any) -> dict[str, Any]:
    """What the files say of an entry itself, whatever the others score."""
    names = ("score", "single_trial", "to_average", "feve")
    scores = {name: rounded(getattr(row, name)) for name in names}
    low, high = map(rounded, row.interval)
    entry = {"entry": row.entry, "baseline": row.baseline, "low": low, "high": high}
    return entry | scores | {"sha256": row.sha256}


def _record(row):
    """All of an entry in a ranking. A baseline has no rank."""
    first, last = (None, None) if row.baseline else row.rank_interval
    return scored(row) | {
        "first_rank": first,
        "last_rank": last,
        "tied_with_best": row.tied_with_best,
        "behind_best": rounded(row.behind_best.difference),
        "p": rounded(row.p),
        "flags": list(row.flags),
    }


def write_json(path: Path, record: object) -> None:
    """Write JSON in ASCII, a value a line."""
    text = json.dumps(record, indent=1, allow_nan=False)
    path.write_text(f"{text}\n", encoding="ascii", newline="\n")


def _write_csv(path, ranking):
    """A line for each entry, and in each what the ranking is, so that it is a plain table."""
    lines = [_record(row) | {"flags": "; ".join(row.flags)} | facts(ranking) for row in ranking]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)


def _cell(value):
    """A value for a spreadsheet: text that it would take for a formula gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = one_line(value, 500)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def find_changes(ranking: Any, folder: Path) -> str:
    """What changed since the ranking that was saved in a folder, in a line; "" without one."""
    path = folder / FILES[-1]
    if not path.is_file():
        return ""
    try:
        record = json.loads(path.read_bytes())
        before = {str(entry["entry"]): place for place, entry in enumerate(record["entries"], 1)}
        when = f"since the ranking of {record['date']}"
        same_truth = record["truth_sha256"] == ranking.truth_sha256
    except (ValueError, TypeError, KeyError, OSError, RecursionError):
        return f"what changed is not known: {path.name} in {folder.name} cannot be read"
    if not same_truth:
        return f"{when}: another ground truth"
    after = {row.entry: place for place, row in enumerate(ranking, 1)}
    both = [name for name in after if name in before]
    changes = {
        "new": [name for name in after if name not in before],
        "gone": [name for name in before if name not in after],
        "moved": [f"{n} from {before[n]} to {after[n]}" for n in both if before[n] != after[n]],
    }
    parts = []
    for kind, names in changes.items():
        if names:
            parts.append(f"{kind}: {', '.join(names[:3] + ['…'] * (len(names) > 3))}")
    return one_line(f"{when}: {'; '.join(parts) or 'nothing has changed'}", 500)


def rounded(number: float | None) -> float | None:
    """A number with six digits after the point; None if it is not finite."""
    if number is None or not math.isfinite(number):
        return None
    return round(float(number), 6) + 0.0  # not -0.0


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


def _ticks(rows, image_alone):
    """The scores at which the axis is labelled. The first and the last are its ends."""
    from matplotlib.ticker import MaxNLocator  # takes a moment

    scores = [score for row in rows for score in (*row.interval, row.score)]
    if image_alone is not None:
        scores.append(image_alone)
    ends = round(min(scores), 6), round(max(scores), 6)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(*ends)
    return list(map(float, ticks))


def _labelled(ticks):
    """(tick, label) with as many digits as tell the ticks apart."""
    digits = max(0, -math.floor(math.log10((ticks[-1] - ticks[0]) / (len(ticks) - 1))))
    return [(tick, f"{tick:.{digits}f}".replace("-", "−")) for tick in ticks]


def _position(ticks, score):
    """The place of a score in % of the figure's width, so that it fits a screen of any width."""
    width = 100 - 2 * MARGIN
    return round(MARGIN + width * (round(score, 6) - ticks[0]) / (ticks[-1] - ticks[0]), 2)
