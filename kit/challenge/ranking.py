"""Rank a folder of entries, and say which cannot be told apart from the best."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np

from kit.challenge.comparison import require_settings
from kit.challenge.entries import find_entries, truth_file
from kit.challenge.ground_truth import read_ground_truth, read_submission, resolve_track
from kit.challenge.tracks import RANKING_METRIC, SCORES, TEST_SETS, TRACKS
from kit.checks import one_line, require, require_path
from kit.evaluation import metrics
from kit.evaluation.bootstrap import RESAMPLES, Difference, compare_scores, rank_scores
from kit.evaluation.leaderboard import Row, leaderboard_row
from kit.files import progress
from kit.pages.ranking import write_page

COPY_CORRELATION = 0.999  # of predictions; entries that correlate more are flagged as copies
MARGIN = 0.02  # an entry is flagged if it beats what the image alone can give by more
MAX_ENTRIES = 200  # all pairs of them take a gigabyte
MAX_SKETCH_NEURONS = 200  # their predictions are compared to find copies
# measured by benchmarks/coverage.py, in 1,000 simulations of each case
SIMULATED = (
    "in simulations of twelve equal entries the best was told apart from another in 2.4 "
    "to 4.2 % of rankings with 100 images, and in 1.5 to 3.4 % with 60"
)


@dataclass(frozen=True, eq=False)
class RankedEntry:
    """One line of a ranking."""

    entry: str  # its name: untrusted text
    score: float  # by which the track is ranked
    interval: tuple[float, float]  # 95 % of the score, over other images
    tied_with_best: bool  # not significantly worse than the best
    rank_interval: tuple[int, int]  # the ranks that the images allow
    behind_best: Difference  # the best less this one; its `p` is for this pair alone
    p: float  # of that difference, adjusted for all pairs of entries
    single_trial: float
    to_average: float | None  # None without repeats
    feve: float | None
    flags: tuple[str, ...]  # sentences: copies, scores beyond what an image can give


@dataclass(frozen=True, eq=False)
class Ranking:
    """Entries by falling score. A sequence of `RankedEntry`; it prints as a table."""

    rows: tuple[RankedEntry, ...]
    broken: dict[str, str]  # entries that cannot be graded -> the reason
    track: str
    tier: str  # "test" (live) or "final_test"
    images: int
    neurons: int
    image_alone: float | None  # the highest score that a model of the image alone can expect
    p_pairs: np.ndarray  # (K, K) p of each pair, adjusted for all pairs; in order of rows
    truth_track: str | None = None  # what the ground truth records

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> RankedEntry:
        return self.rows[index]

    @property
    def metric(self) -> str:
        """The name of the score by which the track is ranked."""
        return SCORES[RANKING_METRIC[self.track]]

    @property
    def intervals(self) -> dict[str, tuple[float, float, float]]:
        """Entry -> score and its 95 % interval, as `kit.plots.score_intervals` draws them."""
        intervals = {}
        for row in self.rows:
            name = one_line(row.entry)
            while name in intervals:  # two may print alike
                name += "*"
            intervals[name] = (row.score, *row.interval)
        return intervals

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that explain the table."""
        notes = [
            f"{TEST_SETS[self.tier]} test set: {self.metric} over {self.images} images and "
            f"{self.neurons} neurons",
            "* cannot be told apart from the best, at a family-wise error of 5 % over all "
            "pairs, as is p; ranks are those that other images could give",
            "intervals are about other images for these neurons, not about another training; "
            "a score's interval is corrected for the bias of few images, so it need not lie "
            "around the score",
            SIMULATED,
        ]
        if self.truth_track not in (None, self.track):
            notes.insert(
                0,
                f"ranked as track {self.track}, which was asked for, though the ground "
                f"truth is of track {self.truth_track}",
            )
        if self.image_alone is not None:
            notes.append(f"the best model of the image alone can expect {self.image_alone:.3f}")
        return tuple(notes)

    def __str__(self) -> str:
        width = max([len("entry"), *(len(one_line(row.entry)) for row in self.rows)])
        lines = [f"{'ranks':>7}  {'entry':<{width}}  score  95 % interval        behind         p"]
        for row in self.rows:
            star = "*" if row.tied_with_best else " "
            ranks = "-".join(map(str, dict.fromkeys(row.rank_interval)))  # "1-3", or just "2"
            low, high = row.interval
            lines.append(
                f"{ranks:>6}{star}  {one_line(row.entry):<{width}}  {row.score:.4f} "
                f"{low:.4f} to {high:.4f} {row.behind_best.difference:8.4f}  "
                f"{row.p:8.2g}"
            )
            lines += [f"{'':>9}! {flag}" for flag in row.flags]
        sentences = [f"not ranked: {reason}" for reason in _reasons(self.broken)]
        lines += [fill(text, 100, subsequent_indent="  ") for text in (*sentences, *self.notes)]
        return "\n".join(lines)

    __repr__ = __str__

    def page(self, path: str | Path, reload: float | None = None) -> Path:
        """Write the ranking as one self-contained HTML page. Returns its path.

        reload: seconds after which a browser loads it again; None for a page that stays.
        """
        return write_page(path, self, TRACKS[self.track], TEST_SETS[self.tier], reload)


