"""Training learns, repeats bit for bit, stops when it should and keeps the best weights."""

import copy
import dataclasses
import math
import pickle
from unittest import mock

import numpy as np
import pytest
import tiny
import torch
from trainer import build, interrupted_at, quick, same_state, same_weights

import kit
import kit.training.distributed
import kit.training.loop
from kit.training.loop import poisson_loss


@pytest.fixture
def scripted(monkeypatch):
    """Replace the validation correlation by a script; returns the weights of each epoch."""

    def install(correlations):
        validation, seen = mock.Mock(side_effect=correlations), []

        def validation_correlation(model, data):
            correlation = validation()
            seen.append(copy.deepcopy(model.state_dict()))
            return correlation

        monkeypatch.setattr(kit.training.loop, "validation_correlation", validation_correlation)
        return seen

    return install


@pytest.fixture
def losses(monkeypatch):
    """The responses (B, N) of every step, in the order in which their losses were computed."""
    seen = []

    def loss(predictions, responses):
        seen.append(responses)
        return poisson_loss(predictions, responses)

    monkeypatch.setattr(kit.training.loop, "poisson_loss", loss)
    return seen


def test_poisson_loss_by_hand():
    predictions = torch.tensor([[1.0, 2.0], [4.0, 1.0]])
    responses = torch.tensor([[3.0, 0.0], [1.0, 5.0]])
    # 1 - 3 log 1  +  2 - 0 log 2  +  4 - 1 log 4  +  1 - 5 log 1
    expected = 8 - math.log(4)
    assert poisson_loss(predictions, responses).item() == pytest.approx(expected, abs=1e-5)
    assert torch.isfinite(poisson_loss(0 * predictions, responses))


def test_train_learns(data):
    model = build(data, channels=8)
    before = kit.score(model, data, "validation").single_trial
    log = kit.train(model, data, quick(epochs=8, batch_size=8))
    assert log.loss[-1] < log.loss[0] - 0.1
    assert before < 0.15
    assert log.correlation[log.best_epoch] > 0.3
    assert len(log.loss) == len(log.correlation) == len(log.lr) == len(log.seconds) == 8
    assert log.stopped == "all 8 epochs done"
    assert min(log.seconds) > 0
    assert "8 epochs in" in repr(log)


def test_train_ends_with_best_weights_in_eval_mode(small):
    model = build(small)
    log = kit.train(model, small, quick(epochs=6))
    assert log.best_epoch == int(np.argmax(log.correlation))
    assert kit.score(model, small, "validation").single_trial == log.correlation[log.best_epoch]
    assert not any(module.training for module in model.modules())


def test_train_same_seed_same_weights(small):
    first, second, third = build(small), build(small), build(small)
    torch.manual_seed(1)
    log = kit.train(first, small, quick())
    torch.manual_seed(2)  # whatever happened before
    np.random.seed(2)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = kit.train(second, small, quick())
    assert same_weights(first, second)
    assert (log.loss, log.correlation) == (again.loss, again.correlation)
    assert torch.equal(states[0], torch.get_rng_state())  # left alone
    np.testing.assert_array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    kit.train(third, small, quick(seed=43))
    assert not same_weights(first, third)


def test_register_data_sets_biases_to_mean_responses(small):
    model = build(small)
    model.register_data(small)
    mouse = small.mouse
    mean = mouse.responses[mouse.rows("train")].mean(0)
    start = torch.nn.functional.elu(model.readouts["8-1-1"].bias) + 1
    np.testing.assert_allclose(start.detach(), mean.clip(0.05), rtol=1e-5)
    kit.train(model, small, quick(epochs=1))
    trained = model.readouts["8-1-1"].bias.detach().clone()
    model.register_data(small)  # again: what was learned stays
    assert torch.equal(trained, model.readouts["8-1-1"].bias)


def test_early_stopping_step_restores_best_epoch(small, scripted):
    seen = scripted([0.1, 0.3, 0.2, 0.3, 0.1, 0.9])
    model = build(small)
    log = kit.train(model, small, quick(epochs=10, patience=3))
    assert log.correlation == [0.1, 0.3, 0.2, 0.3, 0.1]  # an equal score is no better one
    assert log.best_epoch == 1
    assert log.stopped == "no better for 3 epochs"
    assert same_state(model.state_dict(), seen[1])


