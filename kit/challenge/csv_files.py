"""The official CSV files: read, written and matched by id."""

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

FILES = {"test": "submission_file_live_test.csv", "final_test": "submission_file_final_test.csv"}
TRUTH_FILES = {"test": "ground_truth_file_test.csv",
               "final_test": "ground_truth_file_final_test.csv"}
LARGEST = 1e30  # no response is as large, and the square of a much larger number is infinite


def _write(path, recording, tier, values, column):
    """One official CSV file: a row a trial, its lists in brackets and quotes."""
    rows = recording.rows(tier)
    neurons = orjson.dumps(recording.unit_ids.tolist()).decode()
    with path.open("w", encoding="ascii", newline="") as file:
        file.write(f"trial_indices,image_ids,{column},neuron_ids\n")
        for row, value in zip(rows, np.ascontiguousarray(values), strict=True):
            numbers = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
            file.write(f'{recording.trial_ids[row]},{recording.image_ids[row]},'
                       f'"{numbers}","{neurons}"\n')


class _Entry(NamedTuple):
    """One row of a file."""

    trial: str
    image: str
    values: np.ndarray   # (n,) float64
    neurons: np.ndarray  # (n,) int64


def _read(path, column):
    """The rows of a CSV file as `_Entry`s, and sentences about rows that are damaged."""
    path = Path(path)
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; kit.submit writes "
                                f"{' and '.join(FILES.values())}") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder; give one of its CSV files") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"{path} is not a CSV file ({problem}); if it is compressed, unpack it, "
                         "if a spreadsheet wrote it, save it as CSV in UTF-8") from None
    wanted = ("trial_indices", "image_ids", column, "neuron_ids")
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in wanted if name not in header]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; its first line must name "
                         f"{', '.join(wanted)}, with commas between, and is "
                         f"{','.join(header)[:80]!r}")
    doubled = [name for name in wanted if header.count(name) > 1]
    if doubled:
        raise ValueError(f"{path} names the column {', '.join(doubled)} more than once in its "
                         "first line; keep one")
    at = [header.index(name) for name in wanted]
    entries, damaged, lists = [], [], {}  # lists: neuron_ids are the same text in nearly all rows
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        trial, image, values, neurons = (line[i] if i < len(line) else "" for i in at)
        if neurons not in lists:
            lists[neurons] = _numbers(neurons, np.int64)
        values, neurons = _numbers(values, np.float64), lists[neurons]
        if values is None or neurons is None or len(values) != len(neurons):
            damaged.append(number)
        else:
            entries.append(_Entry(trial.strip(), _id(image), values, neurons))
    return entries, [f"{_some(damaged, 'row')} without two lists of equal length, {column} and "
                     "neuron_ids (counted by line of the file)"] * bool(damaged)


def _id(image):
    """An image's id as text; spreadsheets turn 7 into 7.0."""
    return str(image).strip().removesuffix(".0")


def _numbers(text, dtype):
    """A bracketed list as an array, None if it is none. NaN and infinities are read as such."""
    try:
        numbers = np.array(orjson.loads(text), np.float64)
    except (ValueError, TypeError):
        try:  # what JSON cannot say but numpy and pandas write: nan, inf
            numbers = np.array(text.strip().strip("[]").split(","), np.float64)
        except ValueError:
            return None
    whole_numbers = (numbers == numbers.round()) & (np.abs(numbers) < 2**53)
    fits = numbers.ndim == 1 and (dtype is np.float64 or whole_numbers.all())
    return numbers.astype(dtype) if fits else None


def _match(entries, trials, images, unit_ids):
    """Values of `entries` (T, N) in the order of trials and unit_ids, and what is wrong."""
    problems = []
    row_of = {trial: row for row, trial in enumerate(trials)}
    found = Counter(entry.trial for entry in entries)
    for what, offenders in (
            ("missing", [trial for trial in row_of if trial not in found]),
            ("doubled", [trial for trial, n in found.items() if n > 1]),
            ("unknown", [trial for trial in found if trial not in row_of])):
        if offenders:
            problems.append(f"{_some(offenders, 'trial')} {what}")

    values = np.full((len(trials), len(unit_ids)), np.nan)
    order = np.argsort(unit_ids)
    wrong = {"missing": {}, "doubled": {}, "unknown": {}}  # neuron -> first trial
    infinite, other_image, checked = [], [], {}
    for entry in entries:
        if entry.trial not in row_of:
            continue
        row = row_of[entry.trial]
        if id(entry.neurons) not in checked:  # rows with the same text share one array
            place = np.searchsorted(unit_ids, entry.neurons, sorter=order)
            place = order[place.clip(max=len(order) - 1)]
            known = unit_ids[place] == entry.neurons
            checked[id(entry.neurons)] = place, known
            unique, count = np.unique(entry.neurons, return_counts=True)
            for what, neurons in (("missing", np.setdiff1d(unit_ids, unique)),
                                  ("doubled", unique[count > 1]),
                                  ("unknown", np.setdiff1d(unique, unit_ids))):
                for neuron in neurons.tolist():
                    wrong[what].setdefault(neuron, entry.trial)
        place, known = checked[id(entry.neurons)]
        values[row, place[known]] = entry.values[known]
        if not (np.abs(entry.values) <= LARGEST).all():  # nor where one is NaN
            infinite.append(entry.trial)
        if entry.image != images[row]:
            other_image.append(entry.trial)
    for what, neurons in wrong.items():
        if neurons:
            problems.append(f"{_some(list(neurons), 'neuron')} {what}, first in trial "
                            f"{next(iter(neurons.values()))}")
    if infinite:
        problems.append(f"{_some(infinite, 'trial')} with values that are not finite, or beyond "
                        f"{LARGEST:.0e}")
    if other_image:
        problems.append(f"{_some(other_image, 'trial')} with the image_ids of another image")
    return values, problems


def _some(offenders, noun):
    """How many and the first three: "5 trials (a, b, c, …)"."""
    first = ", ".join(map(str, offenders[:3])) + ", …" * (len(offenders) > 3)
    return f"{len(offenders)} {noun}{'s' * (len(offenders) != 1)} ({first})"
