"""The two tracks and the two test sets of a challenge: what they are called, and their files.

This file and what it imports need numpy alone, so the scoring program of a bundle carries it.
"""

from typing import Any

from kit.checks import require

TRACKS = {"sensorium": "Sensorium", "sensorium+": "Sensorium+"}
RANKING_METRIC = {"sensorium": "to_average", "sensorium+": "single_trial"}  # the score that decides
SCORES = {
    "single_trial": "single-trial correlation",
    "to_average": "correlation to average",
    "feve": "FEVE",
}
TEST_SETS = {"test": "live", "final_test": "final"}  # tier -> what participants call it
SUBMISSION_FILES = {
    "test": "submission_file_live_test.csv",
    "final_test": "submission_file_final_test.csv",
}
TRUTH_FILES = {
    "test": "ground_truth_file_test.csv",
    "final_test": "ground_truth_file_final_test.csv",
}
TRACK_FILE = "track.txt"  # beside the ground truth: the name of its track


def require_track(track: object) -> None:
    """Raise ValueError unless it is the name of a track, or None: the track of data or truth."""
    require("track", track, str | None, tuple(TRACKS))


def track_of(recording: Any) -> str:
    """The track of a `Recording`: Sensorium+ shows behaviour."""
    return "sensorium" if recording.behavior is None else "sensorium+"
