"""Grade a submission, and write the ground truth that it is graded against."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import write_rows
from kit.challenge.ground_truth import read_ground_truth, read_submission
from kit.challenge.tracks import TRACK_FILE, TRUTH_FILES, track_of
from kit.checks import require_path
from kit.data.recordings import Dataset, require_dataset
from kit.evaluation.leaderboard import Scores
from kit.files import atomic_write


def write_ground_truth(
    data: Dataset, responses: np.ndarray, folder: str | Path
) -> tuple[Path, Path]:
    """Write the two ground-truth files of a recording from its known responses, and its track.

    responses: (T, N) for all trials of the recording, divided by each neuron's std: those that the
    recording shows are compared with its own. Returns the paths. Raises ValueError if the shape
    differs, a response is not finite, or units, neurons or trials are not the recording's.

    >>> truth = kit.truth("sample+")
    >>> paths = kit.write_ground_truth(kit.load("sample+"), truth.responses, "truth")
    >>> [path.name for path in paths]
    ['ground_truth_file_test.csv', 'ground_truth_file_final_test.csv']
    """
    recording, responses = require_dataset(data).mouse, np.asarray(responses)
    if responses.shape != recording.responses.shape or responses.dtype.kind not in "iuf":
        raise ValueError(
            f"responses are {responses.dtype} of shape {responses.shape}; give "
            f"numbers of shape {recording.responses.shape}, one row for each trial "
            "of any tier"
        )
    if not np.isfinite(responses).all():
        raise ValueError(f"{(~np.isfinite(responses)).sum()} responses are not finite")
    _require_own_units(recording, responses)
    folder = require_path("folder", folder)
    paths = {tier: folder / name for tier, name in TRUTH_FILES.items()}
    with ExitStack() as stack:  # both files appear, or neither
        for tier, path in paths.items():
            temporary = stack.enter_context(atomic_write(path))
            write_rows(temporary, recording, tier, responses[recording.rows(tier)], "responses")
        temporary = stack.enter_context(atomic_write(folder / TRACK_FILE))
        temporary.write_text(f"{track_of(recording)}\n", encoding="ascii")
    return paths["test"], paths["final_test"]


def _require_own_units(recording, responses):
    """Raise ValueError unless responses (T, N) are the recording's own in all trials it shows."""
    shown = np.flatnonzero(np.isfinite(recording.responses).all(1))
    same = np.isclose(responses[shown], recording.responses[shown], rtol=1e-3, atol=1e-3).all(1)
    if not same.all():
        raise ValueError(
            f"the responses are not mouse {recording.mouse}'s in "
            f"{(~same).sum()} of the {len(same)} trials that show theirs; give all in "
            "its units, each neuron divided by its std, and with its trials and "
            "neurons in the same order: fill in a copy of data.mouse.responses"
        )


def grade(submission: str | Path, ground_truth: str | Path) -> Scores:
    """Grade a submission file as the 2022 benchmark did. Returns `Scores`.

    submission, ground_truth: paths of the two CSV files of one test set. Trials and neurons are
    matched by id; per-neuron scores come in ascending unit id. Raises ValueError, with every
    problem, if the two files do not cover the same trials and neurons.

    >>> data = kit.load("sample+")
    >>> live, _ = kit.submit(kit.cnn_baseline(data, channels=4), data, "graded")
    >>> truth, _ = kit.write_ground_truth(data, kit.truth("sample+").responses, "graded")
    >>> kit.grade(live, truth).per_neuron["feve"].shape
    (600,)
    """
    truth = read_ground_truth(require_path("ground_truth", ground_truth))
    return truth.scores(read_submission(require_path("submission", submission), truth))
