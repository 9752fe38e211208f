"""Squared filters divided by the contrast around them, then two convolutional layers."""

from dataclasses import replace

import kit

AFTER = "gain"


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.strong_baseline(data, config=replace(config, seed=seed))
    return model, kit.train(model, data, kit.TrainConfig.strong(seed=seed))
