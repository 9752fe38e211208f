"""Read the official CSV files strictly: what is not exactly the format is a sentence, not a guess.

A file is UTF-8 text with four columns: trial_indices, image_ids, prediction (in a ground truth:
responses) and neuron_ids. A row is one trial. Its last two cells are JSON lists of equal length:
finite numbers, and the whole numbers of the neurons they belong to. Allowed besides, and nothing
else: a byte-order mark at the start; lines that end with CRLF; white space around names, ids and
numbers; blank lines; rows, neurons and columns in any order.

This file and what it imports need numpy alone, so the scoring program of a bundle carries it. Where
there is orjson it is faster; without it the same files are accepted, with the same values.
"""

import csv
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from kit.checks import system_words

try:
    from orjson import loads
except ImportError:
    from json import loads

MAX_VALUE = 1e30  # far above any response, far below 1e154: its square is infinite
MAX_NEURON = 2**53  # whole numbers below it are exact in every program
# a hostile file costs no more than an honest one of 400 MB: a minute and two gigabytes
MAX_MEGABYTES = 400  # of a file: twice as much as the 2022 code wrote for 7,500 neurons
MAX_NUMBERS = 25_000_000  # as many, each with the id of its neuron, fill such a file
MAX_LINES = 25_000_000  # of text; a list may have a line for each number
MAX_CELL = 2**24  # characters: a hundred times a cell of a real mouse
MAX_ROWS = 100_000  # a hundred times a real mouse's; a blank line counts as one
MAX_PLACES = 100_000  # of a damaged list that are looked at, to say where the damage is
WHITE_SPACE = " \t\r\n"  # as in JSON
PLAIN_ID = re.compile(r"(?![+-]?[0-9]+\.0*\Z)[!#-+\--~]+")  # no comma, quote or blank, and no 7.0
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")  # JSON's
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Row:
    """One row of a file: the values of one trial, or what is wrong with it."""

    number: int  # the file's first line is row 1
    trial: str  # "" if the row has no trial id
    image: str
    values: np.ndarray  # (n,) float64
    neurons: np.ndarray  # (n,) int64 unit ids; the same array in rows with the same text
    fault: str = ""  # if not empty, there are no values: "whose … cell is not …"
    found: str = ""  # what the row has instead


class _Fault(ValueError):
    """Why a row cannot be read: what is wrong, and a function that says what it has instead."""


def read_rows(path: str | Path, column: str) -> list[Row]:
    """Read a CSV file. Returns all its rows; a damaged one has no values, but a fault.

    column: "prediction" or "responses".
    Raises FileNotFoundError or IsADirectoryError if there is no file, ValueError if it is not CSV,
    has not exactly the four columns, or is larger than any honest one.
    """
    columns = ["trial_indices", "image_ids", column, "neuron_ids"]
    lines = _read_lines(Path(path))
    _, header = next(lines, (1, []))
    places = _find_columns(path, [name.strip(WHITE_SPACE) for name in header], columns)

    parse_neurons = lru_cache(maxsize=2)(_parse_neurons)  # nearly all rows have the same text
    rows, faults, numbers = [], set(), 0
    for number, cells in lines:
        if len(cells) == len(columns):
            cells = [cells[place] for place in places]
        rows.append(_parse_row(number, cells, column, parse_neurons, faults))
        numbers += len(rows[-1].values)
        if numbers > MAX_NUMBERS:
            raise ValueError(
                f"{path} has more than {MAX_NUMBERS:,} numbers, the most that are "
                "read; give one for each neuron and trial of the test set"
            )
    return rows


