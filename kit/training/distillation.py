"""Distillation: a model learns from another one's predictions as well as from responses."""

from dataclasses import replace

import numpy as np
from torch import nn

from kit.checks import require
from kit.data.recordings import Dataset, require_dataset
from kit.evaluation.scores import predict


def distill(teacher: nn.Module, data: Dataset, share: float = 0.7) -> Dataset:
    """The same recordings with train responses that are in part a teacher's predictions.

    A single response is mostly noise, the mean of several models' predictions is not, so a model
    that is trained on the result comes close to the teacher (Hinton, Vinyals and Dean,
    arXiv 1503.02531). Trials of other tiers stay as they are.
    teacher: a trained model of these mice, such as a `kit.ensemble`. share: of its predictions in
    the train responses, from 0 to 1. Raises ValueError for another share, or if teacher and data do
    not fit.

    >>> data = kit.load("sample+")
    >>> teacher = kit.ensemble([kit.pretrained(f"sample+-gain-{i}") for i in (1, 2, 3)])
    >>> smooth = kit.training.distill(teacher, data)
    >>> smooth.mouse.responses.shape == data.mouse.responses.shape
    True
    """
    share = require("share", share, float, (0, 1))
    recordings = []
    for mouse, recording in require_dataset(data).items():
        rows, responses = recording.rows("train"), np.array(recording.responses)
        predictions = predict(teacher, data, "train", mouse)  # (T, N)
        responses[rows] = share * predictions + (1 - share) * responses[rows]
        recordings.append(replace(recording, responses=responses))
    return Dataset(recordings)
