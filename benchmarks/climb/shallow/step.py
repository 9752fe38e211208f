"""Width instead of depth: 32 channels in two layers in place of 16 in four."""

from dataclasses import replace

import torch

import kit
from kit.models.layers import ConvCore

AFTER = "gain"


def train(data, seed):
    config = replace(kit.strong_baseline(data).config, seed=seed)
    torch.manual_seed(seed)
    model = kit.Model(ConvCore(32, layers=2), data.neurons, config)
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
