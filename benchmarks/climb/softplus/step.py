"""A softplus with a learned slope in place of ELU + 1 (Sensorium 2023)."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import softplus

import kit
from kit.models.layers import GaussianReadout

AFTER = "gain"


class SoftplusReadout(GaussianReadout):
    """A readout whose output the model's ELU + 1 turns into softplus(beta x) / beta."""

    def forward(self, features, shift=None):
        beta = self.log_beta.exp()
        rates = softplus(super().forward(features, shift) * beta) / beta
        return torch.where(rates < 1, (rates + 1e-6).log(), rates - 1)


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.cnn_baseline(data, 16, replace(config, seed=seed))
    for readout in model.readouts.values():
        readout.__class__ = SoftplusReadout
        readout.log_beta = nn.Parameter(torch.tensor(0.0))
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
