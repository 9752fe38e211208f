"""Write a submission and check it."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import FILES, _id, _match, _read, _write
from kit.data.recordings import require_dataset
from kit.evaluation.scores import predict
from kit.files import atomic_write
from kit.report import Report


def submit(model, data, folder):
    """Write a model's two submission files for a competition mouse. Returns their paths.

    The files are checked before they get their names; a file that is there is replaced.
    Raises ValueError if the recording lacks a test tier or a prediction is not finite.
    """
    recording = require_dataset(data).mouse
    predictions = {tier: predict(model, data, tier) for tier in FILES}
    for tier, values in predictions.items():
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValueError(f"{bad.sum()} of {bad.size} predictions for tier {tier!r} are not "
                             "finite, so nothing was written; train the model again")
    with ExitStack() as stack:  # both files get their names, or neither
        for tier, name in FILES.items():
            part = stack.enter_context(atomic_write(Path(folder) / name))
            _write(part, recording, tier, predictions[tier], "prediction")
            if not (report := check(part, data)):
                raise ValueError("nothing was written: " + "; ".join(report.problems))
    return tuple(Path(folder) / name for name in FILES.values())


def check(path, data):
    """Check a submission against its recording. Returns a `Report`, true when all is well.

    path: one submission file, or the folder that holds both. data: the recording's `Dataset`.
    Looks for trials and neurons that are missing, doubled or unknown, for values that are not
    finite or absurdly large, and for damaged rows. Raises FileNotFoundError or ValueError if it
    is no such file.
    """
    path, recording = Path(path), require_dataset(data).mouse
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


def _tier(path, entries, recording):
    """Which test tier a file is for: by its name, else by the trials it shares with a tier."""
    for tier, name in FILES.items():
        if path.name == name:
            return tier
    trials = [entry.trial for entry in entries]
    return max((tier for tier in FILES if (recording.tiers == tier).any()),
               key=lambda tier: np.isin(recording.trial_ids[recording.rows(tier)].astype(str),
                                        trials).sum(), default="test")
