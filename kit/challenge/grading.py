"""Grade a submission, and write the ground truth it is graded against."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import TRUTH_FILES, _match, _read, _write
from kit.data.recordings import require_dataset
from kit.evaluation.scores import compute_scores
from kit.files import atomic_write


def write_ground_truth(data, responses, folder):
    """Write the two ground-truth files of a recording whose responses are known to you.

    responses: (T, N) for all trials of the recording, divided by each neuron's std, such as
    `kit.truth(name).responses`. Returns the paths.
    """
    recording, responses = require_dataset(data).mouse, np.asarray(responses)
    if responses.shape != recording.responses.shape or responses.dtype.kind not in "iuf":
        raise ValueError(f"responses are {responses.dtype} of shape {responses.shape}; the "
                         f"recording needs numbers of shape {recording.responses.shape}, one row "
                         "per trial of any tier")
    if not np.isfinite(responses).all():
        raise ValueError(f"{(~np.isfinite(responses)).sum()} responses are not finite")
    with ExitStack() as stack:
        for tier, name in TRUTH_FILES.items():
            part = stack.enter_context(atomic_write(Path(folder) / name))
            _write(part, recording, tier, responses[recording.rows(tier)], "responses")
    return tuple(Path(folder) / name for name in TRUTH_FILES.values())


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
    return compute_scores(predictions, responses, images, unit_ids)


def _refuse(path, problems):
    if problems:
        raise ValueError(f"{path} cannot be graded: " + "; ".join(problems))
