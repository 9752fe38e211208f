"""Read the official CSV files strictly: what is not exactly the format is a sentence, not a guess.

A file is UTF-8 text with four columns: trial_indices, image_ids, prediction (in a ground truth:
responses) and neuron_ids. A row is one trial. Its last two cells are JSON lists of equal length:
finite numbers, and the whole numbers of the neurons they belong to. Allowed besides, and nothing
else: a byte-order mark at the start; lines that end with CRLF; white space around names, ids and
numbers; blank lines; rows, neurons and columns in any order.

This file imports numpy and nothing of the kit, so a scorer can use a copy of it, with `json.loads`
as the decoder. orjson's is faster, and accepts the same files with the same values.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

MAX_VALUE = 1e30    # far above any response, far below 1e154, whose square is infinite
MAX_NEURON = 2**53  # whole numbers below it are exact in every program
MAX_CELL = 2**24    # characters: a hundred times a cell of a real mouse, so memory is bounded
MAX_ROWS = 100_000  # a hundred times those of a real mouse
MAX_PLACES = 100_000  # of a damaged list that are looked at, to say where the damage is
WHITE_SPACE = " \t\r\n"  # that of JSON
PLAIN_ID = re.compile(r"(?![+-]?[0-9]+\.0*\Z)[!#-+\--~]+")  # no comma, quote or blank, and no 7.0
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")  # JSON's
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Row:
    """One row of a file: the values of one trial, or what is wrong with it."""

    number: int               # the file's first line is row 1
    trial: str                # "" if the row has no trial id
    image: str
    values: np.ndarray        # (n,) float64
    neurons: tuple[int, ...]  # (n,) unit ids
    fault: str = ""           # if not empty, there are no values: "whose … cell is not …"
    found: str = ""           # what the row has instead


class _Fault(ValueError):
    """Why a row cannot be read: what is wrong, and what was found instead."""


def read_rows(path: str | Path, column: str, decode: Callable[[str], object]) -> list[Row]:
    """Read a CSV file. Returns all its rows; a damaged one has no values, but a fault.

    column: "prediction" or "responses"; decode: `json.loads` or `orjson.loads`.
    Raises FileNotFoundError or IsADirectoryError if there is no file, ValueError if it is not CSV
    or has not exactly the four columns.
    """
    columns = ["trial_indices", "image_ids", column, "neuron_ids"]
    lines = _read_lines(Path(path))
    _, header = next(lines, (1, []))
    places = _find_columns(path, [name.strip(WHITE_SPACE) for name in header], columns)

    @lru_cache(maxsize=2)
    def parse_neurons(cell):  # nearly all rows have the same text
        return _parse_neurons(cell, decode)

    rows = []
    for number, cells in lines:
        if number > MAX_ROWS:
            raise ValueError(f"{path} has more than {MAX_ROWS:,} rows, the most that are read; "
                             "give one row for each trial of the test set")
        if len(cells) == len(columns):
            cells = [cells[place] for place in places]
        rows.append(_parse_row(number, cells, column, decode, parse_neurons))
    return rows


def match_rows(rows: list[Row], trials: list[str]) -> np.ndarray:
    """The values (T, N) of rows without problems: trials as given, neurons by ascending id."""
    row_of = {row.trial: row for row in rows}
    order_of = cache(np.argsort)  # nearly all rows have the same neurons
    rows = [row_of[trial] for trial in trials]
    return np.stack([row.values[order_of(row.neurons)] for row in rows])


def find_problems(rows: list[Row], trials: list[str], images: list[str],
                  unit_ids: np.ndarray) -> list[str]:
    """Compare rows with the trials, their images and the neurons that a file must have.

    Returns a sentence for each kind of problem, with the rows, trials or neurons that have it; an
    empty list if there is none.
    """
    image_of = dict(zip(trials, images, strict=True))
    last_row = {row.trial: row for row in rows if row.trial}
    trial_faults = _compare([row.trial for row in rows if row.trial], trials)
    findings = _group_faults(rows)
    for fault, ids in trial_faults.items():
        labels = [_label(last_row[trial]) if trial in last_row else trial[:40] for trial in ids]
        findings.append((labels, "trial", fault))
    rows = [row for row in rows if row.trial in image_of and not row.fault]
    findings += _compare_neurons(rows, np.sort(unit_ids).tolist())
    other_image = [_label(row) for row in rows if row.image != image_of[row.trial]]
    findings.append((other_image, "trial", "with the image_ids of another image"))
    sentences = [_sentence(*finding) for finding in findings if finding[0]]
    if last_row and not last_row.keys() & image_of.keys():
        sentences.insert(0, "not one of its trials is in this test set, so it was made from "
                            "another recording or tier")
    return sentences


# ---- from bytes to cells ----

def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every row of a CSV file that is not blank, the header first."""
    csv.field_size_limit(MAX_CELL)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, cells in enumerate(csv.reader(_plain_lines(file), strict=True), start=1):
                if len(cells) > 1 or "".join(cells).strip(WHITE_SPACE):
                    yield number, cells
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; kit.submit writes submissions, "
                                "kit.write_ground_truth what they are graded against") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder; give one of its CSV files") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a CSV file in UTF-8; unpack it if it is compressed, save "
                         "it as CSV in UTF-8 if a spreadsheet wrote it") from None
    except csv.Error as problem:
        raise ValueError(f"{path} is not a CSV file from row {number + 1} on ({problem}); write it "
                         "again if it is cut off, else put one double quote before each list and "
                         "one after it, and end lines with LF or CRLF") from None


