"""The same model, which learns from the mean of the three of normalization as well."""

from dataclasses import replace

from climb import MODELS

import kit

AFTER = "width"
TEACHER = "normalization"


def train(data, seed):
    files = sorted(MODELS.glob(f"{TEACHER}-{data.mouse.mouse}-*"))
    smooth = kit.training.distill(kit.ensemble(map(kit.load_model, files)), data)
    config = kit.strong_baseline(data).config
    model = kit.strong_baseline(data, config=replace(config, seed=seed))
    return model, kit.train(model, smooth, kit.TrainConfig.strong(seed=seed))
