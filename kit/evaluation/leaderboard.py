"""An entry's scores: the same for a grade, a ranking, a bundle and the platform that hosts one.

This file imports numpy and the two beside it, so the scoring program of a bundle carries it.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kit.evaluation import metrics
from kit.evaluation.bootstrap import IMAGE_SCORES, RESAMPLES, ImageScore, interval

MAX_SCORE = 1e6  # the hosting platform's table holds no number of more than ten digits


@dataclass(frozen=True)
class Scores:
    """The three scores of the benchmark, a bound on them, and the scores of every neuron.

    A score that cannot be computed is None; printing the scores says why.
    """

    single_trial: float | None  # correlation over single trials, mean over neurons
    to_average: float | None  # correlation over images, after averaging over repeats
    feve: float | None  # fraction of explainable variance explained, neurons of FEV >= .15;
    # 1 for the best model of the image alone, behaviour can give more
    ceiling: float | None  # single-trial correlation of the best model of the image alone
    per_neuron: dict[str, np.ndarray] = field(repr=False)  # name -> (N,), in order of "unit_ids"
    n_left_out: int = 0  # neurons left out of feve, FEV < .15
    reason: str = "needs repeats"

    @classmethod
    def of(cls, per_neuron: dict[str, np.ndarray]) -> "Scores":
        """The means over neurons of scores (N,) by name; without "fev" there were no repeats."""
        single_trial = float(per_neuron["single_trial"].mean())
        if "fev" not in per_neuron:
            return cls(single_trial, None, None, None, per_neuron)
        reliable = per_neuron["fev"] >= metrics.FEV_THRESHOLD
        return cls(
            single_trial=single_trial,
            to_average=float(per_neuron["to_average"].mean()),
            feve=float(per_neuron["feve"][reliable].mean()) if reliable.any() else None,
            # predicting each image's mean response would score sqrt(FEV) on single trials
            ceiling=float(np.sqrt(per_neuron["fev"].clip(min=0)).mean()),
            per_neuron=per_neuron,
            n_left_out=int((~reliable).sum()),
            reason="needs a neuron with FEV >= .15",
        )

    def __str__(self) -> str:
        left_out = beyond = ""
        if self.feve is not None:
            beyond = "  (a model that also sees behaviour can exceed this, and a FEVE of 1)"
            left_out = (
                "  (1 for the best model of the image alone; "
                f"{self.n_left_out} of {len(self.per_neuron['fev'])} neurons left out, "
                f"FEV < {metrics.FEV_THRESHOLD})"
            )
        lines = []
        for name, value, note in (
            ("single-trial correlation", self.single_trial, ""),
            ("correlation to average", self.to_average, ""),
            ("FEVE", self.feve, left_out),
            ("best model of the image alone, single-trial", self.ceiling, beyond),
        ):
            number = f"     - ({self.reason})" if value is None else f"{value:6.3f}"
            lines.append(f"{name:<43} {number}{note}")
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class Measured:
    """The measured responses of T trials and N neurons, which predictions are compared with."""

    responses: np.ndarray  # (T, N) divided by each neuron's std
    images: np.ndarray  # (T,) ids: repeats of an image share it
    unit_ids: np.ndarray  # (N,)

    @cached_property
    def repeats(self) -> dict[str, np.ndarray]:
        """Each neuron's "total" variance, the "noise" in it, "fev" and "oracle", (N,), by name.

        Empty without repeats.
        """
        if len(np.unique(self.images)) == len(self.images):
            return {}
        total, noise = metrics.variances(self.responses, self.images)
        return {
            "total": total,
            "noise": noise,
            "fev": metrics.divide(total - noise, total),
            "oracle": metrics.oracle(self.responses, self.images),
        }

    def scores(self, predictions: np.ndarray) -> Scores:
        """All scores of predictions (T, N). Without repeats there is only the single-trial one."""
        pair = predictions, self.responses
        per_neuron = {
            "unit_ids": np.asarray(self.unit_ids),
            "single_trial": metrics.correlation(*pair),
        }
        if self.repeats:
            repeats = self.repeats
            per_neuron |= {
                "to_average": metrics.correlation_to_average(*pair, self.images),
                "feve": metrics.explained_share(*pair, repeats["total"], repeats["noise"]),
                "fev": repeats["fev"],
                "oracle": repeats["oracle"],
            }
        return Scores.of(per_neuron)

    def image_score(self, predictions: np.ndarray, metric: str) -> ImageScore:
        """One score, "single_trial" or "to_average", with the pull of each image on it."""
        return IMAGE_SCORES[metric](predictions, self.responses, self.images)


@dataclass(frozen=True, eq=False)
class Row:
    """An entry's row on a leaderboard."""

    scores: Scores
    ranked_by: ImageScore  # the score that decides, with the pull of each image on it
    interval: tuple[float, float]  # 95 % of that score, over other images

    def columns(self) -> dict[str, float]:
        """The numbers of the hosting platform's table. ValueError for what it cannot show."""
        names = ("single_trial", "to_average", "feve")
        columns = {name: getattr(self.scores, name) for name in names}
        columns["low"], columns["high"] = self.interval
        for name, value in columns.items():
            if value is None:
                raise ValueError(f"{name} cannot be computed: it {self.scores.reason}")
            if not abs(value) < MAX_SCORE:  # so neither NaN nor infinity
                raise ValueError(
                    f"the score {name} is {value:.3g}, which the leaderboard cannot show; give "
                    "predictions in units of each neuron's std"
                )
        return columns


def leaderboard_row(
    predictions: np.ndarray,
    measured: Measured,
    metric: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Row:
    """The row of predictions (T, N). metric: "single_trial" or "to_average", which decides."""
    ranked_by = measured.image_score(predictions, metric)
    return Row(measured.scores(predictions), ranked_by, interval(ranked_by, resamples, seed))


def compute_scores(
    predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray, unit_ids: np.ndarray
) -> Scores:
    """Compute all scores of predictions (T, N) for responses (T, N), in the same units.

    image_ids: (T,); unit_ids: (N,). Without repeats there is only the single-trial score.

    >>> from kit.evaluation import compute_scores
    >>> responses = np.array([[1], [1], [2], [2]])
    >>> compute_scores(responses, responses, image_ids=[7, 7, 8, 8], unit_ids=[3]).feve
    1.0
    """
    return Measured(responses, image_ids, unit_ids).scores(predictions)
