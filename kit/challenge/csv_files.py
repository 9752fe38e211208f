"""The official CSV files: write them, read them and match them by id."""

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
import orjson

from kit.data.recordings import Recording

SUBMISSION_FILES = {"test": "submission_file_live_test.csv",
                    "final_test": "submission_file_final_test.csv"}
TRUTH_FILES = {"test": "ground_truth_file_test.csv",
               "final_test": "ground_truth_file_final_test.csv"}
MAX_VALUE = 1e30  # far above any response, far below 1e154, whose square is infinite


@dataclass(frozen=True)
class Row:
    """One row of a file: the values of one trial."""

    trial: str
    image: str
    values: np.ndarray        # (n,) float64
    neurons: tuple[int, ...]  # (n,) unit ids


def write_rows(path: Path, recording: Recording, tier: str, values: np.ndarray,
               column: str) -> None:
    """Write one official CSV file: a row for each trial of a tier, its lists in brackets.

    values: (T, N) for the tier's trials; column: "prediction" or "responses".
    """
    neuron_cell = orjson.dumps(recording.unit_ids.tolist()).decode()
    with path.open("w", encoding="ascii", newline="") as file:
        file.write(f"trial_indices,image_ids,{column},neuron_ids\n")
        for index, numbers in zip(recording.rows(tier), np.ascontiguousarray(values), strict=True):
            value_cell = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode()
            file.write(f'{recording.trial_ids[index]},{recording.image_ids[index]},'
                       f'"{value_cell}","{neuron_cell}"\n')


def read_rows(path: str | Path, column: str) -> tuple[list[Row], list[str]]:
    """Read a CSV file. Returns its rows, and sentences about rows that are damaged.

    Raises FileNotFoundError or IsADirectoryError if there is no file, ValueError if it is not CSV
    or lacks a column.
    """
    lines = _read_lines(Path(path))
    header = [name.strip() for name in lines[0]]
    _require_columns(path, header, ["trial_indices", "image_ids", column, "neuron_ids"])
    parse_neurons = cache(_parse_neurons)  # nearly all rows have the same text
    rows, damaged = [], []
    for number, line in enumerate(lines[1:], start=2):
        cells = dict(zip_longest(header, line, fillvalue=""))
        try:
            if line:
                rows.append(_parse_row(cells, column, parse_neurons))
        except ValueError:
            damaged.append(number)
    return rows, _sentences([(damaged, "row", f"without two lists of equal length, {column} and "
                                              "neuron_ids (the header is row 1)")])


def match_rows(rows: list[Row], trials: list[str]) -> np.ndarray:
    """The values (T, N) of rows without problems: trials as given, neurons by ascending id."""
    row_of = {row.trial: row for row in rows}
    order_of = cache(np.argsort)  # nearly all rows have the same neurons
    rows = [row_of[trial] for trial in trials]
    return np.stack([row.values[order_of(row.neurons)] for row in rows])


def find_problems(rows: list[Row], trials: list[str], images: list[str],
                  unit_ids: np.ndarray) -> list[str]:
    """Compare rows with the trials, their images and the neurons that a file must have.

    Returns a sentence for each kind of problem; an empty list if there is none.
    """
    image_of = dict(zip(trials, images, strict=True))
    faults = _compare([row.trial for row in rows], trials)
    rows = [row for row in rows if row.trial in image_of]
    not_finite = [row.trial for row in rows if not (np.abs(row.values) <= MAX_VALUE).all()]
    other_image = [row.trial for row in rows if row.image != image_of[row.trial]]
    return _sentences([
        *[(ids, "trial", fault) for fault, ids in faults.items()],
        *_compare_neurons(rows, np.sort(unit_ids).tolist()),
        (not_finite, "trial", f"with values that are not finite, or beyond {MAX_VALUE:.0e}"),
        (other_image, "trial", "with the image_ids of another image")])


def image_key(image: object) -> str:
    """Return an image's id as text without a final ".0": spreadsheets turn 7 into 7.0."""
    return str(image).strip().removesuffix(".0")


def _read_lines(path):
    """The cells of every line of a CSV file, the header first."""
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; kit.submit writes submissions, "
                                "kit.write_ground_truth what they are graded against") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder; give one of its CSV files") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"{path} is not a CSV file ({problem}); unpack it if it is compressed, "
                         "save it as CSV in UTF-8 if a spreadsheet wrote it") from None


def _require_columns(path, header, columns):
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; its first line must name "
                         f"{', '.join(columns)}, with commas between, and is "
                         f"{','.join(header)[:80]!r}")
    duplicated = [name for name in columns if header.count(name) > 1]
    if duplicated:
        raise ValueError(f"{path} names the column {', '.join(duplicated)} more than once in its "
                         "first line; keep one")


def _parse_row(cells, column, parse_neurons):
    """A `Row`. Raises ValueError if the cells do not hold two lists of equal length."""
    values, neurons = _parse_numbers(cells[column]), parse_neurons(cells["neuron_ids"])
    if len(values) != len(neurons):
        raise ValueError("the lists differ in length")
    return Row(cells["trial_indices"].strip(), image_key(cells["image_ids"]), values, neurons)


def _parse_numbers(text):
    """A list in brackets as an array. Raises ValueError if it is not a list of numbers."""
    try:
        numbers = np.array(orjson.loads(text), np.float64)
    except (ValueError, TypeError):  # numpy and pandas write nan and inf, which JSON does not have
        numbers = np.array(text.strip().strip("[]").split(","), np.float64)
    if numbers.ndim != 1:
        raise ValueError("not a flat list")
    return numbers


def _parse_neurons(text):
    numbers = _parse_numbers(text)
    if not (np.abs(numbers) < 2**53).all() or (numbers != numbers.round()).any():
        raise ValueError("not whole numbers")
    return tuple(numbers.astype(np.int64).tolist())


def _compare(found, expected):
    """The ids that are missing from those found, the duplicated ones, and those not expected."""
    counts, expected = Counter(found), dict.fromkeys(expected)
    return {"missing": [key for key in expected if key not in counts],
            "duplicated": [key for key, count in counts.items() if count > 1],
            "unknown": [key for key in counts if key not in expected]}


def _compare_neurons(rows, unit_ids):
    """The neurons that are missing, duplicated or unknown in any row, for `_sentences`."""
    first_trial = {}  # list of neurons -> the first trial that has it; nearly all rows share one
    for row in rows:
        first_trial.setdefault(row.neurons, row.trial)
    first_seen = {"missing": {}, "duplicated": {}, "unknown": {}}  # neuron -> its first trial
    for neurons, trial in first_trial.items():
        for fault, ids in _compare(sorted(neurons), unit_ids).items():
            for neuron in ids:
                first_seen[fault].setdefault(neuron, trial)
    return [(list(found), "neuron", f"{fault}, first in trial {next(iter(found.values()), '')}")
            for fault, found in first_seen.items()]


def _sentences(findings):
    """Sentences such as "5 trials (a, b, c, …) missing", for findings that have ids."""
    sentences = []
    for ids, noun, fault in findings:
        if ids:
            plural = "s" if len(ids) > 1 else ""
            more = ", …" if len(ids) > 3 else ""
            first = ", ".join(map(str, ids[:3])) + more
            sentences.append(f"{len(ids)} {noun}{plural} ({first}) {fault}")
    return sentences
