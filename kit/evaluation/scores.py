"""Predictions and scores of a model."""

from typing import cast

import numpy as np
import torch
from torch import nn

from kit.data.recordings import Dataset, Recording, require_dataset
from kit.evaluation.leaderboard import Measured, Scores
from kit.machine import fastest_threads
from kit.models.layers import eval_mode
from kit.models.model import Model


def predict(model: nn.Module, data: Dataset, tier: str, mouse: str | None = None) -> np.ndarray:
    """Predict the responses of every trial of a tier.

    mouse: which of the mice in `data`; by default the only one. Returns (T, N) float32, in units of
    each neuron's std. Raises ValueError if the data do not fit the model or have no such tier.

    >>> data = kit.load("sample+")
    >>> model = kit.cnn_baseline(data, channels=4)
    >>> kit.predict(model, data, "validation").shape == (200, 600)
    True
    """
    data = require_dataset(data)
    recording = data.mouse if mouse is None else data[mouse]
    if not (isinstance(model, nn.Module) and hasattr(model, "validate_data")):
        raise ValueError(
            f"a model is needed, not a {type(model).__name__}; build one with "
            "kit.cnn_baseline(data), or open one with kit.load_model(path)"
        )
    cast(Model, model).validate_data(Dataset([recording]))
    return predict_unchecked(model, recording, tier)


def predict_unchecked(model: nn.Module, recording: Recording, tier: str) -> np.ndarray:
    """Predict like `predict`, for a model that is known to fit the recording.

    Returns (T, N) float32. The model is in eval mode for the call and left as it was.
    """
    with eval_mode(model), torch.inference_mode(), fastest_threads():
        batches = [
            model(batch, recording.mouse).float().cpu().numpy()
            for batch in recording.batches(tier, 64)
        ]  # larger ones leave the cache
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
            raise ValueError(
                f"the responses of tier {tier!r} of mouse {mouse} are withheld: write "
                'a submission with kit.submit, or score "validation"'
            )
        measured = Measured(
            recording.responses[rows], recording.image_ids[rows], recording.unit_ids
        )
        results.append(measured.scores(predict(model, data, tier, mouse)).per_neuron)
    shared = [name for name in results[0] if all(name in result for result in results)]
    return Scores.of(
        {name: np.concatenate([result[name] for result in results]) for name in shared}
    )
