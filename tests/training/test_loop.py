"""Training: it learns, repeats bit for bit, stops when it should, keeps the best weights."""

import contextlib
import copy
import dataclasses
import errno
import hashlib
import io
import math
import os
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import kit
import kit.training.loop
from kit.training.loop import poisson_loss


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def data(folder):
    """A mouse whose neurons like brightness at one place each; 400 trials, small images."""
    arrays = tiny.arrays(tiers={"train": 300, "validation": 80})
    return kit.load(tiny.write(folder, arrays), size=(18, 32), folder=folder / "data")


@pytest.fixture(scope="module")
def small(folder):
    """40 trials for training: what the tests of the loop itself need."""
    return kit.load(tiny.write(folder, mouse="8-1-1"), size=(18, 32), folder=folder / "data")


def build(data, channels=4, seed=42):
    config = kit.ModelConfig(image_size=tuple(data.image_size), seed=seed)
    return kit.linear_baseline(data, channels, config)


def quick(**changes):
    return kit.TrainConfig(**{"epochs": 3, "batch_size": 16, "device": "cpu"} | changes)


def same_weights(one, other):
    return same_state(one.state_dict(), other.state_dict())


def same_state(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture
def scripted(monkeypatch):
    """Replace the validation score by a script; returns the weights seen at each epoch."""

    def install(correlations):
        script, seen = iter(correlations), []

        def score(model, data, tier):
            assert tier == "validation"
            value = next(script)
            if isinstance(value, BaseException):
                raise value
            seen.append(copy.deepcopy(model.state_dict()))
            return kit.Scores(value, None, None, None, {})

        monkeypatch.setattr(kit.training.loop, "score", score)
        return seen

    return install


# ---- the loss ----


def test_the_poisson_loss_by_hand():
    predictions = torch.tensor([[1.0, 2.0], [4.0, 1.0]])
    responses = torch.tensor([[3.0, 0.0], [1.0, 5.0]])
    # 1 - 3 log 1  +  2 - 0 log 2  +  4 - 1 log 4  +  1 - 5 log 1
    expected = 8 - math.log(4)
    assert poisson_loss(predictions, responses).item() == pytest.approx(expected, abs=1e-5)


def test_the_poisson_loss_is_least_where_predictions_are_right():
    responses = torch.tensor([[0.5, 3.0]])
    right = poisson_loss(responses, responses)
    for factor in (0.8, 1.2):
        assert poisson_loss(responses * factor, responses) > right
    assert torch.isfinite(poisson_loss(torch.zeros(1, 2), responses))


# ---- it learns ----


def test_training_learns_the_tiny_problem(data):
    model = build(data, channels=8)
    before = kit.score(model, data, "validation").single_trial
    log = kit.train(model, data, quick(epochs=15, batch_size=8))
    assert log.loss[-1] < log.loss[0] - 0.1
    assert before < 0.15
    assert log.correlation[log.best_epoch] > 0.3
    assert len(log.loss) == len(log.correlation) == len(log.lr) == len(log.seconds) == 15
    assert log.stopped == "all 15 epochs done"
    assert min(log.seconds) > 0
    assert "15 epochs in" in repr(log)


def test_the_model_ends_with_the_best_weights_in_eval_mode(small):
    model = build(small)
    log = kit.train(model, small, quick(epochs=6))
    assert log.best_epoch == int(np.argmax(log.correlation))
    assert kit.score(model, small, "validation").single_trial == log.correlation[log.best_epoch]
    assert not any(module.training for module in model.modules())


def test_the_same_seed_gives_the_same_result_bit_for_bit(small):
    one, other, third = build(small), build(small), build(small)
    torch.manual_seed(1)
    log = kit.train(one, small, quick())
    torch.manual_seed(2)  # whatever happened before
    np.random.seed(2)  # noqa: NPY002
    again = kit.train(other, small, quick())
    assert same_weights(one, other)
    assert (log.loss, log.correlation) == (again.loss, again.correlation)
    kit.train(third, small, quick(seed=43))
    assert not same_weights(one, third)


def test_training_leaves_the_global_random_state_alone(small):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    kit.train(build(small), small, quick(epochs=1))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_biases_start_at_the_mean_responses(small):
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


# ---- when it stops ----


def test_early_stop_restores_the_best_epoch(small, scripted):
    seen = scripted([0.1, 0.3, 0.2, 0.3, 0.1, 0.9])
    model = build(small)
    log = kit.train(model, small, quick(epochs=10, patience=3))
    assert log.correlation == [0.1, 0.3, 0.2, 0.3, 0.1]  # an equal score is no better one
    assert log.best_epoch == 1
    assert log.stopped == "no better for 3 epochs"
    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())


