"""Calls that a new user gets wrong: each error says what to write instead."""

import re

import numpy as np
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
        ValueError, "is not possible; give a Module"),
    "a dataset for neurons": (
        lambda data, model: kit.Model(Core(), data),
        ValueError, "neurons['7-1-1'] must be numbers (N, 2) or (N, 3), these are Recording"),
    "a rate in quotes": (
        lambda data, model: kit.TrainConfig(lr="0.01"),
        ValueError, "lr='0.01'"),
    "a misspelt setting": (
        lambda data, model: kit.TrainConfig.quick(epoch=3),
        TypeError, "unexpected keyword argument 'epoch'"),
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
        ValueError, "is not possible; give a ModelConfig or None"),
    "images for a batch": (
        lambda data, model: model(data.mouse.images[:2]),
        ValueError, "a model takes a kit.Batch, not a memmap; give kit.Batch.typical(images)"),
    "a dataset for its recording": (
        lambda data, model: model.centers(data),
        ValueError, "is not possible; give a Recording"),
    "a list for a mouse": (
        lambda data, model: model(data.mouse.first("train", 2), ["7-1-1"]),
        ValueError, "this model has no readout for mouse ['7-1-1']"),
    "a switch in quotes": (
        lambda data, model: kit.ModelConfig(shifter="no"),
        ValueError, "shifter='no' is not possible; give True or False"),
    "one size for height and width": (
        lambda data, model: kit.check_core(Core(), image_size=36),
        ValueError, "image_size=36 is not possible; give 2 values, each a whole number from 1"),
    "no path to save to": (
        lambda data, model: kit.save(model, None),
        ValueError, "path='None' is not a path"),
    "no path to load from": (
        lambda data, model: kit.load_model(7),
        ValueError, "path='7' is not a path"),
    "a folder's number": (
        lambda data, model: kit.train_many([kit.TrainConfig()], data, folder=7),
        ValueError, "folder='7' is not a path"),
    "a callback's name": (
        lambda data, model: kit.train(model, data, callback="print"),
        ValueError, "callback='print' cannot be called"),
    "a number for settings": (
        lambda data, model: kit.train(model, data, 20),
        ValueError, "config=20 is not a TrainConfig"),
    "degrees for radians": (
        lambda data, model: kit.lab.Screen().grating(90, 0.1),
        ValueError, "for degrees give np.radians(orientation)"),
    "minus one image": (
        lambda data, model: kit.lab.Screen().white_noise(-1, seed=0),
        ValueError, "n=-1 is not possible"),
    "a figure for an axis": (
        lambda data, model: kit.plots.cortical_map(data.mouse.coordinates, np.ones(24), "ax"),
        ValueError, "ax=ax is not an axis of matplotlib"),
    "a score without a name": (
        lambda data, model: kit.plots.score_bars([0.3]),
        ValueError, "scores=[0.3] is not a dict; give one, such as"),
    "a number for scores": (
        lambda data, model: kit.plots.score_bars({"CNN": 0.3}),
        ValueError, "scores holds a float, which has no single_trial"),
    "values of fewer neurons": (
        lambda data, model: kit.plots.cortical_map(data.mouse.coordinates, np.ones(9)),
        ValueError, "values must be numbers (24,), these are (9,) float64"),
    "a tuning's name": (
        lambda data, model: kit.plots.mean_tuning({"CNN": "orientation"}),
        ValueError, "these cannot be drawn together"),
    "a mouse that is not there": (
        lambda data, model: kit.widgets.trial_explorer(data, "9-9-9"),
        KeyError, "there is no mouse '9-9-9' here; the mice are 7-1-1"),
    "a list of mice": (
        lambda data, model: kit.widgets.trial_explorer(data, ["7-1-1"]),
        ValueError, "is not possible; give a text or None"),
    "a monitor without settings": (
        lambda data, model: kit.widgets.training_monitor(model, data, 3),
        ValueError, "config=3 is not a TrainConfig"),
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
