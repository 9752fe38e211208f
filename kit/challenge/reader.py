"""Read the official CSV files strictly: what is not exactly the format is a sentence, not a guess.

A file is UTF-8 text with four columns: trial_indices, image_ids, prediction (in a ground truth:
responses) and neuron_ids. A row is one trial. Its last two cells are JSON lists of equal length:
finite numbers, and the whole numbers of the neurons they belong to. Allowed besides, and nothing
else: a byte-order mark at the start; lines that end with CRLF; white space around names, ids and
numbers; blank lines; rows, neurons and columns in any order.

This file and what it imports need numpy alone, so the scoring program of a bundle carries it. Where
there is orjson it is faster; without it the same files are accepted, with the same values.
"""

import codecs
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kit.checks import one_line, system_words

try:
    from orjson import loads
except ImportError:
    from json import loads

P = TypeVar("P", bound=PurePath)
MAX_VALUE = 1e30  # far above any response, far below 1e154: its square is infinite
MAX_NEURON = 2**53 - 1  # whole numbers up to it are exact in every program
# a hostile file costs no more than an honest one of 400 MB: a minute and two gigabytes
MAX_MEGABYTES = 400  # of a file: twice as much as the 2022 code wrote for 7,500 neurons
MAX_NUMBERS = 25_000_000  # as many, each with the id of its neuron, fill such a file
MAX_CELL = 2**24  # bytes: a hundred times a cell of a real mouse
MAX_CELLS = 100  # of a row, all counted in the sentence about it
MAX_ROWS = 100_000  # a hundred times a real mouse's; a blank line counts as one
WHITE_SPACE = " \t\r\n"  # as in JSON
# a cell, in quotes or not, and its end; an escaped quote cannot be, as no cell needs one
CELL = re.compile(rb'(?:"([^"]*)"|([^",\r\n][^,\r\n]*)?)(,|\r?\n|\Z)')
SYSTEM_FILES = {  # what Windows and macOS put into folders
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
}
PLAIN_ID = re.compile(r"(?![+-]?[0-9]+\.0*\Z)[!#-+\--~]+")  # no comma, quote or blank, and no 7.0


class ListFormat(NamedTuple):
    """A kind of JSON list: the numbers that it may hold."""

    dtype: Any
    number: re.Pattern
    limit: float  # of their size
    foreign: str  # letters of other JSON: numpy takes true for 1, null for NaN, and cuts 5.5 to 5
    words: str


VALUES = ListFormat(
    np.float64,
    re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"),
    MAX_VALUE,
    '"{tfn',
    f"finite numbers up to {MAX_VALUE:.0e}, such as [0.1, 2]",
)
NEURONS = ListFormat(
    np.int64,
    re.compile(r"-?(0|[1-9][0-9]*)"),
    MAX_NEURON,
    '"{tfn.eE',
    "whole numbers below 2^53, such as [3, 5]",
)


@dataclass(frozen=True)
class Row:
    """One row of a file: the values of one trial, or what is wrong with it."""

    number: int  # the file's first line is row 1
    trial: str  # "" if the row has no trial id
    image: str
    values: np.ndarray  # (n,) float64
    neurons: np.ndarray  # (n,) int64 unit ids, ascending
    fault: str = ""  # if not empty, there are no values: "where prediction is not …"
    detail: str = ""  # what the row has instead, if it is the first with this fault


class _Fault(ValueError):
    """Why a row cannot be read: what is wrong, and a function that says what it has instead."""


def read_rows(path: str | Path, column: str) -> list[Row]:
    """Read a CSV file. Returns all its rows; a damaged one has no values, but a fault.

    column: "prediction" or "responses".
    Raises FileNotFoundError if there is no file, ValueError if it is not CSV, has not exactly the
    four columns, or is larger than any honest one.
    """
    columns = ["trial_indices", "image_ids", column, "neuron_ids"]
    lines = _read_lines(Path(path))
    _, header = next(lines, (1, []))
    if sorted(header) != sorted(columns):
        raise ValueError(
            f"{path} has not the columns of the format; its first line must name "
            f"{', '.join(columns)}, once each with commas between, and is {','.join(header)[:80]!r}"
        )
    order = [header.index(name) for name in columns]
    parse_neurons = lru_cache(maxsize=2)(_parse_neurons)  # nearly all rows have the same text
    rows = []
    faults = set()
    numbers = 0
    for number, cells in lines:
        if len(cells) == len(columns):
            cells = [cells[index] for index in order]
        rows.append(_parse_row(number, cells, column, parse_neurons, faults))
        numbers += len(rows[-1].values)
        if numbers > MAX_NUMBERS:
            raise ValueError(
                f"{path} has more than {MAX_NUMBERS:,} numbers, the most that are "
                "read; give one for each neuron and trial of the test set"
            )
    return rows


# ---- the file of an entry ----


