"""Write a submission and check it."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from torch import nn

from kit.challenge.csv_files import image_texts, write_rows
from kit.challenge.matching import find_problems, match_rows
from kit.challenge.reader import read_rows
from kit.challenge.tracks import SUBMISSION_FILES
from kit.checks import require_path
from kit.data.recordings import Dataset, require_dataset
from kit.evaluation.scores import predict
from kit.files import atomic_write
from kit.report import Report

LARGEST_RATIO = 4  # of predictions to responses; an untrained model's is up to 3
PROGRAM_FILES = ("metadata", "metadata.yaml")  # by which the hosting platform knows a program


def submit(model: nn.Module, data: Dataset, folder: str | Path) -> tuple[Path, Path]:
    """Write a model's two submission files for a competition mouse. Returns their paths.

    The files are checked before they appear in the folder, where they replace older ones.
    Raises ValueError if the recording lacks a test tier or a prediction is not finite.

    >>> data = kit.load("sample+")
    >>> paths = kit.submit(kit.cnn_baseline(data, channels=4), data, "first")
    >>> [path.name for path in paths]
    ['submission_file_live_test.csv', 'submission_file_final_test.csv']
    """
    recording = require_dataset(data).mouse
    recording.require_tiers(*SUBMISSION_FILES)
    folder = require_path("folder", folder)
    paths = {tier: folder / name for tier, name in SUBMISSION_FILES.items()}
    predictions = {tier: predict(model, data, tier) for tier in paths}
    if not all(np.isfinite(values).all() for values in predictions.values()):
        raise ValueError(
            "some predictions are not finite, so nothing was written; train the model again"
        )
    with ExitStack() as stack:  # both files appear, or neither
        for tier, path in paths.items():
            temporary = stack.enter_context(atomic_write(path))
            write_rows(temporary, recording, tier, predictions[tier], "prediction")
            report = check(temporary, data)
            if not report:
                raise ValueError(f"nothing was written: {'; '.join(report.problems)}")
    return paths["test"], paths["final_test"]


def check(path: str | Path, data: Dataset) -> Report:
    """Check a submission against its recording. Returns a `Report`, true if all is well.

    path: one submission file, or the folder with both. It reports trials and neurons that are
    missing, duplicated or unknown, and every row that is not exactly in the official format, such
    as one with values that are not finite or absurdly large. Row 1 of a file is its first line.
    In a folder it reports a file for which the hosting platform would take the entry for a program.
    It tells, without a problem, if predictions are in other units than the responses.
    Raises FileNotFoundError or ValueError if a file cannot be read at all.

    >>> data = kit.load("sample+")
    >>> live, final = kit.submit(kit.cnn_baseline(data, channels=4), data, "checked")
    >>> bool(kit.check("checked", data))
    True
    """
    path = require_path("path", path)
    recording = require_dataset(data).mouse
    if path.is_dir():
        return _check_folder(path, data)
    rows = read_rows(path, "prediction")
    tier = _guess_tier(path, rows, recording)
    trials = recording.trial_ids[recording.rows(tier)].astype(str).tolist()
    problems = find_problems(rows, trials, image_texts(recording, tier), recording.unit_ids)
    summary = f"tier {tier}, {len(trials)} trials of {len(recording.unit_ids)} neurons"
    if not problems:
        summary += _note_units(match_rows(rows, trials), recording)
    return Report(path, tuple(problems), summary)


def _note_units(predictions, recording):
    """A note on predictions (T, N), neurons ascending, in other units than the responses, or "".

    A model may be poor, so this is not a problem.
    """
    trained = np.isin(recording.tiers, ["train", "validation"])
    sums = recording.responses[trained].sum(0)[np.argsort(recording.unit_ids)]  # (N,)
    active = sums > 0
    if not active.any():
        return ""
    ratio = np.median(predictions.mean(0)[active] / (sums[active] / trained.sum()))
    if 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
        return ""
    return (
        f"; but the mean prediction is {ratio:.2g} times the mean response of training in the "
        "middle neuron: correlations do not notice, FEVE does, so predict in units of each "
        "neuron's std, as data.mouse.responses are"
    )


def _check_folder(folder, data):
    problems = [
        f"{name}: the hosting platform would take the entry for a program, and find no "
        "predictions; remove it"
        for name in PROGRAM_FILES
        if (folder / name).exists()
    ]
    reports = {name: check(folder / name, data) for name in SUBMISSION_FILES.values()}
    for name, report in reports.items():
        problems += [f"{name}: {problem}" for problem in report.problems]
    summary = "; ".join(report.summary for report in reports.values())
    return Report(folder, tuple(problems), summary)


def _guess_tier(path, rows, recording):
    """The test tier of a file: by its name, else by the trials that it shares with each."""
    trials = {row.trial for row in rows}
    pairs = zip(recording.trial_ids.astype(str), recording.tiers, strict=True)
    shared = Counter(tier for trial, tier in pairs if trial in trials)
    return max(
        SUBMISSION_FILES, key=lambda tier: (path.name == SUBMISSION_FILES[tier], shared[tier])
    )