def test_early_stopping_step_waits_while_the_rate_rises(small, scripted):
    scripted([0.1] * 12 + [0.2] * 8)
    log = kit.train(build(small), small, quick(epochs=20, patience=8))  # rises for six epochs
    assert len(log.loss) == 20 and log.best_epoch == 12


def test_early_stopping_step_drops_rate_then_stops(small, scripted):
    seen = scripted([0.5, 0.4, 0.4, 0.6, 0.1, 0.1, 0.1, 0.1])
    model = build(small)
    config = quick(epochs=20, one_cycle=False, patience=2, lr_drops=2, lr=0.01)
    log = kit.train(model, small, config)
    assert len(log.loss) == 8
    rates = [0.01] * 3 + [0.003] * 3 + [0.0009] * 2
    assert log.lr == pytest.approx(rates)
    assert log.best_epoch == 3
    assert log.stopped == "no better for 2 epochs"
    assert same_state(model.state_dict(), seen[3])


def test_train_one_cycle_rises_and_falls(small):
    log = kit.train(build(small), small, quick(epochs=8, lr=0.01))
    assert max(log.lr) <= 0.01
    assert 0 < int(np.argmax(log.lr)) < 4
    assert log.lr[-1] < 1e-6
    assert log.lr[3:] == sorted(log.lr[3:], reverse=True)


@pytest.mark.parametrize("by", ["Ctrl-C", "the callback"])
def test_train_interrupted(small, scripted, by):
    """In the third of ten epochs, of three steps each."""
    seen = scripted([0.3, 0.2, KeyboardInterrupt()])
    model, calls = build(small), []

    def stop_at_eight(history):
        calls.append(1)
        return by == "the callback" and len(calls) == 8

    log = kit.train(model, small, quick(epochs=10), callback=stop_at_eight)
    assert len(calls) == (9 if by == "Ctrl-C" else 8)
    assert (log.stopped, log.best_epoch, log.correlation) == ("interrupted", 0, [0.3, 0.2])
    assert len(log.loss) == len(log.lr) == len(log.seconds) == 2
    assert same_state(model.state_dict(), seen[0])
    assert not model.training


@pytest.mark.parametrize("by", ["Ctrl-C", "the callback"])
def test_train_interrupted_in_the_first_step(small, monkeypatch, by):
    model = build(small)
    model.register_data(small)
    first = copy.deepcopy(model)
    if by == "Ctrl-C":
        interrupt = mock.Mock(side_effect=KeyboardInterrupt)
        monkeypatch.setattr(kit.training.loop, "poisson_loss", interrupt)
    log = kit.train(model, small, quick(), callback=lambda history: True)
    assert (log.loss, log.correlation, log.best_epoch) == ([], [], None)
    assert log.stopped == "interrupted" and "no epoch finished" in repr(log)
    assert same_weights(model, first)


def test_train_callback_is_called_after_every_step(small):
    """Three steps an epoch, with the history that training fills; it changes nothing else."""
    seen, plain, watched = [], build(small), build(small)
    expected = kit.train(plain, small, quick())
    log = kit.train(watched, small, quick(), callback=lambda h: seen.append((len(h.loss), h)))
    assert [epochs for epochs, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(history is log for _, history in seen)
    assert same_weights(plain, watched)
    assert vars(log) | {"seconds": 0} == vars(expected) | {"seconds": 0}


def test_train_callback_that_fails(small):
    model, broken = build(small), mock.Mock(side_effect=RuntimeError("no screen"))
    with pytest.raises(RuntimeError, match="no screen"):
        kit.train(model, small, quick(), callback=broken)
    assert not model.training


def finite(model):
    return all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_train_loss_not_finite(small, monkeypatch):
    model = build(small)
    calls = []

    def loss(predictions, responses):
        calls.append(1)
        return poisson_loss(predictions, responses) * (math.nan if len(calls) > 6 else 1)

    monkeypatch.setattr(kit.training.loop, "poisson_loss", loss)  # three steps an epoch
    with pytest.raises(FloatingPointError, match=r"loss became nan in epoch 3, .* lr=0\.009 "):
        kit.train(model, small, quick(epochs=5))
    assert finite(model)
    assert np.isfinite(kit.score(model, small, "validation").single_trial)
    assert not model.training


@pytest.mark.parametrize("epoch", [0, 1])
def test_train_validation_not_finite(small, monkeypatch, epoch):
    """The last step of an epoch breaks the weights: its loss is still finite."""
    model = build(small)
    validation, epochs = kit.training.loop.validation_correlation, []

    def broken(*arguments):
        epochs.append(1)
        if len(epochs) == epoch + 1:
            model.readouts["8-1-1"].bias.data[:] = math.nan
        return validation(*arguments)

    monkeypatch.setattr(kit.training.loop, "validation_correlation", broken)
    with pytest.raises(FloatingPointError, match=f"epoch {epoch + 1}"):
        kit.train(model, small, quick(epochs=5))
    assert finite(model)


def test_train_without_validation_tier(tmp_path):
    arrays = tiny.arrays(tiers={"train": 8})
    data = kit.load(tiny.write(tmp_path, arrays), size=(18, 32), folder=tmp_path / "data")
    model = build(data)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match="no tier 'validation'; its tiers are train, test"):
        kit.train(model, data, quick())
    assert same_weights(model, before)
    assert model.data_statistics == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_train_missing_device(small):
    with pytest.raises(ValueError, match="cuda"):
        kit.train(build(small), small, quick(device="cuda"))


