"""The mean of five, each trained on another draw of training and validation trials."""

from dataclasses import replace

import torch

import kit
from kit.models.normalization import NormalizationCore

AFTER = "normalization"


def train(data, seed):
    runs = [member(data.redraw(10 * seed + i), 10 * seed + i) for i in range(5)]
    models, logs = zip(*runs, strict=True)
    return kit.ensemble(models), logs[0]


def member(data, seed):
    config = replace(kit.strong_baseline(data).config, seed=seed)
    torch.manual_seed(seed)
    model = kit.Model(NormalizationCore(32), data.neurons, config)
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
