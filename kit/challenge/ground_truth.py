"""Read a ground truth, and the submissions that are graded against it.

This file and what it imports need numpy alone, so the scoring program of a bundle carries them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.challenge.matching import find_problems, match_rows
from kit.challenge.reader import read_rows
from kit.challenge.tracks import TRACK_FILE, TRACKS
from kit.evaluation.leaderboard import Measured


@dataclass(frozen=True, eq=False)
class GroundTruth(Measured):
    """One ground-truth file: what submissions are graded against. Unit ids are ascending."""

    trials: list[str]  # (T,) ids
    track: str | None  # None if no file beside it says it


def resolve_track(track: str | None, truth: GroundTruth, path: str | Path) -> str:
    """The track that is given, or else the one that the ground truth at `path` records.

    Raises ValueError if there is neither: another track would rank by another score.
    """
    track = track or truth.track
    if track is None:
        raise ValueError(
            f"no {TRACK_FILE} beside {path} says what its track is; give "
            'track="sensorium" or track="sensorium+", in a shell --track'
        )
    return track


def _read_track(path):
    """The track of a ground truth, or None if there is no file. Raises ValueError if unclear."""
    path = Path(path).with_name(TRACK_FILE)
    if not path.is_file():
        return None
    track = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    if track not in TRACKS:
        raise ValueError(f"{path} says {track[:40]!r}; write one of {', '.join(TRACKS)} into it")
    return track


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Read a ground-truth file. Raises ValueError, with every problem, if it is not whole."""
    rows = read_rows(path, "responses")
    trials = [row.trial for row in rows if row.trial]
    images = [row.image for row in rows if row.trial]
    longest = max((row.neurons for row in rows), key=len, default=np.empty(0, np.int64))
    unit_ids = np.unique(longest)
    responses = _match(path, rows, trials, images, unit_ids)
    if not responses.size:
        raise ValueError(f"{path} holds no responses to grade against")
    return GroundTruth(responses, np.array(images), unit_ids, trials, _read_track(path))


def read_submission(path: str | Path, truth: GroundTruth) -> np.ndarray:
    """The predictions (T, N) of a submission file, in the order of the truth.

    Raises ValueError, with every problem, if it does not cover the same trials and neurons.
    """
    rows = read_rows(path, "prediction")
    return _match(path, rows, truth.trials, truth.images, truth.unit_ids)


def _match(path, rows, trials, images, unit_ids):
    """The values (T, N) of rows. Raises ValueError for their problems."""
    problems = find_problems(rows, trials, images, unit_ids)
    if problems:
        raise ValueError(f"{path} cannot be graded: {'; '.join(problems)}")
    return match_rows(rows, trials)