def _plain_lines(file):
    while line := file.readline(2 * MAX_CELL):
        if len(line) == 2 * MAX_CELL:
            raise csv.Error(f"a line of more than {2 * MAX_CELL:,} characters")
        if "\0" in line:
            raise csv.Error("NUL byte")
        if "\r" in line.removesuffix("\r\n"):
            raise csv.Error("carriage return without line feed")
        yield line


def _find_columns(path, header, columns):
    """The place of each column in the header."""
    names = f"{', '.join(columns)}, with commas between"
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; its first line must name "
                         f"{names}, and is {','.join(header)[:80]!r}")
    duplicated = [name for name in columns if header.count(name) > 1]
    if duplicated:
        raise ValueError(f"{path} names the column {', '.join(duplicated)} more than once in its "
                         "first line; keep one")
    unknown = [name[:40] for name in header if name not in columns]
    if unknown:
        raise ValueError(f"{path} has the unknown column {unknown[0]!r} ({len(unknown)} unknown in "
                         f"all); keep only {names}")
    return [header.index(name) for name in columns]


# ---- from cells to values ----

def _parse_row(number, cells, column, decode, parse_neurons):
    """A `Row` from its cells: trial, image, values, neurons."""
    trial = image = ""
    try:
        if len(cells) != 4:
            raise _Fault("without exactly 4 cells", str(len(cells)))
        trial = _parse_id(cells[0], "trial_indices")
        image = _parse_id(cells[1], "image_ids")
        values = _parse_values(cells[2], column, decode)
        neurons = parse_neurons(cells[3])
        _require_equal_lengths(values, neurons, column)
        return Row(number, trial, image, values, neurons)
    except _Fault as fault:
        return Row(number, trial, image, np.empty(0), (), *fault.args)


def _parse_id(cell, column):
    text = cell.strip(WHITE_SPACE)
    if not PLAIN_ID.fullmatch(text):
        raise _Fault(f"whose {column} cell is not a plain id", repr(text[:40]))
    return text


def _parse_values(cell, column, decode):
    """A JSON list of numbers as an array (n,). Raises _Fault if it is anything else."""
    try:
        values = _parse_list(cell, {int, float}, decode)
        numbers = np.array(values, np.float64)
        if (np.abs(numbers) <= MAX_VALUE).all():
            return numbers
    except (ValueError, OverflowError, RecursionError):
        pass
    raise _Fault(f"whose {column} cell is not a JSON list of finite numbers up to "
                 f"{MAX_VALUE:.0e}, such as [0.1, 2]", _first_fault(cell, NUMBER, MAX_VALUE))