def test_the_rate_drops_to_the_best_weights_and_then_training_ends(small, scripted):
    seen = scripted([0.5, 0.4, 0.4, 0.6, 0.1, 0.1, 0.1, 0.1])
    model = build(small)
    config = quick(epochs=20, one_cycle=False, patience=2, lr_drops=2, lr=0.01)
    log = kit.train(model, small, config)
    assert len(log.loss) == 8
    rates = [0.01] * 3 + [0.003] * 3 + [0.0009] * 2
    assert log.lr == pytest.approx(rates)
    assert log.best_epoch == 3
    assert log.stopped == "no better for 2 epochs"
    assert all(torch.equal(value, seen[3][name]) for name, value in model.state_dict().items())


def test_one_cycle_rises_and_falls_to_nothing(small):
    log = kit.train(build(small), small, quick(epochs=8, lr=0.01))
    assert max(log.lr) <= 0.01
    assert 0 < int(np.argmax(log.lr)) < 4
    assert log.lr[-1] < 1e-6
    assert log.lr[3:] == sorted(log.lr[3:], reverse=True)


def test_an_interruption_ends_training_not_the_session(small, scripted):
    seen = scripted([0.3, 0.2, KeyboardInterrupt()])
    model = build(small)
    log = kit.train(model, small, quick(epochs=10))
    assert log.stopped == "interrupted"
    assert log.best_epoch == 0
    assert log.correlation == [0.3, 0.2]
    # one entry an epoch in every list, though the third was broken off
    assert len(log.loss) == len(log.lr) == len(log.seconds) == 2
    assert all(torch.equal(value, seen[0][name]) for name, value in model.state_dict().items())
    assert not model.training


def test_an_interruption_before_the_first_score_leaves_the_first_weights(small, monkeypatch):
    model = build(small)
    model.register_data(small)
    first = copy.deepcopy(model)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kit.training.loop, "poisson_loss", interrupted)
    log = kit.train(model, small, quick())
    assert (log.loss, log.correlation, log.best_epoch) == ([], [], None)
    assert log.stopped == "interrupted"
    assert "no epoch finished" in repr(log)
    assert same_weights(model, first)


def test_a_loss_that_is_not_finite_is_an_error_and_the_best_weights_stay(small, monkeypatch):
    model = build(small)
    calls = []

    def loss(predictions, responses):
        calls.append(1)
        return poisson_loss(predictions, responses) * (math.nan if len(calls) > 6 else 1)

    monkeypatch.setattr(kit.training.loop, "poisson_loss", loss)  # three steps an epoch
    with pytest.raises(FloatingPointError, match=r"loss became nan in epoch 3, .* lr=0\.009 "):
        kit.train(model, small, quick(epochs=5))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert np.isfinite(kit.score(model, small, "validation").single_trial)
    assert not model.training


@pytest.mark.parametrize("epoch", [0, 1])
def test_weights_that_break_in_an_epochs_last_step_are_never_the_best(small, monkeypatch, epoch):
    """Its loss is finite still; its validation correlation is not."""
    model = build(small)
    score, epochs = kit.training.loop.score, []

    def broken(*arguments):
        epochs.append(1)
        if len(epochs) == epoch + 1:
            model.readouts["8-1-1"].bias.data[:] = math.nan
        return score(*arguments)

    monkeypatch.setattr(kit.training.loop, "score", broken)
    with pytest.raises(FloatingPointError, match=f"epoch {epoch + 1}"):
        kit.train(model, small, quick(epochs=5))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize("lr", [1e3, 1e30])
