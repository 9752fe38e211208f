"""Calls that a new user gets wrong: each error says what to write instead."""

import re

import pytest
from torch import nn

import kit


class Core(nn.Module):
    def forward(self, images):
        return images


MISTAKES = {
    "attribute of a dataset": (
        lambda data, model: data.images,
        AttributeError, "write data.mouse.images, or data['7-1-1'].images"),
    "method of a dataset": (
        lambda data, model: data.first("train", 8), AttributeError, "write data.mouse.first"),
    "key of a recording": (
        lambda data, model: data.mouse["images"], TypeError, "write recording.images"),
    "a core's class": (
        lambda data, model: kit.Model(Core, data.neurons),
        ValueError, "the class Core"),
    "a dataset for neurons": (
        lambda data, model: kit.Model(Core(), data),
        ValueError, "data.neurons"),
    "a rate in quotes": (
        lambda data, model: kit.TrainConfig(lr="0.01"),
        ValueError, "lr='0.01'"),
    "a misspelt setting": (
        lambda data, model: kit.TrainConfig.quick(epoch=3),
        TypeError, "did you mean 'epochs'"),
    "a seed beyond 64 bits": (
        lambda data, model: kit.TrainConfig(seed=2**70),
        ValueError, "a whole number from 0 to"),
    "no model": (
        lambda data, model: kit.score(None, data, "validation"),
        ValueError, "not a NoneType; build one with kit.cnn_baseline(data)"),
    "a builder's name": (
        lambda data, model: kit.train_many([kit.TrainConfig()], data, "cnn"),
        ValueError, "build='cnn'"),
    "a recipe for a model": (
        lambda data, model: kit.vit_baseline(data, config=kit.TrainConfig()),
        ValueError, "give kit.ModelConfig(...)"),
    "a million channels": (
        lambda data, model: kit.cnn_baseline(data, channels=1_000_000),
        ValueError, "give a whole number from 1 to 1024"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_says_what_to_write(plus, mistake):
    call, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=re.escape(message)):
        call(plus, kit.cnn_baseline(plus, channels=2))


def test_dataset_lacks_attributes_of_its_recordings(plus):
    assert not hasattr(plus, "nothing") and not hasattr(plus, "__array__")
    assert not hasattr(plus, "images")