@pytest.mark.parametrize(
    "batch_size, steps", [(128, 1), (40, 1), (39, 1), (32, 1), (26, 2), (7, 6)]
)
def test_steps_per_epoch(small, losses, batch_size, steps):
    """40 trials: a last batch under half the size is left out, but there is always one."""
    log = kit.train(build(small), small, quick(epochs=1, batch_size=batch_size))
    assert len(losses) == steps
    assert len(losses[0]) == min(batch_size, 40)
    assert np.isfinite(log.loss).all()


def test_train_two_mice(small, folder, losses):
    arrays = tiny.arrays(seed=3, neurons=10, tiers={"train": 70, "validation": 12})
    path = tiny.write(folder, arrays, "9-1-1")
    other = kit.load(path, size=(18, 32), folder=folder / "data")
    both = kit.Dataset([small["8-1-1"], other["9-1-1"]])
    model = build(both)
    before = copy.deepcopy(model)
    log = kit.train(model, both, quick(epochs=1))
    # 40 trials make 2 full batches and a half one, 70 make 4; batches of 16
    # they take turns until the end
    assert [responses.shape[1] for responses in losses] == [10, 24, 10, 24, 10, 24, 10]
    for mouse in both:
        assert not same_weights(before.readouts[mouse], model.readouts[mouse])
    assert log.correlation[0] == kit.score(model, both, "validation").single_trial


def test_train_one_of_a_models_mice(small, folder):
    other = kit.load(tiny.write(folder, tiny.arrays(3), "9-2-2"), (18, 32), folder / "data")
    both = kit.Dataset([small["8-1-1"], other["9-2-2"]])
    model = build(both)
    untouched = copy.deepcopy(model.readouts["9-2-2"])
    kit.train(model, small, quick(epochs=1))
    assert same_weights(model.readouts["9-2-2"], untouched)
    assert kit.predict(model, both, "test", "8-1-1").shape == (11, 24)
    single = build(small)
    with pytest.raises(ValueError, match=r"no readout for mouse '9-2-2'; it knows 8-1-1"):
        kit.train(single, both, quick())
    # predicting one of several mice asks nothing about the others
    assert kit.predict(single, both, "test", "8-1-1").shape == (11, 24)


@pytest.mark.slow
def test_train_sample_mouse():
    data = kit.load("sample+")
    model = kit.cnn_baseline(data, channels=16)
    log = kit.train(model, data, kit.TrainConfig.quick(device="cpu", epochs=4))
    mouse, truth = data.mouse, kit.truth("sample+")
    rows = mouse.rows("validation")
    ceiling = kit.metrics.correlation(truth.rates[rows], mouse.responses[rows]).mean()
    assert log.correlation[log.best_epoch] > 0.55 * ceiling


@pytest.fixture(scope="module")
def uneven(folder):
    """40 trials of one mouse and 12 of another."""
    path = tiny.write(folder, tiny.arrays(3, neurons=9), "8-3-3")
    other = kit.load(path, size=(18, 32), folder=folder / "data")
    small = kit.load(tiny.write(folder, mouse="8-1-1"), size=(18, 32), folder=folder / "data")
    return kit.Dataset([small.mouse, other.mouse.subset(12)])