def test_a_rate_far_too_high_never_leaves_weights_that_are_not_finite(small, lr):
    model = build(small)
    with contextlib.suppress(FloatingPointError):
        kit.train(model, small, quick(epochs=30, lr=lr, one_cycle=False, patience=40))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_a_recording_without_validation_is_refused_before_any_work(tmp_path):
    arrays = tiny.arrays(tiers={"train": 8})
    data = kit.load(tiny.write(tmp_path, arrays), size=(18, 32), folder=tmp_path / "data")
    model = build(data)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match="no tier 'validation'; its tiers are train, test"):
        kit.train(model, data, quick())
    assert same_weights(model, before)
    assert model.data_statistics == {}


# ---- checkpoints: killed processes and several of them are in test_processes.py ----


PLATEAUS = {"epochs": 30, "one_cycle": False, "patience": 2, "lr_drops": 2}


@pytest.mark.parametrize(
    "changes", [{"epochs": 6}, PLATEAUS, {"epochs": 6, "precision": "bf16-mixed"}], ids=str
)
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    small, tmp_path, monkeypatch, changes
):
    config, path = quick(**changes), tmp_path / "new" / "run"
    whole, broken, again = build(small), build(small), build(small, seed=43)
    log = kit.train(whole, small, config)
    score, calls = kit.training.loop.score, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kit.training.loop, "score", interrupted)
        first = kit.train(broken, small, config, path)
    assert first.stopped == "interrupted"
    assert len(first.loss) == 3
    again.config = broken.config  # other first weights are no matter
    second = kit.train(again, small, config, checkpoint=path)
    assert same_weights(whole, again)
    assert not again.training
    assert second.seconds[:3] == first.seconds
    assert vars(second) | {"seconds": None} == vars(log) | {"seconds": None}
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_a_checkpoint_changes_nothing_and_is_only_read_when_finished(small, tmp_path, monkeypatch):
    plain, kept, again = build(small), build(small), build(small)
    log = kit.train(plain, small, quick())
    same = kit.train(kept, small, quick(), tmp_path / "run")
    assert same_weights(plain, kept)
    assert same.correlation == log.correlation
    before = (tmp_path / "run").stat().st_mtime_ns
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained again"))
    assert kit.train(again, small, quick(), tmp_path / "run") == same
    assert same_weights(plain, again)
    assert (tmp_path / "run").stat().st_mtime_ns == before
    assert kit.score(again, small, "validation").single_trial == max(log.correlation)


@pytest.fixture(scope="module")
def finished(small, folder):
    path = folder / "finished"
    kit.train(build(small), small, quick(epochs=1), path)
    return path


@pytest.mark.parametrize(
    "changes", [{"epochs": 2}, {"lr": 0.01}, {"batch_size": 8}, {"seed": 1}, {"patience": 3}],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_other_settings_is_refused(small, finished, changes):
    ((name, value),) = changes.items()
    then = getattr(quick(epochs=1), name)
    model = build(small)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=f"with {name}={then}, this one has {name}={value}; go on"):
        kit.train(model, small, quick(**{"epochs": 1} | changes), finished)
    assert same_weights(model, before)


def test_a_checkpoint_of_another_model_or_mouse_is_refused(small, data, finished, folder):
    changed = kit.load(tiny.write(folder, tiny.arrays(4), "8-1-1"), (18, 32), folder / "changed")
    cnn = kit.cnn_baseline(small, 4, kit.ModelConfig(image_size=(18, 32)))
    own = kit.Model(torch.nn.Conv2d(1, 4, 9), small.neurons, build(small).config)
    for model, mice, said in (
        (build(data), data, "mice=8-1-1, this one has mice=7-1-1"),
        (build(changed), changed, "neurons of 8-1-1=24 "),
        (build(small, channels=5), small, "core=ConvCore .*'channels': 4.* has core=.* 5"),
        (build(small, seed=1), small, "model=ModelConfig"),
        (cnn, small, "core=ConvCore"),
        (own, small, "core=ConvCore .* has core=Conv2d"),
    ):
        with pytest.raises(ValueError, match=f"{finished} is of a training with {said}"):
            kit.train(model, mice, quick(epochs=1), finished)


