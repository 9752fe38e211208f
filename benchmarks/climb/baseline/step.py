"""The CNN of 2022: on `Sensorium+` mice behaviour as input channels, and a shifter."""

import kit


def train(data, seed):
    model = kit.cnn_baseline(data, 16, kit.ModelConfig.of(data, seed=seed))
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
