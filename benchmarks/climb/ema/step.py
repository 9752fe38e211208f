"""The moving average of the weights over about two epochs (EMA, .99 a step)."""

from dataclasses import replace

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import kit

AFTER = "normalization"


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.strong_baseline(data, config=replace(config, seed=seed))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    recipe = kit.TrainConfig.strong(seed=seed)
    log = kit.train(model, data, recipe, callback=lambda _: average.update_parameters(model))
    model.load_state_dict(average.module.state_dict())
    return model, log