def test_batches_spread_over_epoch(uneven):
    """Ten batches of one and three of the other: the three are spread over the ten."""
    steps = list(kit.training.loop._batches(uneven, quick(batch_size=4), 0))
    order = "".join(mouse[2] for mouse, _ in steps)
    assert [i for i, mouse in enumerate(order) if mouse == "3"] == [2, 6, 10]
    for mouse, batch in steps:
        assert batch.responses.shape == (4, 9 if mouse == "8-3-3" else 24)


def test_redraw_exchanges_train_and_validation_trials(small):
    mouse, drawn = small.mouse, small.redraw(1).mouse
    for tier in ("train", "validation"):
        assert len(drawn.rows(tier)) == len(mouse.rows(tier))
    assert set(drawn.rows("train")) != set(mouse.rows("train"))
    for other in ("test", "final_test"):
        assert np.array_equal(drawn.rows(other), mouse.rows(other))
    assert np.array_equal(drawn.tiers, small.redraw(1).mouse.tiers)
    assert not np.array_equal(drawn.tiers, small.redraw(2).mouse.tiers)
    again = pickle.loads(pickle.dumps(drawn))  # for another process: the folder, not the arrays
    assert again.packed == mouse.packed and np.array_equal(again.tiers, drawn.tiers)
    members = [kit.cnn_baseline(small.redraw(seed), 2) for seed in (1, 2)]
    for seed, model in enumerate(members):
        kit.train(model, small.redraw(seed), quick(epochs=1))
    assert kit.predict(kit.ensemble(members), small, "test").shape[1] == 24
    with pytest.raises(ValueError, match="seed=-1"):
        small.redraw(-1)
    tiers = np.where(mouse.tiers == "validation", "unused", mouse.tiers)
    with pytest.raises(ValueError, match="has no tier 'validation'"):
        dataclasses.replace(mouse, tiers=tiers).redraw(1)


def test_subset_fewer_train_trials(small):
    few, mouse = small.subset(7).mouse, small.mouse
    assert few.mouse == mouse.mouse and few.images is mouse.images
    np.testing.assert_array_equal(few.rows("train"), mouse.rows("train")[:7])
    np.testing.assert_array_equal(few.rows("validation"), mouse.rows("validation"))
    assert " 7 train," in repr(few) and len(mouse.rows("train")) == 40
    for wrong in (0, 41, 2.5):
        with pytest.raises(ValueError, match="is not possible; give a whole number from 1 to 40"):
            small.subset(wrong)


def test_train_refuses_a_frozen_model(small):
    model = kit.cnn_baseline(small, channels=2).requires_grad_(False)
    with pytest.raises(ValueError, match="all parameters of this model are frozen"):
        kit.train(model, small)


def test_train_frozen_core(small):
    model = build(small)
    model.core.requires_grad_(False)
    before = copy.deepcopy(model.core.state_dict())
    model.train()
    assert model.training and not model.core.training
    kit.train(model, small, quick())
    after = model.core.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # batch norm's too
    assert not torch.equal(model.readouts["8-1-1"].bias, build(small).readouts["8-1-1"].bias)
    model.core.requires_grad_(True)
    assert model.train().core.training


def test_transfer_interrupted(small):
    old = build(small)
    with interrupted_at(1):
        new = kit.transfer(old, small, quick())
    assert same_state(new.core.state_dict(), old.core.state_dict())  # no second training
    assert all(value.requires_grad for value in new.core.parameters())


def test_transfer_trains_core_last(small, uneven, monkeypatch):
    old = build(small)
    kit.train(old, small, quick())
    before = copy.deepcopy(old.state_dict())
    new_mouse = kit.Dataset([uneven["8-3-3"]])
    calls = []
    train = kit.training.loop.train

    def noted(model, data, config):
        frozen = not any(value.requires_grad for value in model.core.parameters())
        start = copy.deepcopy(model.core.state_dict())
        history = train(model, data, config)
        calls.append((frozen, config.lr, start, copy.deepcopy(model.core.state_dict()), history))
        return history

    monkeypatch.setattr(kit.training.loop, "train", noted)
    new = kit.transfer(old, new_mouse, quick(lr=0.01))
    assert same_state(old.state_dict(), before)
    assert list(new.readouts) == ["8-3-3"] and new.config == old.config
    (frozen, lr, start, end, first), (tuned, low, _, moved, second) = calls
    assert (frozen, lr, tuned) == (True, 0.01, False) and low == pytest.approx(0.001)
    assert same_state(start, old.core.state_dict()) and same_state(end, start)
    better = max(second.correlation) >= max(first.correlation)
    assert same_state(new.core.state_dict(), moved if better else end)
    reached = kit.score(new, new_mouse, "validation").single_trial
    assert reached == pytest.approx(max(first.correlation + second.correlation), abs=1e-6)


