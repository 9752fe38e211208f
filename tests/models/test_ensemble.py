"""Ensembles: the mean of several models, called as one."""

import dataclasses
import itertools

import numpy as np
import pytest
import tiny

import kit

SIZE = (18, 32)


@pytest.fixture(scope="module")
def data(folder):
    return kit.load(tiny.write(folder), SIZE, folder / "data")


def build(data, seed=0):
    model = kit.linear_baseline(data, 2, kit.ModelConfig.of(data, seed=seed)).eval()
    model.register_data(data)
    return model


def other_ids(data):
    """The same recording with the ids of its neurons in another order."""
    ids = data.mouse.unit_ids[::-1].copy()
    return kit.Dataset([dataclasses.replace(data.mouse, unit_ids=ids)])


@pytest.fixture(scope="module")
def models(data):
    return [build(data, seed) for seed in (0, 1, 2)]


def test_ensemble_predicts_the_mean(models, data):
    one, two, _ = (kit.predict(model, data, "test") for model in models)
    mean = kit.predict(kit.ensemble(models[:2]), data, "test")
    np.testing.assert_array_equal(mean, (one + two) / 2)
    assert not np.array_equal(one, two)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(kit.predict(kit.ensemble([models[1]]), data, "test"), two)


def test_ensemble_order_of_members(models, data):
    first, *others = (
        kit.predict(kit.ensemble(members), data, "test")
        for members in itertools.permutations(models)
    )
    assert all(np.array_equal(first, other) for other in others)


def test_ensemble_scores_and_submits(models, data, tmp_path):
    ensemble, rows = kit.ensemble(models), data.mouse.rows("test")
    expected = kit.metrics.correlation(
        kit.predict(ensemble, data, "test"), data.mouse.responses[rows]
    )
    score = kit.score(ensemble, data, "test")
    assert score.single_trial == pytest.approx(expected.mean())
    assert score.feve is not None
    kit.submit(ensemble, data, tmp_path / "submission")
    assert kit.check(tmp_path / "submission", data)
    assert ensemble(data.mouse.first("test", 2)).shape == (2, 24)  # the only mouse


def test_ensemble_several_mice(data, other):
    both = kit.Dataset([data.mouse, other.mouse])
    models = [build(both, seed) for seed in (1, 2)]
    ensemble = kit.ensemble(models)
    assert len(kit.score(ensemble, both, "validation").per_neuron["single_trial"]) == 34
    assert kit.predict(ensemble, both, "test", "8-1-1").shape == (11, 10)
    assert kit.score(kit.ensemble(models[:1]), both, "validation").single_trial == (
        kit.score(models[0], both, "validation").single_trial
    )


def test_ensemble_repr(models, data):
    cnn = kit.cnn_baseline(data, channels=2)
    said = repr(kit.ensemble([*models, cnn])).splitlines()
    assert said[0] == "the mean of 4:"
    assert said[1].startswith("3 x linear-nonlinear (LN) model of 3 convolutional layers")
    assert sum(line.startswith("1 x CNN of 4 conv") for line in said) == 1


def test_ensemble_refuses_other_members(models, data, other, folder):
    def refused(members, said):
        with pytest.raises(ValueError, match=said) as caught:
            kit.ensemble(members)
        assert "\n" not in str(caught.value)

    for members in ([], models[0], [models[0], "model"], [kit.ensemble(models)]):
        refused(members, "an ensemble needs a list of models as of kit.train_many, not ")
    fewer = kit.Model(models[0].core, {"7-1-1": np.zeros((23, 2))}, models[0].config)
    large = kit.load(folder / "static7-1-1-GrayImageNet-tiny.zip", (27, 48), folder / "data")
    stranger = build(other_ids(data))
    for model in (build(other), fewer, build(large), stranger):
        refused([*models, model], "models 0 and 3 differ in image size, mice, neurons or the rec")


def test_ensemble_validate_data(models, data, other):
    ensemble = kit.ensemble(models)
    with pytest.raises(ValueError, match="no readout for mouse '8-1-1'"):
        kit.predict(ensemble, other, "test")
    with pytest.raises(ValueError, match="different in unit_ids"):
        kit.score(ensemble, other_ids(data), "validation")


def test_ensemble_cannot_be_trained_or_saved(models, data, tmp_path):
    ensemble = kit.ensemble(models)
    with pytest.raises(ValueError, match="a Model is needed to train, not Ensemble; "):
        kit.train(ensemble, data)
    with pytest.raises(ValueError, match=r"model=.* is not possible; give a Model"):
        kit.save(ensemble, tmp_path / "out")
    assert not (tmp_path / "out").exists()