def test_a_damaged_or_foreign_checkpoint_is_refused(small, finished, tmp_path):
    content, path = finished.read_bytes(), tmp_path / "run"
    magic = len(kit.training.resume.MAGIC)
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damage, said in (
        (content[:-1], "damaged"),
        (content[: magic + 10], "damaged"),
        (flipped, "damaged"),
        (content + b"more", "damaged"),
        (b"", "not a checkpoint that kit.train wrote"),
        (content[magic:], "not a checkpoint that kit.train wrote"),
        (b"PK\x03\x04 something else", "not a checkpoint that kit.train wrote"),
    ):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=f"{path} is {said}"):
            kit.train(build(small), small, quick(epochs=1), path)
        assert path.read_bytes() == damage


class Harmful:
    def __reduce__(self):
        return pytest.fail, ("code in a checkpoint was run",)


def test_no_code_in_a_checkpoint_is_run(small, tmp_path):
    content = io.BytesIO()
    torch.save({"identity": Harmful()}, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest().encode()
    (tmp_path / "run").write_bytes(kit.training.resume.MAGIC + digest + content.getvalue())
    with pytest.raises(ValueError, match="holds more than numbers and is not opened"):
        kit.train(build(small), small, quick(), tmp_path / "run")


@pytest.mark.parametrize("place", ["", "file/run", "missing/../file/run"])
def test_a_place_that_cannot_hold_the_checkpoint_is_told_before_training(
    small, tmp_path, monkeypatch, place
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match=r"cannot be (read|written)[^\n]*: [^\n]*; "):
        kit.train(build(small), small, quick(), tmp_path / place)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
                    reason="this user may write everywhere")  # fmt: skip