# ---- from bytes to cells ----


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every row of a CSV file that is not blank, the header first."""
    number, usual_limit = 0, csv.field_size_limit(MAX_CELL)  # which is one for the whole process
    try:
        _require_ordinary(path)
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            lines = csv.reader(_plain_lines(file, row := Counter()), strict=True)
            for number, cells in enumerate(lines, start=1):
                if number > MAX_ROWS:
                    raise ValueError(
                        f"{path} has more than {MAX_ROWS:,} rows, the most that are "
                        "read; give one row for each trial of the test set"
                    )
                row.clear()
                if len(cells) > 1 or "".join(cells).strip(WHITE_SPACE):
                    yield number, cells
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"there is no file {path}; kit.submit writes submissions, "
            "kit.write_ground_truth what they are graded against"
        ) from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder; give one of its CSV files") from None
    except OSError as problem:
        raise type(problem)(
            f"{path} cannot be read: {system_words(problem)}; mend that, or give another file"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is not a CSV file in UTF-8; unpack it if it is compressed, save "
            "it as CSV in UTF-8 if a spreadsheet wrote it"
        ) from None
    except csv.Error as problem:
        raise ValueError(
            f"{path} is not a CSV file from row {number + 1} on ({problem}); write it "
            "again if it is cut off, else put one double quote before each list and "
            "one after it, and end lines with LF or CRLF"
        ) from None
    finally:
        csv.field_size_limit(usual_limit)


def _require_ordinary(path):
    """Raise ValueError for a pipe, which would be waited for, or a file that is too large."""
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ValueError(f"{path} is not an ordinary file; write the entry to one")
    if status.st_size > MAX_MEGABYTES * 1e6:
        raise ValueError(
            f"{path} is larger than {MAX_MEGABYTES} MB, the most that is read; write "
            "its numbers with fewer digits"
        )


def _plain_lines(file, row):
    """The lines of a text file; csv.Error for one that no CSV file of this format has.

    row: a Counter of the row's "characters", cleared by the reader when a row is complete.
    """
    for number, line in enumerate(iter(lambda: file.readline(2 * MAX_CELL), ""), start=1):
        row["characters"] += len(line)
        if row["characters"] >= 2 * MAX_CELL:
            raise csv.Error(f"a row of more than {2 * MAX_CELL:,} characters")
        if number > MAX_LINES:
            raise csv.Error(f"more than {MAX_LINES:,} lines of text")
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
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its first line must name "
            f"{names}, and is {','.join(header)[:80]!r}"
        )
    duplicated = [name for name in columns if header.count(name) > 1]
    if duplicated:
        raise ValueError(
            f"{path} names the column {', '.join(duplicated)} more than once in its "
            "first line; keep one"
        )
    unknown = [name[:40] for name in header if name not in columns]
    if unknown:
        raise ValueError(
            f"{path} has the unknown column {unknown[0]!r} ({len(unknown)} unknown in "
            f"all); keep only {names}"
        )
    return [header.index(name) for name in columns]


# ---- from cells to values ----


def _parse_row(number, cells, column, parse_neurons, faults):
    """A `Row` from its cells: trial, image, values, neurons.

    faults: of earlier rows. What a row has instead is looked for in the first of each fault alone.
    """
    trial = image = ""
    try:
        if len(cells) != 4:
            raise _Fault("without exactly 4 cells", lambda: str(len(cells)))
        trial = _parse_id(cells[0], "trial_indices")
        image = _parse_id(cells[1], "image_ids")
        values = _parse_values(cells[2], column)
        neurons = parse_neurons(cells[3])
        _require_equal_lengths(values, neurons, column)
        return Row(number, trial, image, values, neurons)
    except _Fault as problem:
        fault, describe = problem.args
        found = "" if fault in faults else describe()
        faults.add(fault)
        return Row(number, trial, image, np.empty(0), np.empty(0, np.int64), fault, found)


def _parse_id(cell, column):
    text = cell.strip(WHITE_SPACE)
    if not PLAIN_ID.fullmatch(text):
        raise _Fault(f"whose {column} cell is not a plain id", lambda: repr(text[:40]))
    return text


def _parse_values(cell, column):
    """A JSON list of numbers as an array (n,). Raises _Fault if it is anything else."""
    try:
        values = _parse_list(cell, {int, float})
        numbers = np.array(values, np.float64)
        if (np.abs(numbers) <= MAX_VALUE).all():
            return numbers
    except (ValueError, OverflowError, RecursionError):
        pass
    raise _Fault(
        f"whose {column} cell is not a JSON list of finite numbers up to "
        f"{MAX_VALUE:.0e}, such as [0.1, 2]",
        lambda: _first_fault(cell, NUMBER, MAX_VALUE),
    )


def _parse_neurons(cell):
    """A JSON list of whole numbers as an array (n,). Raises _Fault if it is anything else."""
    try:
        neurons = np.array(_parse_list(cell, {int}), np.int64)
        if ((neurons > -MAX_NEURON) & (neurons < MAX_NEURON)).all():
            return neurons
    except (ValueError, OverflowError, RecursionError):
        pass
    raise _Fault(
        "whose neuron_ids cell is not a JSON list of whole numbers below 2^53, such as [3, 5]",
        lambda: _first_fault(cell, WHOLE_NUMBER, MAX_NEURON - 1),
    )


def _parse_list(cell, types):
    """A JSON list. Raises ValueError if it holds other types; True is a bool here, not an int."""
    values = loads(cell)
    if type(values) is not list or not set(map(type, values)) <= types:
        raise ValueError("not a flat list of numbers")
    return values


def _require_equal_lengths(values, neurons, column):
    if len(values) != len(neurons):
        raise _Fault(
            f"whose {column} and neuron_ids cells differ in length",
            lambda: f"{len(values)} and {len(neurons)}",
        )


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
        if len(part.split(maxsplit=1)) > 1:
            return f"no comma after place {place}"
        if not pattern.fullmatch(part) or abs(float(part)) > limit:
            return f"{part[:20]!r} at place {place}"
    return repr(text[:20])
