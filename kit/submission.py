"""The official submission files: write, check and grade them.

One CSV a test set, one row a trial: trial_indices, image_ids, prediction, neuron_ids; ground truth
has responses for prediction. Trials and neurons are matched by their ids, in any order.
"""

import csv
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from kit.contract import Report
from kit.evaluation import predict, scores
from kit.files import whole
from kit.recordings import dataset

FILES = {"test": "submission_file_live_test.csv", "final_test": "submission_file_final_test.csv"}
TRUTH_FILES = {"test": "ground_truth_file_test.csv",
               "final_test": "ground_truth_file_final_test.csv"}
LARGEST = 1e30  # no response is as large, and the square of a much larger number is infinite


def submit(model, data, folder):
    """Write a model's two submission files for a competition mouse. Returns their paths.

    The files are checked before they get their names; a file that is there is replaced.
    Raises ValueError if the recording lacks a test tier or a prediction is not finite.
    """
    recording = dataset(data).mouse
    predictions = {tier: predict(model, data, tier) for tier in FILES}
    for tier, values in predictions.items():
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValueError(f"{bad.sum()} of {bad.size} predictions for tier {tier!r} are not "
                             "finite, so nothing was written; train the model again")
    with ExitStack() as stack:  # both files get their names, or neither
        for tier, name in FILES.items():
            part = stack.enter_context(whole(Path(folder) / name))
            _write(part, recording, tier, predictions[tier], "prediction")
            if not (report := check(part, data)):
                raise ValueError("nothing was written: " + "; ".join(report.problems))
    return tuple(Path(folder) / name for name in FILES.values())


def write_ground_truth(data, responses, folder):
    """Write the two ground-truth files of a recording whose responses are known to you.

    responses: (T, N) for all trials of the recording, divided by each neuron's std, such as
    `kit.truth(name).responses`. Returns the paths.
    """
    recording, responses = dataset(data).mouse, np.asarray(responses)
    if responses.shape != recording.responses.shape or responses.dtype.kind not in "iuf":
        raise ValueError(f"responses are {responses.dtype} of shape {responses.shape}; the "
                         f"recording needs numbers of shape {recording.responses.shape}, one row "
                         "per trial of any tier")
    if not np.isfinite(responses).all():
        raise ValueError(f"{(~np.isfinite(responses)).sum()} responses are not finite")
    with ExitStack() as stack:
        for tier, name in TRUTH_FILES.items():
            part = stack.enter_context(whole(Path(folder) / name))
            _write(part, recording, tier, responses[recording.rows(tier)], "responses")
    return tuple(Path(folder) / name for name in TRUTH_FILES.values())


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


# ---- checking and grading ----

def check(path, data):
    """Check a submission against its recording. Returns a `Report`, true when all is well.

    path: one submission file, or the folder that holds both. data: the recording's `Dataset`.
    Looks for trials and neurons that are missing, doubled or unknown, for values that are not
    finite or absurdly large, and for damaged rows. Raises FileNotFoundError or ValueError if it
    is no such file.
    """
    path, recording = Path(path), dataset(data).mouse
    if path.is_dir():
        reports = [check(path / name, data) for name in FILES.values()]
        return Report(path, tuple(f"{report.what.name}: {problem}" for report in reports
                                  for problem in report.problems),
                      "; ".join(report.summary for report in reports))
    entries, problems = _read(path, "prediction")
    tier = _tier(path, entries, recording)
    rows = recording.rows(tier)
    _, more = _match(entries, recording.trial_ids[rows].astype(str),
                     [_id(image) for image in recording.image_ids[rows]], recording.unit_ids)
    return Report(path, (*problems, *more), f"tier {tier}, {len(rows)} trials of "
                                            f"{len(recording.unit_ids)} neurons")


def grade(submission, ground_truth):
    """Grade a submission file as the 2022 benchmark did. Returns `Scores`.

    submission, ground_truth: paths of the two CSV files of one test set. Trials and neurons are
    matched by id; per-neuron scores come in ascending unit id. Raises ValueError, with all that is
    missing, doubled, unknown or not finite, where the two do not cover the same trials and neurons.
    """
    truth, problems = _read(ground_truth, "responses")
    if not truth:
        raise ValueError("; ".join([f"{ground_truth} holds no trials to grade against", *problems]))
    trials, images = [e.trial for e in truth], [e.image for e in truth]
    lists = {id(entry.neurons): entry.neurons for entry in truth}  # nearly always one
    unit_ids = np.unique(np.concatenate(list(lists.values())))
    if not len(unit_ids):
        raise ValueError(f"{ground_truth} lists no neurons to grade")
    responses, more = _match(truth, trials, images, unit_ids)
    _refuse(ground_truth, [*problems, *more])
    entries, problems = _read(submission, "prediction")
    predictions, more = _match(entries, trials, images, unit_ids)
    _refuse(submission, [*problems, *more])
    return scores(predictions, responses, images, unit_ids)


def _refuse(path, problems):
    if problems:
        raise ValueError(f"{path} cannot be graded: " + "; ".join(problems))


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


def _tier(path, entries, recording):
    """Which test tier a file is for: by its name, else by the trials it shares with a tier."""
    for tier, name in FILES.items():
        if path.name == name:
            return tier
    trials = [entry.trial for entry in entries]
    return max((tier for tier in FILES if (recording.tiers == tier).any()),
               key=lambda tier: np.isin(recording.trial_ids[recording.rows(tier)].astype(str),
                                        trials).sum(), default="test")


def _some(offenders, noun):
    """How many and the first three: "5 trials (a, b, c, …)"."""
    first = ", ".join(map(str, offenders[:3])) + ", …" * (len(offenders) > 3)
    return f"{len(offenders)} {noun}{'s' * (len(offenders) != 1)} ({first})"
