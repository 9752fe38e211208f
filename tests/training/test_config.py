"""The settings of a training and its history."""

import dataclasses
import math

import numpy as np
import pytest

import kit


def test_sensorium2022_recipe():
    recipe = kit.TrainConfig.sensorium2022()
    assert dataclasses.asdict(recipe) == {
        "epochs": 200, "lr": 9e-3, "batch_size": 128, "one_cycle": False, "patience": 5,
        "lr_drops": 3, "seed": 42, "device": "auto", "precision": "32-true",
    }  # fmt: skip
    assert kit.TrainConfig.sensorium2022(epochs=3, seed=1).epochs == 3
    assert kit.TrainConfig.quick().epochs < kit.TrainConfig().epochs
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.lr = 1
    with pytest.raises(TypeError):
        kit.TrainConfig.quick(learning_rate=1)


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"epochs": True}, {"batch_size": 0}, {"batch_size": 2.5}, {"lr": -1.0},
     {"lr": math.nan}, {"device": "gpux"}, {"patience": 0}, {"lr_drops": -1}, {"seed": -1},
     {"one_cycle": "no"}, {"one_cycle": 1}, {"lr": True}, {"lr": "0.1"}, {"precision": 32}],
    ids=str,
)  # fmt: skip
def test_train_config_refuses(changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=rf"{name}.*{value}|{value}.*{name}"):
        kit.TrainConfig(**changes)


def test_train_config_refuses_drops_in_one_cycle():
    with pytest.raises(ValueError, match="lr_drops=2 has no effect without one_cycle=False"):
        kit.TrainConfig(lr_drops=2)


def test_train_config_numpy_numbers_become_ints():
    config = kit.TrainConfig(epochs=np.int64(3), lr=np.float64(0.1), one_cycle=np.True_)
    assert [type(value) for value in (config.epochs, config.lr, config.one_cycle)] == [
        int, float, bool,
    ]  # fmt: skip


def test_history_best_epoch_is_the_first_best():
    history = kit.History()
    for correlation in (0.1, 0.3, 0.3, 0.2):
        history.add(1.0, correlation, 0.01, 2.0)
    history.stopped = "interrupted"
    assert history.best_epoch == 1
    assert repr(history) == (
        "4 epochs in 8 s, best validation correlation 0.300 in epoch 2; stopped: interrupted"
    )
