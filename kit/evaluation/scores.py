"""Predictions and scores of a model."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from kit.data.recordings import Dataset, Recording, require_dataset
from kit.evaluation import metrics
from kit.models.layers import eval_mode
from kit.threads import fastest_threads


@dataclass(frozen=True)
class Scores:
    """The three scores of the benchmark, a bound on them, and the scores of every neuron.

    A score that cannot be computed is None; printing the scores says why.
    """

    single_trial: float | None  # correlation over single trials, mean over neurons
    to_average: float | None    # correlation over images, after averaging over repeats
    feve: float | None          # fraction of explainable variance explained, neurons of FEV >= .15;
                                # 1 for the best model of the image alone, behaviour can give more
    ceiling: float | None       # single-trial correlation of the best model of the image alone
    per_neuron: dict[str, np.ndarray] = field(repr=False)  # name -> (N,), in order of "unit_ids"
    n_left_out: int = 0         # neurons left out of feve, FEV < .15
    reason: str = "needs repeats"

    def __str__(self) -> str:
        left_out = beyond = ""
        if self.feve is not None:
            beyond = "  (its FEVE is 1; a model that also sees behaviour can exceed both)"
            left_out = (f"  ({self.n_left_out} of {len(self.per_neuron['fev'])} neurons left out, "
                        f"FEV < {metrics.FEV_THRESHOLD})")
        return "\n".join([
            self._line("single-trial correlation", self.single_trial),
            self._line("correlation to average", self.to_average),
            self._line("FEVE", self.feve) + left_out,
            self._line("best model of the image alone, single-trial", self.ceiling) + beyond])

    __repr__ = __str__

    def _line(self, name, value):
        number = f"     - ({self.reason})" if value is None else f"{value:6.3f}"
        return f"{name:<43} {number}"


def compute_scores(predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray,
                   unit_ids: np.ndarray) -> Scores:
    """Compute all scores of predictions (T, N) for responses (T, N), in the same units.

    image_ids: (T,); unit_ids: (N,). Without repeats there is only the single-trial score.

    >>> from kit.evaluation import compute_scores
    >>> responses = np.array([[1], [1], [2], [2]])
    >>> compute_scores(responses, responses, image_ids=[7, 7, 8, 8], unit_ids=[3]).feve
    1.0
    """
    per_neuron = {"unit_ids": np.asarray(unit_ids),
                  "single_trial": metrics.correlation(predictions, responses)}
    if len(np.unique(image_ids)) < len(image_ids):
        per_neuron |= {
            "to_average": metrics.correlation_to_average(predictions, responses, image_ids),
            "fev": metrics.fev(responses, image_ids),
            "feve": metrics.feve(predictions, responses, image_ids),
            "oracle": metrics.oracle(responses, image_ids)}
    return _mean_scores(per_neuron)


def _mean_scores(per_neuron):
    """`Scores` with the means over neurons."""
    single_trial = float(per_neuron["single_trial"].mean())
    if "fev" not in per_neuron:
        return Scores(single_trial, None, None, None, per_neuron)
    fev = per_neuron["fev"]
    reliable = fev >= metrics.FEV_THRESHOLD
    return Scores(
        single_trial=single_trial,
        to_average=float(per_neuron["to_average"].mean()),
        feve=float(per_neuron["feve"][reliable].mean()) if reliable.any() else None,
        # predicting each image's mean response would score sqrt(FEV) on single trials
        ceiling=float(np.sqrt(fev.clip(min=0)).mean()),
        per_neuron=per_neuron,
        n_left_out=int((~reliable).sum()),
        reason="needs a neuron with FEV >= .15")


def predict(model: nn.Module, data: Dataset, tier: str, mouse: str | None = None) -> np.ndarray:
    """Predict the responses of every trial of a tier.

    mouse: which of the mice in `data`; by default the only one. Returns (T, N) float32, in units of
    each neuron's std. Raises ValueError if the data do not fit the model or have no such tier.

    >>> data = kit.load("sample+")
    >>> model = kit.cnn_baseline(data, channels=4)
    >>> kit.predict(model, data, "validation").shape == (200, 600)
    True
    """
    recording = require_dataset(data).mouse if mouse is None else require_dataset(data)[mouse]
    if not (isinstance(model, nn.Module) and hasattr(model, "validate_data")):
        raise ValueError(f"a model is needed, not a {type(model).__name__}; build one with "
                         "kit.cnn_baseline(data), or open one with kit.load_model(path)")
    model.validate_data(Dataset([recording]))
    return predict_unchecked(model, recording, tier)


def predict_unchecked(model: nn.Module, recording: Recording, tier: str) -> np.ndarray:
    """Predict like `predict`, for a model that is known to fit the recording.

    Returns (T, N) float32. The model is in eval mode for the call and left as it was.
    """
    with eval_mode(model), torch.inference_mode(), fastest_threads():
        batches = [model(batch, recording.mouse).float().cpu().numpy()
                   for batch in recording.batches(tier, 64)]  # larger ones leave the cache
    return np.concatenate(batches)


def score(model: nn.Module, data: Dataset, tier: str) -> Scores:
    """Score a model on a tier of all mice in `data`. Returns `Scores`, the means over neurons.

    Neurons of several mice are pooled. tier: "train" or "validation", and the test tiers where
    their responses are known; only these repeat images, so only these have the scores that need
    repeats. Raises ValueError if the data do not fit the model, or if the responses are withheld.

    >>> data = kit.load("sample+")
    >>> scores = kit.score(kit.cnn_baseline(data, channels=4), data, "validation")
    >>> scores.per_neuron["single_trial"].shape == data.mouse.unit_ids.shape
    True
    """
    results = []
    for mouse, recording in require_dataset(data).items():
        rows = recording.rows(tier)
        if recording.withheld(tier):
            raise ValueError(f"the responses of tier {tier!r} of mouse {mouse} are withheld: write "
                             'a submission with kit.submit, or score "validation"')
        predictions = predict(model, data, tier, mouse)
        results.append(compute_scores(predictions, recording.responses[rows],
                                      recording.image_ids[rows], recording.unit_ids).per_neuron)
    names = set.intersection(*map(set, results))  # a mouse without repeats has fewer scores
    return _mean_scores({name: np.concatenate([result[name] for result in results])
                         for name in results[0] if name in names})