def _parse_neurons(cell, decode):
    """A JSON list of whole numbers as a tuple. Raises _Fault if it is anything else."""
    try:
        neurons = _parse_list(cell, {int}, decode)
        if max(map(abs, neurons), default=0) < MAX_NEURON:
            return tuple(neurons)
    except (ValueError, RecursionError):
        pass
    raise _Fault("whose neuron_ids cell is not a JSON list of whole numbers below 2^53, such as "
                 "[3, 5]", _first_fault(cell, WHOLE_NUMBER, MAX_NEURON - 1))


def _parse_list(cell, types, decode):
    """A JSON list. Raises ValueError if it holds other types; True is a bool here, not an int."""
    values = decode(cell)
    if type(values) is not list or not set(map(type, values)) <= types:
        raise ValueError("not a flat list of numbers")
    return values


def _require_equal_lengths(values, neurons, column):
    if len(values) != len(neurons):
        raise _Fault(f"whose {column} and neuron_ids cells differ in length",
                     f"{len(values)} and {len(neurons)}")


def _first_fault(cell, pattern, limit):
    """Where a damaged list first departs from the format, for a sentence."""
    text = cell.strip(WHITE_SPACE)
    if not text.startswith("["):
        return "no '[' at its start"
    if not text.endswith("]"):
        return "no ']' at its end"
    for place, part in enumerate(text[1:-1].split(",", MAX_PLACES), start=1):
        if place > MAX_PLACES:
            return f"one that lies after place {MAX_PLACES:,}"
        part = part.strip(WHITE_SPACE)
        if len(part.split()) > 1:
            return f"no comma after place {place}"
        if not pattern.fullmatch(part) or abs(float(part)) > limit:
            return f"{part[:20]!r} at place {place}"
    return repr(text[:20])


# ---- sentences ----

def _compare(found, expected):
    """The ids that are missing from those found, the duplicated ones, and those not expected."""
    counts, expected = Counter(found), dict.fromkeys(expected)
    return {"missing": [key for key in expected if key not in counts],
            "duplicated": [key for key, count in counts.items() if count > 1],
            "unknown": [key for key in counts if key not in expected]}


def _compare_neurons(rows, unit_ids):
    """The neurons that are missing, duplicated or unknown in any row, for `_sentence`."""
    first_row = {}  # list of neurons -> the first row that has it; nearly all rows share one
    for row in rows:
        first_row.setdefault(row.neurons, row)
    first_seen = {"missing": {}, "duplicated": {}, "unknown": {}}  # neuron -> its first row
    for neurons, row in first_row.items():
        for fault, ids in _compare(sorted(neurons), unit_ids).items():
            for neuron in ids:
                first_seen[fault].setdefault(neuron, row)
    return [(list(found), "neuron", f"{fault}, first in trial {_label(next(iter(found.values())))}")
            for fault, found in first_seen.items() if found]


def _group_faults(rows):
    """The rows that share a fault, for `_sentence`, and what the first of them has instead."""
    groups = {}
    for row in rows:
        if row.fault:
            groups.setdefault((bool(row.trial), row.fault), []).append(row)
    return [([_label(row) for row in group], "trial" if has_trial else "row",
             f"{fault} (first: {group[0].found})")
            for (has_trial, fault), group in groups.items()]


def _label(row):
    return f"{row.trial[:40]} in row {row.number}" if row.trial else str(row.number)


def _sentence(ids, noun, fault):
    """A sentence such as "5 trials (a, b, c, …) missing"."""
    plural = "s" if len(ids) > 1 else ""
    more = ", …" if len(ids) > 3 else ""
    return f"{len(ids)} {noun}{plural} ({', '.join(map(str, ids[:3]))}{more}) {fault}"
