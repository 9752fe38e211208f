"""The entries of a ranking, graded, and what to point out: copies, scores beyond an image's."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kit.challenge.ground_truth import GroundTruth, read_submission
from kit.challenge.ranking.entries import Settings, open_entry
from kit.challenge.tracks import RANKING_METRIC
from kit.checks import one_line
from kit.evaluation import metrics
from kit.evaluation.leaderboard import Row, leaderboard_row
from kit.files import file_sha256, progress

COPY_CORRELATION = 0.999  # of predictions; entries that correlate more are flagged as copies
MARGIN = 0.02  # an entry is flagged if it beats what the image alone can give by more
MAX_SKETCH_NEURONS = 200  # their predictions are compared to find copies


class Graded(NamedTuple):
    """An entry's scores, and some of its predictions to find copies by."""

    name: str
    path: Path
    refused: int  # later files of the same participant, which cannot be graded
    sha256: str
    row: Row
    sketch: np.ndarray  # (T, at most MAX_SKETCH_NEURONS)


def grade_entries(
    entries: Mapping[str, list[Path]], measured: GroundTruth, settings: Settings
) -> tuple[list[Graded], dict[str, str]]:
    """The graded entries by falling score; name -> why another cannot be graded."""
    graded = []
    broken = {}
    for name, paths in progress(entries.items(), desc="grading", unit="entry"):
        for refused, path in enumerate(paths):
            try:
                graded.append(_grade_entry(name, path, refused, measured, settings))
                break
            except (ValueError, OSError, MemoryError) as problem:
                # without the path, which would show the organiser's folders
                reason = str(problem).replace(str(path), path.name)
                broken[name if len(paths) == 1 else path.name] = (
                    reason or "it needs more memory than there is"
                )
    # scores that differ in the last digits alone, as those of copies may, are in order of names
    return sorted(graded, key=lambda e: (-round(e.row.ranked_by.score, 9), e.name)), broken


def _grade_entry(name, path, refused, measured, settings):
    with open_entry(path, settings.tier) as file:
        try:
            predictions = read_submission(file, measured)
        except (ValueError, OSError) as problem:
            raise ValueError(str(problem).replace(str(file), file.name)) from problem
        sha256 = file_sha256(file)
    metric = RANKING_METRIC[settings.track]
    row = leaderboard_row(predictions, measured, metric, settings.resamples, settings.seed)
    return Graded(name, path, refused, sha256, row, sketch(predictions))


# ---- flags ----


def image_alone(responses: np.ndarray, images: np.ndarray, track: str) -> float | None:
    """The score that a perfect model of the image alone can expect; None without repeats.

    responses (T, N), images (T,) ids. Single trials: the root of FEV. To average: CC_max of Schoppe
    et al. (Frontiers in Computational Neuroscience 2016), the root of the signal's share in the
    variance of the mean responses.
    """
    if len(np.unique(images)) == len(images):
        return None
    return expected_alone(metrics.fev(responses, images), images, track)


def expected_alone(fev: np.ndarray, images: np.ndarray, track: str) -> float:
    """`image_alone` for neurons of this FEV (N,) and the images (T,) of all trials."""
    fev = fev.clip(min=0)  # the signal's share in single trials
    if track == "sensorium+":
        return float(np.sqrt(fev).mean())
    _, counts = np.unique(images, return_counts=True)
    noise = (1 - fev) * np.mean(1 / counts)  # left after averaging over the repeats
    return float(np.sqrt(metrics.divide(fev, fev + noise)).mean())


def sketch(predictions: np.ndarray) -> np.ndarray:
    """Predictions (T, n) of some neurons, of mean 0 and norm 1, to find copies."""
    step = -(-predictions.shape[1] // MAX_SKETCH_NEURONS)  # rounded up
    some = predictions[:, ::step] - predictions[:, ::step].mean(0)
    norm = np.linalg.norm(some, axis=0)
    return (some / np.where(norm > 0, norm, 1)).astype(np.float32)


def find_flags(entry: Graded, graded: list[Graded], bound: float | None) -> list[str]:
    """Sentences about a graded entry that looks like others, or scores more than the bound."""
    flags = []
    score = entry.row.ranked_by.score
    copies = [
        one_line(rival.name)
        for rival in graded
        if rival is not entry and _typical_correlation(entry, rival) > COPY_CORRELATION
    ]
    if copies:
        flags.append(
            f"its predictions correlate with {first_three(copies, ', ')} above {COPY_CORRELATION}"
        )
    if bound is not None and score > bound + MARGIN:
        flags.append(f"it scores {score:.3f}, but the image alone can give about {bound:.3f}")
    return flags


def _typical_correlation(entry_a, entry_b):
    """The median over neurons of the correlation of two entries' predictions."""
    return np.median((entry_a.sketch * entry_b.sketch).sum(0))


def first_three(texts: list[str], separator: str) -> str:
    """The first of some texts, for a sentence."""
    return separator.join(texts[:3] + ["…"] * (len(texts) > 3))