def test_a_checkpoint_where_one_may_not_write_is_told_before_training(small, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    said = f"run cannot be written: {os.strerror(errno.EACCES).lower()}; "
    with pytest.raises(PermissionError, match=said):
        kit.train(build(small), small, quick(), tmp_path / "locked" / "run")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells no resident memory")
def test_memory_stays_flat_over_200_epochs(small, tmp_path, monkeypatch):
    sizes, score = [], kit.training.loop.score

    def measured(*arguments):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        return score(*arguments)

    monkeypatch.setattr(kit.training.loop, "score", measured)
    kit.train(build(small), small, quick(epochs=200, patience=200), tmp_path / "run")
    assert len(sizes) == 200
    assert sizes[199] - sizes[19] < 30


# ---- recordings of any size, several mice ----


@pytest.mark.parametrize(
    "batch_size, steps", [(128, 1), (40, 1), (39, 1), (32, 1), (26, 2), (7, 6)]
)
def test_steps_an_epoch(small, monkeypatch, batch_size, steps):
    """40 trials: a last batch under half the size is left out, but there is always one."""
    calls = []
    monkeypatch.setattr(
        kit.training.loop,
        "poisson_loss",
        lambda p, r: (calls.append(len(r)), poisson_loss(p, r))[1],
    )
    log = kit.train(build(small), small, quick(epochs=1, batch_size=batch_size))
    assert len(calls) == steps
    assert calls[0] == min(batch_size, 40)
    assert np.isfinite(log.loss).all()


def test_one_trial_can_be_trained_on(tmp_path):
    arrays = tiny.arrays(tiers={"train": 1, "validation": 3})
    data = kit.load(tiny.write(tmp_path, arrays), size=(18, 32), folder=tmp_path / "data")
    log = kit.train(build(data), data, quick(epochs=1))
    assert np.isfinite(log.loss).all()


def test_two_mice_alternate_and_both_learn(small, folder, monkeypatch):
    arrays = tiny.arrays(seed=3, neurons=10, tiers={"train": 70, "validation": 12})
    path = tiny.write(folder, arrays, "9-1-1")
    other = kit.load(path, size=(18, 32), folder=folder / "data")
    both = kit.Dataset([small["8-1-1"], other["9-1-1"]])
    model = build(both)
    before = copy.deepcopy(model)
    order = []
    monkeypatch.setattr(
        kit.training.loop,
        "poisson_loss",
        lambda p, r: (order.append(r.shape[1]), poisson_loss(p, r))[1],
    )
    log = kit.train(model, both, quick(epochs=1))
    # 40 trials make 2 full batches and a half one, 70 make 4; batches of 16
    assert order == [10, 24, 10, 24, 10, 24, 10]  # by turns, all until the end
    for mouse in both:
        assert not torch.equal(
            before.readouts[mouse].feature_weights, model.readouts[mouse].feature_weights
        )
    pooled = [
        kit.metrics.correlation(
            kit.predict(model, both, "validation", mouse),
            both[mouse].responses[both[mouse].rows("validation")],
        )
        for mouse in both
    ]
    assert log.correlation[0] == pytest.approx(np.concatenate(pooled).mean(), abs=1e-9)


def test_one_of_a_models_mice_can_be_trained_and_predicted_alone(small, folder):
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


# ---- settings ----


def test_the_2022_recipe():
    recipe = kit.TrainConfig.sensorium2022()
    assert dataclasses.asdict(recipe) == {
        "epochs": 200,
        "lr": 9e-3,
        "batch_size": 128,
        "one_cycle": False,
        "patience": 5,
        "lr_drops": 3,
        "seed": 42,
        "device": "auto",
        "precision": "32-true",
    }
    assert kit.TrainConfig.sensorium2022(epochs=3, seed=1).epochs == 3
    assert kit.TrainConfig.quick().epochs < kit.TrainConfig().epochs
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.lr = 1
    with pytest.raises(TypeError):
        kit.TrainConfig.quick(learning_rate=1)


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 0}, {"lr": -1.0}, {"lr": math.nan}, {"device": "gpux"},
     {"patience": 0}, {"lr_drops": -1}],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(small, changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=rf"{name}.*{value}|{value}.*{name}"):
        kit.train(build(small), small, quick(**changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there(small):
    with pytest.raises(ValueError, match="cuda"):
        kit.train(build(small), small, quick(device="cuda"))


def test_a_model_that_does_not_fit_is_refused_before_training(small, data):
    with pytest.raises(ValueError, match="no readout for mouse '7-1-1'"):
        kit.train(build(small), data, quick())


# ---- the real thing ----


@pytest.mark.slow
def test_a_short_training_reaches_most_of_the_ceiling():
    data = kit.load("sample+")
    model = kit.cnn_baseline(data, channels=16)
    log = kit.train(model, data, kit.TrainConfig.quick(device="cpu"))
    mouse, truth = data.mouse, kit.truth("sample+")
    rows = mouse.rows("validation")
    ceiling = kit.metrics.correlation(truth.rates[rows], mouse.responses[rows]).mean()
    assert log.correlation[log.best_epoch] > 0.55 * ceiling


# ---- several mice ----


@pytest.fixture(scope="module")
def uneven(folder):
    """40 trials of one mouse and 12 of another."""
    path = tiny.write(folder, tiny.arrays(3, neurons=9), "8-3-3")
    other = kit.load(path, size=(18, 32), folder=folder / "data")
    small = kit.load(tiny.write(folder, mouse="8-1-1"), size=(18, 32), folder=folder / "data")
    return kit.Dataset([small.mouse, other.mouse.subset(12)])


def test_mice_take_turns_until_the_end_of_the_epoch(uneven):
    """Ten batches of one and three of the other: the three are spread over the ten."""
    steps = list(kit.training.loop._batches(uneven, quick(batch_size=4), 0))
    order = "".join(mouse[2] for mouse, _ in steps)
    assert [i for i, mouse in enumerate(order) if mouse == "3"] == [2, 6, 10]
    for mouse, batch in steps:
        assert batch.responses.shape == (4, 9 if mouse == "8-3-3" else 24)


def test_fewer_images(small):
    few = small.subset(7)
    assert list(few) == list(small) and few.mouse.rows("train").tolist() == (
        small.mouse.rows("train")[:7].tolist()
    )
    assert few.mouse.images is small.mouse.images
    assert (few.mouse.rows("validation") == small.mouse.rows("validation")).all()
    assert ", 7 train," in repr(few).replace("neurons", ",")
    assert len(small.mouse.rows("train")) == 40
    for wrong in (0, 41, 2.5):
        with pytest.raises(ValueError, match="train trials cannot be had of mouse 8-1-1; give 1"):
            small.subset(wrong)


def test_a_frozen_core_learns_nothing_and_stays_in_eval(small):
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


def test_transfer_leaves_the_old_model_alone_and_tunes_the_core_last(small, uneven, monkeypatch):
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
