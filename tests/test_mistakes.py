"""Calls that a new user gets wrong: each is answered with a sentence that says what to write."""

import re

import pytest
from torch import nn

import kit


class Core(nn.Module):
    def forward(self, images):
        return images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mistakes")


MISTAKES = {
    "attribute of a dataset": (
        lambda data, model: data.images,
        AttributeError, "no 'images' itself; write data.mouse.images, or data['7-1-1'].images"),
    "method of a dataset": (
        lambda data, model: data.first("train", 8), AttributeError, "write data.mouse.first"),
    "key of a recording": (
        lambda data, model: data.mouse["images"], TypeError, "write recording.images"),
    "a core's class": (
        lambda data, model: kit.Model(Core, data.neurons),
        ValueError, "a core is a module, not the class Core; build one first"),
    "a dataset for neurons": (
        lambda data, model: kit.Model(Core(), data),
        ValueError, "not a Dataset; give data.neurons"),
    "a rate in quotes": (
        lambda data, model: kit.TrainConfig(lr="0.01"),
        ValueError, "lr='0.01' is no learning rate"),
    "a misspelt setting": (
        lambda data, model: kit.TrainConfig.quick(epoch=3),
        TypeError, "TrainConfig has no setting 'epoch'; did you mean 'epochs'"),
    "a seed beyond 64 bits": (
        lambda data, model: kit.TrainConfig(seed=2**70),
        ValueError, "a whole number from 0 to 2^63"),
    "no model": (
        lambda data, model: kit.score(None, data, "validation"),
        ValueError, "a model is needed, not a NoneType; build one with kit.cnn_baseline(data)"),
    "a builder's name": (
        lambda data, model: kit.train_many([kit.TrainConfig()], data, "cnn"),
        ValueError, "build='cnn' cannot be called; give a function"),
    "a recipe for a model": (
        lambda data, model: kit.vit_baseline(data, config=kit.TrainConfig()),
        ValueError, "is not a ModelConfig; give kit.ModelConfig(...), and a TrainConfig to"),
    "a recipe for a CNN": (
        lambda data, model: kit.cnn_baseline(data, config=kit.TrainConfig()),
        ValueError, "is not a ModelConfig"),
    "a million channels": (
        lambda data, model: kit.cnn_baseline(data, channels=1_000_000),
        ValueError, "channels=1000000 is not a width; give a whole number from 1 to 1024"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_what_to_write(plus, mistake):
    call, kind, said = MISTAKES[mistake]
    with pytest.raises(kind, match=re.escape(said)):
        call(plus, kit.cnn_baseline(plus, channels=2))


def test_what_a_dataset_lacks_is_an_attribute_error_as_ever(plus):
    assert not hasattr(plus, "nothing") and not hasattr(plus, "__array__")
    assert not hasattr(plus, "images")
