"""Grade a submission, and write the ground truth that it is graded against."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import read_rows, write_rows
from kit.challenge.matching import find_problems, match_rows
from kit.challenge.tracks import TRACK_FILE, TRACKS, TRUTH_FILES, track_of
from kit.data.recordings import Dataset, require_dataset
from kit.evaluation.scores import Scores, compute_scores
from kit.files import atomic_write
from kit.report import require_path


def write_ground_truth(data: Dataset, responses: np.ndarray,
                       folder: str | Path) -> tuple[Path, Path]:
    """Write the two ground-truth files of a recording whose responses you know, and its track.

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
        raise ValueError(f"responses are {responses.dtype} of shape {responses.shape}; give "
                         f"numbers of shape {recording.responses.shape}, one row for each trial "
                         "of any tier")
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
    return tuple(paths.values())


def _require_own_units(recording, responses):
    """Raise ValueError unless responses (T, N) are the recording's own in all trials it shows."""
    shown = np.flatnonzero(np.isfinite(recording.responses).all(1))
    same = np.isclose(responses[shown], recording.responses[shown], rtol=1e-3, atol=1e-3).all(1)
    if not same.all():
        raise ValueError(f"the responses differ from those of mouse {recording.mouse} in "
                         f"{(~same).sum()} of the {len(same)} trials that show theirs; give all in "
                         "its units, each neuron divided by its std, and with its trials and "
                         "neurons in the same order: fill in a copy of data.mouse.responses")


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
    predictions = read_submission(require_path("submission", submission), truth)
    return compute_scores(predictions, truth.responses, truth.images, truth.unit_ids)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """One ground-truth file: what submissions are graded against. T trials, N neurons."""

    trials: list[str]      # (T,) ids
    images: list[str]      # (T,) ids: repeats of an image share it
    unit_ids: list[int]    # (N,) ascending
    responses: np.ndarray  # (T, N) divided by each neuron's std
    track: str | None      # None if no file beside it says it


def resolve_track(track: str | None, truth: GroundTruth, path: str | Path) -> str:
    """The track that is given, or else the one that the ground truth at `path` records.

    Raises ValueError if there is neither: another track would rank by another score.
    """
    if (track or truth.track) is None:
        raise ValueError(f"no {TRACK_FILE} beside {path} says what its track is; give "
                         'track="sensorium" or track="sensorium+", in a shell --track')
    return track or truth.track


def _read_track(path):
    """The track of a ground truth, or None if there is no file. Raises ValueError if unclear."""
    path = Path(path).with_name(TRACK_FILE)
    if not path.is_file():
        return None
    track = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    if track not in TRACKS:
        raise ValueError(f"{path} says {track[:40]!r}; write one of {', '.join(TRACKS)} into it, "
                         "or remove it and give the track yourself")
    return track


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Read a ground-truth file. Raises ValueError, with every problem, if it is not whole."""
    rows = read_rows(path, "responses")
    trials = [row.trial for row in rows if row.trial]
    images = [row.image for row in rows if row.trial]
    listed = {id(row.neurons): row.neurons for row in rows}  # rows with the same text share it
    unit_ids = np.unique(np.concatenate([*listed.values(), np.empty(0, np.int64)])).tolist()
    _require_no_problems(path, find_problems(rows, trials, images, unit_ids))
    if not trials:
        raise ValueError(f"{path} holds no trials to grade against")
    if not unit_ids:
        raise ValueError(f"{path} lists no neurons to grade")
    return GroundTruth(trials, images, unit_ids, match_rows(rows, trials), _read_track(path))


def read_submission(path: str | Path, truth: GroundTruth) -> np.ndarray:
    """The predictions (T, N) of a submission file, in the order of the truth.

    Raises ValueError, with every problem, if it does not cover the same trials and neurons.
    """
    rows = read_rows(path, "prediction")
    problems = find_problems(rows, truth.trials, truth.images, truth.unit_ids)
    _require_no_problems(path, problems)
    return match_rows(rows, truth.trials)


def _require_no_problems(path, problems):
    if problems:
        raise ValueError(f"{path} cannot be graded: " + "; ".join(problems))
