"""Squared filters divided by the contrast around them, then two layers; 32 channels."""

from dataclasses import replace

import torch

import kit
from kit.models.cores.normalization import NormalizationCore

AFTER = "gain"


def train(data, seed):
    config = replace(kit.strong_baseline(data).config, seed=seed)
    torch.manual_seed(seed)
    model = kit.Model(NormalizationCore(32), data.neurons, config)
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
