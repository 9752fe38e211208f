"""Predictions and scores of a model."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from kit.data.recordings import Dataset, require_dataset
from kit.evaluation import metrics
from kit.models.layers import eval_mode


@dataclass(frozen=True)
class Scores:
    """The three scores of the benchmark, their ceiling, and every neuron's own.

    A score that cannot be computed is None; its reason stands in the print.
    """

    single_trial: float | None  # correlation over single trials, mean over neurons
    to_average: float | None    # correlation over images, after averaging over repeats
    feve: float | None          # share of explainable variance explained, neurons with FEV >= .15
    ceiling: float | None       # single-trial correlation of the best stimulus-only model
    per_neuron: dict = field(repr=False)  # name -> (N,) array, in the order of "unit_ids"
    n_left_out: int = 0         # neurons left out of feve, FEV < .15
    reason: str = "needs repeats"

    def __str__(self):
        rows = [("single-trial correlation", self.single_trial),
                ("correlation to average", self.to_average), ("FEVE", self.feve),
                ("ceiling of the single-trial correlation", self.ceiling)]
        lines = [f"{name:<40} " + (f"{value:6.3f}" if value is not None else f"     - "
                                   f"({self.reason})") for name, value in rows]
        if self.feve is not None:
            lines[2] += f"  ({self.n_left_out} of {len(self.per_neuron['fev'])} neurons left out, "
            lines[2] += f"FEV < {metrics.FEV_THRESHOLD})"
        return "\n".join(lines)

    __repr__ = __str__


def compute_scores(predictions, responses, image_ids, unit_ids):
    """All scores of predictions (T, N) for responses (T, N), as a `Scores`.

    image_ids: (T,); unit_ids: (N,). Without repeats there is a single-trial score and nothing else.
    """
    per_neuron = {"unit_ids": np.asarray(unit_ids),
                  "single_trial": metrics.correlation(predictions, responses)}
    if len(np.unique(image_ids)) < len(image_ids):
        per_neuron |= {
            "to_average": metrics.correlation_to_average(predictions, responses, image_ids),
            "fev": metrics.fev(responses, image_ids),
            "feve": metrics.feve(predictions, responses, image_ids),
            "oracle": metrics.oracle(responses, image_ids)}
    return _summary(per_neuron)


def _summary(per_neuron):
    """Means over neurons."""
    single = float(per_neuron["single_trial"].mean())
    if "fev" not in per_neuron:
        return Scores(single, None, None, None, per_neuron)
    kept = per_neuron["fev"] >= metrics.FEV_THRESHOLD
    return Scores(
        single_trial=single, to_average=float(per_neuron["to_average"].mean()),
        feve=float(per_neuron["feve"][kept].mean()) if kept.any() else None,
        # a model that knew each image's mean response would reach sqrt(FEV) on single trials
        ceiling=float(np.sqrt(per_neuron["fev"].clip(min=0)).mean()),
        per_neuron=per_neuron, n_left_out=int((~kept).sum()),
        reason="needs a neuron with FEV >= .15")


def predict(model, data, tier, mouse=None):
    """Predicted responses for every trial of a tier. Returns (T, N) float32, in the data's units.

    data: a `Dataset`; mouse: which of its mice, by default the only one.
    """
    recording = require_dataset(data).mouse if mouse is None else require_dataset(data)[mouse]
    if not (isinstance(model, nn.Module) and hasattr(model, "validate_data")):
        raise ValueError(f"a model is needed, not a {type(model).__name__}; build one with "
                         "kit.cnn_baseline(data), or open one with kit.load_model(path)")
    model.validate_data(Dataset([recording]))
    with eval_mode(model), torch.inference_mode():
        blocks = [model(batch, recording.mouse).float().cpu().numpy()
                  for batch in recording.batches(tier, 64)]  # more leave the cache
    return np.concatenate(blocks)


def score(model, data, tier):
    """Scores of a model on a tier of all mice in `data`, as a `Scores`.

    Neurons of several mice are pooled. Raises ValueError for a tier whose responses are withheld.
    """
    results = []
    for mouse, recording in require_dataset(data).items():
        rows = recording.rows(tier)
        if recording.withheld(tier):
            raise ValueError(f"the responses of tier {tier!r} of mouse {mouse} are withheld: write "
                             "a submission with kit.submit, or score \"validation\"")
        predictions = predict(model, data, tier, mouse)
        results.append(compute_scores(predictions, recording.responses[rows], recording.image_ids[rows],
                              recording.unit_ids))
    names = set.intersection(*(set(result.per_neuron) for result in results))
    return _summary({name: np.concatenate([result.per_neuron[name] for result in results])
                     for name in results[0].per_neuron if name in names})