def test_transfer_leaves_out_what_the_new_mice_withhold(small):
    recording = dataclasses.replace(small.mouse, behavior=None, pupil_center=None)
    new_mouse = kit.Dataset([recording])
    parts = kit.ModelConfig.of(small, behavior_channels=False, gain=True, minmax_behavior=True)
    old = kit.cnn_baseline(small, channels=2, config=parts)
    kit.train(old, small, quick())
    new = kit.transfer(old, new_mouse, quick())
    assert old.config.shifter and new.config == kit.ModelConfig.of(new_mouse, seed=parts.seed)


@pytest.mark.parametrize("channels", [False, True], ids=["gain", "channels"])
def test_transfer_to_a_mouse_of_other_columns_and_no_places(small, channels):
    """A gain is new for each mouse; a core that takes columns of behaviour takes no others."""
    parts = kit.ModelConfig.of(small, behavior_channels=channels, gain=not channels)
    old = kit.cnn_baseline(small, channels=2, config=parts)
    kit.train(old, small, quick())
    own = tiny.with_columns(small, "running").mouse
    own = dataclasses.replace(own, coordinates=np.zeros_like(own.coordinates))
    if channels:
        with pytest.raises(ValueError, match=r"takes the behaviour pupil, .* is running;"):
            kit.transfer(old, kit.Dataset([own]), quick())
        return
    new = kit.transfer(old, kit.Dataset([own]), quick())
    assert new.config.behavior_names == ("running",)
    assert new.readouts["8-1-1"].free_positions.abs().max() > 0
    assert old.readouts["8-1-1"].free_positions is None


# ---- what is not finite, and what never learns ----


class Faulty(torch.nn.Conv2d):
    """A core whose features, slopes or regularizer are not finite, once `fault` says so."""

    fault = ""

    def forward(self, images):
        features = super().forward(images)
        if self.fault == "features":
            return features / images.new_zeros(1)
        if self.fault == "gradients":
            return features + (features.detach() * 0 * features).sqrt()  # a root of 0
        return features

    def regularizer(self):
        return self.weight.sum() * (math.nan if self.fault == "regularizer" else 0)


@pytest.mark.parametrize("fault", ["features", "gradients", "regularizer"])
def test_train_says_which_part_is_not_finite(small, fault):
    model = kit.Model(Faulty(1, 2, 9), small.neurons, kit.ModelConfig(image_size=(18, 32)))
    model.core.fault = fault
    with pytest.raises(FloatingPointError, match=f"epoch 1, because the core's {fault} "):
        kit.train(model, small, quick(epochs=1))


def test_train_refuses_a_core_that_no_gradient_reaches(small):
    class Detached(torch.nn.Conv2d):
        def forward(self, images):
            return super().forward(images).detach()

    model = kit.Model(Detached(1, 2, 9), small.neurons, kit.ModelConfig(image_size=(18, 32)))
    with pytest.raises(
        ValueError, match=r"no gradient reaches the core, .* core\.requires_grad_\("
    ):
        kit.train(model, small, quick(epochs=1))
    model.core.requires_grad_(False)  # now it is meant
    assert len(kit.train(model, small, quick(epochs=1)).loss) == 1


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_train_where_gradients_are_switched_off(small, off):
    plain = build(small)
    log = kit.train(plain, small, quick())
    with off():
        model = build(small)
        assert kit.train(model, small, quick()).loss == log.loss
    assert same_weights(plain, model)
    assert len(kit.train(model, small, quick(epochs=1)).loss) == 1  # its weights can learn


def test_train_with_float64_as_default(small):
    torch.set_default_dtype(torch.float64)
    try:
        model = kit.cnn_baseline(small, 2, kit.ModelConfig(True, True, (18, 32), gain=True))
        log = kit.train(model, small, quick(epochs=1))
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.isfinite(log.loss).all()
    assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_train_refuses_precision_that_the_cpu_lacks(small, monkeypatch, precision):
    monkeypatch.setattr(kit.training.distributed, "has_fast_bfloat16", lambda: False)
    model = build(small)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"precision='{precision}' makes .* slower on this CPU"):
        kit.train(model, small, quick(precision=precision))
    assert same_state(before, model.state_dict())
