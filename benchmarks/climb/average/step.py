"""The exponential average of the weights over the last hundred steps or so (EMA)."""

from dataclasses import replace

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import kit

AFTER = "gain"


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.cnn_baseline(data, 16, replace(config, seed=seed))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    log = kit.train(
        model, data, kit.TrainConfig.quick(seed=seed), callback=lambda _: update(average, model)
    )
    model.load_state_dict(average.module.state_dict())
    return model, log


def update(average, model):
    average.update_parameters(model)
