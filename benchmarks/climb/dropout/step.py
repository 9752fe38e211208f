"""Each channel of each layer left out of one image in ten."""

from dataclasses import replace

from torch import nn
from torch.nn.functional import dropout2d

import kit

AFTER = "gain"


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.cnn_baseline(data, 16, replace(config, seed=seed))
    for part in model.core.modules():
        if isinstance(part, nn.ELU):
            part.register_forward_hook(drop)
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))


def drop(layer, _, features):
    return dropout2d(features, 0.1, layer.training)
