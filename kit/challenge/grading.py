"""Grade a submission, and write the ground truth that it is graded against."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import write_rows
from kit.challenge.ground_truth import read_ground_truth, read_submission
from kit.challenge.tracks import TRACK_FILE, TRUTH_FILES, track_of
from kit.checks import require_array, require_path
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
    recording = require_dataset(data).mouse
    responses = require_array("responses", responses, recording.responses.shape)
    _require_own_responses(recording, responses)
    folder = require_path("folder", folder)
    with ExitStack() as stack:  # all files appear, or none
        for tier, name in TRUTH_FILES.items():
            temporary = stack.enter_context(atomic_write(folder / name))
            write_rows(temporary, recording, tier, responses[recording.rows(tier)], "responses")
        temporary = stack.enter_context(atomic_write(folder / TRACK_FILE))
        temporary.write_text(f"{track_of(recording)}\n", encoding="ascii")
    return folder / TRUTH_FILES["test"], folder / TRUTH_FILES["final_test"]


def _require_own_responses(recording, responses):
    """Raise ValueError unless responses (T, N) are finite and, where it shows its own, the same."""
    same = np.isclose(responses, recording.responses, rtol=1e-3, atol=1e-3)
    right = np.where(np.isfinite(recording.responses), same, np.isfinite(responses)).all(1)  # (T,)
    if not right.all():
        raise ValueError(
            f"the responses are not finite, or not mouse {recording.mouse}'s, in "
            f"{(~right).sum()} of the {len(right)} trials; give all in "
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
