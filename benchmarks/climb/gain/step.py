"""Behaviour, scaled to 0–1, as a gain of each neuron in place of input channels."""

import kit

AFTER = "baseline"


def train(data, seed):
    known = data.mouse.behavior is not None
    changes = {"behavior_channels": False, "gain": known, "minmax_behavior": known}
    model = kit.cnn_baseline(data, 16, kit.ModelConfig.of(data, seed=seed, **changes))
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
