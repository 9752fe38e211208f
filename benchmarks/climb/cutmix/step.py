"""CutMix: a box of another image; neurons that look into it take their response to that one."""

from dataclasses import replace
from math import sqrt
from unittest.mock import patch

import torch
from torch.nn.functional import elu

import kit
from kit.training import loop

AFTER = "gain"


class CutMixTrainer(loop.Trainer):
    """Every second batch is mixed, from the third epoch on, when the readout has settled."""

    def loss(self, mouse, batch):
        if len(self.history.loss) < 2 or torch.rand(()) < 0.5:
            return super().loss(mouse, batch)
        model, trials = self.model, len(batch.images)
        order = torch.randperm(trials)
        other = batch._replace(**{name: values[order] for name, values in
                                  batch._asdict().items() if values is not None})  # fmt: skip
        (height, width), share = model.image_size, torch.rand(()) / 2 + 0.25
        h, w = int(height * share.sqrt()), int(width * share.sqrt())
        y, x = int(torch.randint(height - h + 1, ())), int(torch.randint(width - w + 1, ()))
        box = torch.zeros(height, width, dtype=torch.bool)
        box[y : y + h, x : x + w] = True
        mixed = batch._replace(images=torch.where(box, other.images, batch.images))
        features = model._features(mixed)
        rates, _ = predict(model, mouse, features, batch)
        others, shift = predict(model, mouse, features, other)
        middle = torch.tensor([width - 1, height - 1]) / 2
        reach = torch.tensor([features.shape[3] - 1, features.shape[2] - 1]) / 2
        place = middle + reach * (model.readouts[mouse].means() + shift)  # (B, N, 2) pixels
        first, last = torch.tensor([x, y]), torch.tensor([x + w, y + h])
        inside = ((first <= place) & (place < last)).all(-1)  # (B, N) or (N,)
        rates = torch.where(inside, others, rates)
        responses = torch.where(inside, other.responses, batch.responses)
        loss = loop.poisson_loss(rates, responses)
        scaled = loss * sqrt(self.trials[mouse] / trials) + model.regularizer(mouse)
        return scaled, loss.detach() / responses.numel()


def predict(model, mouse, features, batch):
    """Responses (B, N) to features, and the shift (B, 1, 2), as in the state of a batch."""
    shift = model.shifters[mouse](batch.pupil_center) if model.config.shifter else None
    rates = elu(model.readouts[mouse](features, shift)) + 1
    if model.config.gain:
        rates = rates * model.gains[mouse](model.scalers[mouse](batch.behavior))
    return rates, 0 if shift is None else shift[:, None]


def train(data, seed):
    config = kit.strong_baseline(data).config
    model = kit.cnn_baseline(data, 16, replace(config, seed=seed))
    with patch.object(loop, "Trainer", CutMixTrainer):
        return model, kit.train(model, data, kit.TrainConfig.quick(seed=seed))
