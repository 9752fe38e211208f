"""A vision transformer; where the animal's state is known, every block takes it (V1T)."""

import kit

AFTER = "gain"


def train(data, seed):
    config = kit.ModelConfig.of(data, seed=seed, behavior_channels=False)
    model = kit.vit_baseline(data, config=config)
    return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed, lr=3e-3))
