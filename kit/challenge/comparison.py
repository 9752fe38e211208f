"""Whether one of two entries is better, said in one sentence."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kit.challenge.ground_truth import read_ground_truth, read_submission, resolve_track
from kit.challenge.tracks import RANKING_METRIC, SCORES, require_track, track_of
from kit.checks import one_line, require_int, require_path
from kit.data.recordings import Dataset
from kit.evaluation.bootstrap import EQUAL_WITHIN, RESAMPLES, Difference, compare_scores
from kit.evaluation.leaderboard import Measured
from kit.evaluation.scores import predict


@dataclass(frozen=True)
class Comparison(Difference):
    """Two entries compared on the same images. It prints as one sentence."""

    scores: tuple[float, float]
    names: tuple[str, str]
    metric: str
    neurons: int

    def __str__(self) -> str:
        names, (low, high) = [one_line(name) for name in self.names], self.interval
        scores = list(self.scores)
        if self.difference < 0:  # the better one first
            names.reverse()
            scores.reverse()
            low, high = -high, -low
        about = (
            f"this is about other images than these {self.images}, for the same "
            f"{self.neurons} neurons, not about another training of the models"
        )
        if abs(self.difference) < EQUAL_WITHIN:
            return f"{' and '.join(names)} have the same {self.metric}, {scores[0]:.4f}; {about}"
        verdict = " is better than ".join(names)
        if self.p >= 0.05:
            verdict = f"{' and '.join(names)} cannot be told apart"
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else "p < .001"
        return (
            f"{verdict}: {self.metric} {scores[0]:.4f} and {scores[1]:.4f}, {names[0]} higher by "
            f"{abs(self.difference):.4f} (95 % interval {low:+.4f} to {high:+.4f}, {p}); {about}"
        )

    __repr__ = __str__


def compare(
    a: str | Path | nn.Module,
    b: str | Path | nn.Module,
    truth: str | Path | Dataset,
    track: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Say whether one of two entries is better, by a paired bootstrap over images.

    a, b: two submission files and truth their ground-truth file; or two models and truth a
    `Dataset` of one mouse with known responses: its test tier, or else its validation tier.
    track: "sensorium" compares the correlation to average, "sensorium+" the single-trial
    correlation, as the tracks are ranked; None takes the track of the data or of the ground truth.
    Raises ValueError for files that cannot be graded, for models that do not fit the data, for
    fewer than three images, and if neither you nor track.txt beside the truth tell the track.

    >>> data = kit.load("sample+")
    >>> one, two = kit.pretrained("sample+-cnn"), kit.pretrained("sample+-ln")
    >>> kit.compare(one, two, data).p < 0.05
    True
    """
    require_settings(track, resamples, seed)
    if isinstance(truth, Dataset):
        names = "the first model", "the second model"
        track = track or track_of(truth.mouse)
        measured, predictions = _predict([a, b], truth)
    else:
        paths = require_path("a", a), require_path("b", b)
        names = _names(*paths)
        truth = require_path("truth", truth)
        measured = read_ground_truth(truth)
        track = resolve_track(track, measured, truth)
        predictions = [read_submission(path, measured) for path in paths]
    metric = RANKING_METRIC[track]
    score_a, score_b = (measured.image_score(values, metric) for values in predictions)
    difference = compare_scores(score_a, score_b, resamples, seed)
    return Comparison(
        **vars(difference),
        scores=(score_a.score, score_b.score),
        names=names,
        metric=SCORES[metric],
        neurons=len(measured.unit_ids),
    )


def require_settings(track: str | None, resamples: int, seed: int) -> None:
    """Raise ValueError unless the settings of a comparison are possible."""
    require_track(track)
    require_int("resamples", resamples, 100, 1_000_000)
    require_int("seed", seed, 0)


def _predict(models, data):
    """The measured test tier, or validation tier if that is withheld, and models' predictions."""
    recording = data.mouse
    tested = "test" in recording.tiers and not recording.withheld("test")
    tier = "test" if tested else "validation"
    rows = recording.rows(tier)
    measured = Measured(recording.responses[rows], recording.image_ids[rows], recording.unit_ids)
    return measured, [predict(model, data, tier) for model in models]


def _names(path_a, path_b):
    """Names for two files: their own, or their folders' if these are the same."""
    if path_a.stem != path_b.stem:
        return path_a.stem, path_b.stem
    folder_a, folder_b = path_a.resolve().parent.name, path_b.resolve().parent.name
    return (folder_a, folder_b) if folder_a != folder_b else (str(path_a), str(path_b))