def rank(
    folder: str | Path,
    truth: str | Path,
    track: str | None = None,
    final: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ranking:
    """Rank all entries in a folder, and say which cannot be told apart from the best.

    folder: one folder for each entry, with the official files in it, or one CSV file for each.
    truth: the folder of the ground truth. Entries are ranked on its live test set, or if `final` is
    true on the final one, which the organiser does once. track: "sensorium" ranks by correlation to
    average, "sensorium+" by single-trial correlation; None takes what track.txt beside the truth
    says. An entry that cannot be graded stands in `.broken`, with the reason. Raises ValueError if
    no entry can be ranked, if there are more than 200, or if no track is given or recorded.

    >>> data = kit.load("sample+")
    >>> for name in ("cnn", "ln"):
    ...     paths = kit.submit(kit.pretrained(f"sample+-{name}"), data, f"entries/{name}")
    >>> paths = kit.write_ground_truth(data, kit.truth("sample+").responses, "truth")
    >>> ranking = kit.rank("entries", "truth")
    >>> [row.entry for row in ranking], [row.tied_with_best for row in ranking]
    (['cnn', 'ln'], [True, False])
    """
    require_settings(track, resamples, seed)
    tier = "final_test" if require("final", final, bool) else "test"
    entries, broken = find_entries(require_path("folder", folder), tier)
    path = truth_file(require_path("truth", truth), tier)
    measured = read_ground_truth(path)
    track = resolve_track(track, measured, path)
    if len(entries) > MAX_ENTRIES:
        raise ValueError(
            f"{folder} holds {len(entries):,} entries, and at most {MAX_ENTRIES} can "
            "be compared with each other; keep the best of each participant"
        )
    graded, refused = _grade_entries(entries, measured, RANKING_METRIC[track], resamples, seed)
    broken |= refused
    if not graded:
        reasons = _reasons(broken) or ["it holds none; put a folder or a CSV file for each there"]
        raise ValueError(f"no entry in {folder} can be ranked: {_first_three(reasons, '; ')}")
    ranks = rank_scores([entry.row.ranked_by for entry in graded], resamples, seed)
    fev = measured.repeats.get("fev")  # as the scores of all entries use it
    alone = None if fev is None else _expected_alone(fev, measured.images, track)
    bound = alone if track == "sensorium" else None  # with behaviour a model may exceed it
    return Ranking(
        rows=_rank_entries(graded, ranks, bound, resamples, seed),
        broken=broken,
        track=track,
        tier=tier,
        images=len(set(measured.images)),
        neurons=len(measured.unit_ids),
        image_alone=alone,
        p_pairs=ranks.adjusted,
        truth_track=measured.track,
    )


class _Graded(NamedTuple):
    """An entry's scores, and some of its predictions to find copies by."""

    name: str
    row: Row
    sketch: np.ndarray  # (T, at most MAX_SKETCH_NEURONS)


def _grade_entries(entries, measured, metric, resamples, seed):
    """The graded entries by falling score; name -> why another cannot be graded."""
    graded = []
    broken = {}
    for name, path in progress(entries.items(), desc="grading", unit="entry"):
        try:
            predictions = read_submission(path, measured)
        except (ValueError, OSError, MemoryError) as problem:
            # without the path, which would show the organiser's folders
            reason = str(problem).replace(str(path), path.name)
            broken[name] = reason or "it needs more memory than there is"
            continue
        row = leaderboard_row(predictions, measured, metric, resamples, seed)
        graded.append(_Graded(name, row, _sketch(predictions)))
    return sorted(graded, key=lambda entry: -entry.row.ranked_by.score), broken


def _rank_entries(graded, ranks, bound, resamples, seed):
    """The `RankedEntry`s of graded ones, by falling score; a score above the bound is flagged."""
    rows = []
    for index, entry in enumerate(graded):
        score = entry.row.ranked_by
        scores = entry.row.scores
        rows.append(
            RankedEntry(
                entry=entry.name,
                score=score.score,
                interval=entry.row.interval,
                tied_with_best=bool(ranks.tied[index]),
                rank_interval=tuple(ranks.rank_interval[index].tolist()),
                behind_best=compare_scores(graded[0].row.ranked_by, score, resamples, seed),
                p=float(ranks.adjusted[0, index]),
                single_trial=scores.single_trial,
                to_average=scores.to_average,
                feve=scores.feve,
                flags=tuple(_flags(entry, graded, bound)),
            )
        )
    return tuple(rows)


def image_alone(responses: np.ndarray, images: np.ndarray, track: str) -> float | None:
    """The score that a perfect model of the image alone can expect; None without repeats.

    responses (T, N), images (T,) ids. Single trials: the root of FEV. To average: CC_max of Schoppe
    et al. (Frontiers in Computational Neuroscience 2016), the root of the signal's share in the
    variance of the mean responses.
    """
    if len(np.unique(images)) == len(images):
        return None
    return _expected_alone(metrics.fev(responses, images), images, track)


def _expected_alone(fev, images, track):
    """`image_alone` for neurons of this FEV (N,) and the images (T,) of all trials."""
    fev = fev.clip(min=0)  # the signal's share in single trials
    if track == "sensorium+":
        return float(np.sqrt(fev).mean())
    _, counts = np.unique(images, return_counts=True)
    noise = (1 - fev) * np.mean(1 / counts)  # left after averaging over the repeats
    return float(np.sqrt(metrics.divide(fev, fev + noise)).mean())


def _sketch(predictions):
    """Predictions (T, n) of some neurons, of mean 0 and norm 1, to find copies."""
    step = -(-predictions.shape[1] // MAX_SKETCH_NEURONS)  # rounded up
    sketch = predictions[:, ::step] - predictions[:, ::step].mean(0)
    norm = np.linalg.norm(sketch, axis=0)
    return (sketch / np.where(norm > 0, norm, 1)).astype(np.float32)


def _flags(entry, graded, bound):
    """Sentences about an entry that looks like others, or scores more than the bound."""
    flags = []
    score = entry.row.ranked_by.score
    copies = [
        one_line(rival.name)
        for rival in graded
        if rival is not entry and _typical_correlation(entry, rival) > COPY_CORRELATION
    ]
    if copies:
        flags.append(
            f"its predictions correlate with {_first_three(copies, ', ')} above {COPY_CORRELATION}"
        )
    if bound is not None and score > bound + MARGIN:
        flags.append(f"it scores {score:.3f}, but the image alone can give about {bound:.3f}")
    return flags


def _typical_correlation(entry_a, entry_b):
    """The median over neurons of the correlation of two entries' predictions."""
    return np.median((entry_a.sketch * entry_b.sketch).sum(0))


def _first_three(texts, separator):
    return separator.join(texts[:3] + ["…"] * (len(texts) > 3))


def _reasons(broken):
    """A sentence for each entry that cannot be graded."""
    return [f"{one_line(name)}: {one_line(reason, 500)}" for name, reason in broken.items()]
