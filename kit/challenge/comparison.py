"""Whether one of two entries is better, said in one sentence."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kit.challenge.ground_truth import read_ground_truth, read_submission, resolve_track
from kit.challenge.tracks import RANKING_METRIC, SCORES, require_track, track_of
from kit.checks import one_line, require_int, require_path
from kit.data.recordings import Dataset
from kit.evaluation.bootstrap import EQUAL_WITHIN, RESAMPLES, compare_scores
from kit.evaluation.leaderboard import Measured
from kit.evaluation.scores import predict


@dataclass(frozen=True)
class Comparison:
    """Two entries compared on the same images. It prints as one sentence."""

    difference: float  # the first score less the second
    interval: tuple[float, float]  # 95 % of the difference, over other images
    p: float  # of a difference this large if the true one is 0; never 0
    scores: tuple[float, float]
    names: tuple[str, str]
    metric: str
    images: int
    neurons: int

    def __str__(self) -> str:
        one, two = map(one_line, self.names)
        first, second = self.scores
        low, high = self.interval
        if self.difference < 0:  # the better one first
            one, two, first, second, low, high = two, one, second, first, -high, -low
        about = (
            f"this is about other images than these {self.images}, for the same "
            f"{self.neurons} neurons, not about another training of the models"
        )
        if abs(self.difference) < EQUAL_WITHIN:
            return f"{one} and {two} have the same {self.metric}, {first:.4f}; {about}"
        verdict = f"{one} is better than {two}"
        if self.p >= 0.05:
            verdict = f"{one} and {two} cannot be told apart"
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else "p < .001"
        return (
            f"{verdict}: {self.metric} {first:.4f} and {second:.4f}, {one} higher by "
            f"{abs(self.difference):.4f} (95 % interval {low:+.4f} to {high:+.4f}, {p}); "
            f"{about}"
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
        track = track or track_of(truth.mouse)
        first, second, neurons = _score_models([a, b], truth, track)
        names = "the first model", "the second model"
    elif all(isinstance(path, str | Path) for path in (a, b, truth)):
        a, b = require_path("a", a), require_path("b", b)
        truth = require_path("truth", truth)
        known = read_ground_truth(truth)
        track = resolve_track(track, known, truth)
        first, second = (
            known.image_score(read_submission(path, known), RANKING_METRIC[track])
            for path in (a, b)
        )
        names, neurons = _names(a, b), len(known.unit_ids)
    else:
        raise ValueError(
            "give two submission files and the path of their ground truth, or two "
            f"models and a Dataset, not a {type(a).__name__}, a {type(b).__name__} "
            f"and a {type(truth).__name__}"
        )
    found = compare_scores(first, second, resamples, seed)
    return Comparison(
        found.difference,
        found.interval,
        found.p,
        (first.score, second.score),
        names,
        SCORES[RANKING_METRIC[track]],
        found.images,
        neurons,
    )


def require_settings(track: str | None, resamples: int, seed: int) -> None:
    """Raise ValueError unless the settings of a comparison are possible."""
    require_track(track)
    require_int("resamples", resamples, 100, 1_000_000)
    require_int("seed", seed, 0)


def _score_models(models, data, track):
    recording = data.mouse
    tier = "validation"
    if "test" in recording.tiers and not recording.withheld("test"):
        tier = "test"
    rows = recording.rows(tier)
    measured = Measured(recording.responses[rows], recording.image_ids[rows], recording.unit_ids)
    scores = [
        measured.image_score(predict(model, data, tier), RANKING_METRIC[track]) for model in models
    ]
    return *scores, len(recording.unit_ids)


def _names(a, b):
    """Names for two files: their own, or their folders' if these are the same."""
    if a.stem != b.stem:
        return a.stem, b.stem
    names = a.resolve().parent.name, b.resolve().parent.name
    return names if names[0] != names[1] else (str(a), str(b))