def is_system_file(name: str) -> bool:
    """Whether a file or folder of this name is hidden or the system's own, so of no entry."""
    return name.startswith(".") or name.casefold() in SYSTEM_FILES


def list_files(folder: str | Path) -> list[Path]:
    """The ordinary files below a folder, sorted, without links and the system's own.

    A folder that cannot be opened counts as empty.
    """
    files = []
    folders = [os.fspath(folder)]
    while folders:  # a list, because an entry may have more folders in each other than calls can
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            if is_system_file(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                files.append(Path(entry.path))
    return sorted(files)


def choose_file(paths: Iterable[P], owner: str, names: Collection[str]) -> P:
    """The one of these paths that has one of these names.

    owner: words for an error message. Raises ValueError if there is none, or more than one.
    """
    paths = list(paths)
    matches = [path for path in paths if path.name in names]
    if len(matches) != 1:
        content = one_line(", ".join(path.name for path in paths[:4])) or "nothing"
        raise ValueError(
            f"{owner} must have one file {' or '.join(names)}, and no metadata.yaml, which would "
            f"make it a program; it has {len(matches)} of them, and holds {content}"
        )
    return matches[0]


# ---- from bytes to cells ----


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every row of a CSV file that is not blank, the header first."""
    content = _read_bytes(path).removeprefix(codecs.BOM_UTF8)
    start = 0
    for number in range(1, MAX_ROWS + 1):
        cells = []
        end = b","
        while end == b",":
            cell = CELL.match(content, start)
            if not cell or cell.end() - start > MAX_CELL or len(cells) == MAX_CELLS:
                raise ValueError(
                    f"{path} is not a CSV file of four columns from row {number} on; unpack it if "
                    "it is compressed, write it again if it is cut off, else put one double quote "
                    "before each list and one after it, and end lines with LF or CRLF"
                )
            quoted, plain, end = cell.groups(b"")
            # bytes that are not UTF-8 become letters that no column, id or list may have
            cells.append((quoted or plain).decode(errors="replace").strip(WHITE_SPACE))
            start = cell.end()
        if cells != [""]:
            yield number, cells
        if not end:
            return
    raise ValueError(
        f"{path} has more than {MAX_ROWS:,} rows, the most that are read; give one row for each "
        "trial of the test set"
    )


def _read_bytes(path):
    try:
        status = path.stat()
        # a pipe would be waited for
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_MEGABYTES * 1e6:
            raise ValueError(
                f"{path} is not an ordinary file of at most {MAX_MEGABYTES} MB; give one CSV file, "
                "and write its numbers with fewer digits if it is larger"
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"there is no file {path}; kit.submit writes submissions, "
            "kit.write_ground_truth what they are graded against"
        ) from None
    except OSError as problem:
        raise type(problem)(
            f"{path} cannot be read: {system_words(problem)}; mend that, or give another file"
        ) from None


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
        values = _parse_list(cells[2], column, VALUES)
        neurons, order = parse_neurons(cells[3])
        if len(values) != len(neurons):
            raise _Fault(
                f"where {column} and neuron_ids differ in length",
                lambda: f"{len(values)} and {len(neurons)}",
            )
        return Row(number, trial, image, values[order], neurons)
    except _Fault as problem:
        fault, describe = problem.args
        detail = "" if fault in faults else describe()
        faults.add(fault)
        return Row(number, trial, image, np.empty(0), np.empty(0, np.int64), fault, detail)


def _parse_id(cell, column):
    if not PLAIN_ID.fullmatch(cell):
        raise _Fault(f"where {column} is not a plain id", lambda: repr(cell[:40]))
    return cell


def _parse_neurons(cell):
    """The neurons (n,) of a cell, ascending, and the order (n,) that sorts them."""
    neurons = _parse_list(cell, "neuron_ids", NEURONS)
    order = np.argsort(neurons)
    return neurons[order], order


def _parse_list(cell, column, form):
    """A JSON list of numbers as an array (n,). Raises _Fault if it is anything else."""
    try:
        if not any(letter in cell for letter in form.foreign):
            numbers = np.fromiter(loads(cell), form.dtype)
            if ((-form.limit <= numbers) & (numbers <= form.limit)).all():
                return numbers
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    raise _Fault(
        f"where {column} is not a JSON list of {form.words}",
        lambda: _first_fault(cell, form),
    )


def _first_fault(cell, form):
    """Where a damaged list first departs from the format, for a sentence."""
    if not cell.startswith("["):
        return "no '[' at its start"
    if not cell.endswith("]"):
        return "no ']' at its end"
    for number, part in enumerate(cell[1:-1].split(","), start=1):
        part = part.strip(WHITE_SPACE)
        if not form.number.fullmatch(part) or abs(float(part)) > form.limit:
            return f"{part[:20]!r} at place {number}"
    return repr(cell[:20])
