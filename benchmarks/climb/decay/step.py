"""Weight decay of .05, apart from the gradient (AdamW)."""

from dataclasses import replace
from functools import partial
from unittest.mock import patch

from torch.optim import AdamW

import kit
from kit.training import loop

AFTER = "gain"


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.cnn_baseline(data, 16, replace(config, seed=seed))
    with patch.object(loop, "Adam", partial(AdamW, weight_decay=0.05)):
        return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
