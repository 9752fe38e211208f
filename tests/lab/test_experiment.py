"""Questions to a model: blocks, states, choices of neurons, and a model that stays as it was."""

import numpy as np
import pytest
import tiny
import torch
from hand_cells import SIZE, Arousal, Energy

import kit
from kit.lab import Screen, State, screen_of
from kit.lab.controls import controls
from kit.lab.experiment import BLOCK, Subject


@pytest.fixture(scope="module")
def model(plus):
    config = kit.ModelConfig.of(plus, gain=True)
    model = kit.cnn_baseline(plus, 4, config)
    model.register_data(plus)
    return model


def test_responses_are_the_models_in_a_typical_state(model):
    images = screen_of(model).white_noise(BLOCK + 3, 0)  # more than a block
    responses = kit.lab.responses(model, images)
    with kit.layers.eval_mode(model), torch.no_grad():
        expected = model(kit.Batch.typical(images)).numpy()
    np.testing.assert_allclose(responses, expected, rtol=1e-5)
    for same in (torch.from_numpy(images), images[:, 0]):
        np.testing.assert_array_equal(kit.lab.responses(model, same), responses)


def test_responses_in_another_state():
    images = np.zeros((2, *SIZE))
    cell, state = Arousal(), State(pupil=5, running=2, eye_x=-1)
    np.testing.assert_allclose(kit.lab.responses(cell, images), [[1.5, 5]] * 2)
    np.testing.assert_allclose(kit.lab.responses(cell, images, state=state), [[6, 4]] * 2)


def test_state_is_typical_by_default():
    images = torch.zeros(3, 1, 4, 5)
    for ours, typical in zip(State().batch(images), kit.Batch.typical(images), strict=True):
        assert ours is typical is None or torch.equal(ours, typical)
    assert State().changed("running", 2) == State(running=2)
    assert type(State(pupil=np.float32(3)).pupil) is float


def test_responses_leave_the_model_as_it_was(model):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kit.lab.responses(model, screen_of(model).blank())
    kit.lab.receptive_fields(model, [0])
    kit.lab.most_exciting_images(model, [0], config=kit.lab.AscentConfig(steps=2))
    assert model.training
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("neurons, chosen", [
    (None, [0, 1]), (1, [1]), (-1, [1]), (slice(1), [0]), ([1, 0], [1, 0]), ((1, 0), [1, 0]),
    (np.array([False, True]), [1]),
])  # fmt: skip
def test_choose(neurons, chosen):
    assert list(Subject(Energy(), "hand").choose(neurons)) == chosen


@pytest.mark.parametrize("neurons", [2, [0, 5], [], 0.5, "all", [[0, 1]], {}, (0, 9), slice("a")])
def test_choose_refuses_what_is_no_neuron(neurons):
    with pytest.raises(ValueError, match=r"not neurons of mouse hand; .* 0 to 1; of unit ids, np"):
        Subject(Energy(), "hand").choose(neurons)


@pytest.mark.parametrize("images", [np.zeros((2, 1, 36, 60)), np.zeros((0, 1, 36, 64)),
                                    np.zeros((36, 64)), 3])  # fmt: skip
def test_responses_refuses_other_images(images):
    with pytest.raises(ValueError, match=r"takes images \(n, 1, H, W\) of \(36, 64\) pixels"):
        kit.lab.responses(Energy(), images)


@pytest.mark.parametrize("call, message", [
    (lambda cell: kit.lab.orientation_tuning("sample+-cnn"), "a model is needed, not a str; give"),
    (lambda cell: kit.lab.orientation_tuning(cell, grid=12), "grid=12 is not a Gratings; give k"),
    (lambda cell: kit.lab.responses(cell, np.zeros((1, *SIZE)), state=5), "state=5 is not a State"),
    (lambda cell: kit.lab.size_tuning(cell, [3]), r"mouse=\[3\] is not possible; give a text or N"),
    (lambda cell: kit.lab.responses(cell, np.full((1, *SIZE), np.nan)), "images has values"),
    (lambda cell: State(running=np.nan), "running=nan is not possible; give a number from -20"),
    (lambda cell: State(pupil=60), "pupil=60 is not possible; give a number from -20 to 20"),
    (lambda cell: State().changed("running", 200), "running=200 is not possible"),
    (lambda cell: State().changed("runing", 2), "quantity='runing' is not possible; give one of p"),
    (lambda cell: kit.lab.most_exciting_images(cell, config=9), "config=9 is not a AscentConfig"),
])  # fmt: skip
def test_bad_arguments_get_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(Energy())


def test_a_module_of_your_own_needs_neither_size_nor_mouse():
    class Brightness(torch.nn.Module):
        def forward(self, batch, mouse=None):
            return batch.images.mean((1, 2, 3))[:, None]

    assert kit.lab.responses(Brightness(), np.ones((2, 36, 64))).tolist() == [[1], [1]]
    fields = kit.lab.receptive_fields(Brightness())
    np.testing.assert_allclose(fields, np.full((1, 36, 64), 1 / (36 * 64)), rtol=1e-5)


@pytest.mark.parametrize("mean, std", [(0.45, 0.25), (-0.02, 0.98), (28e3, 16e3), (2, 0.9)])
def test_screen_of_pixels_of_another_range_is_the_benchmarks(plus, mean, std):
    """Other labs' images may be 0-1, z-scored, of 16 bits or very dark."""
    model = kit.linear_baseline(plus, 2)
    model.data_statistics = {"7-1-1": {"images_mean": np.float32(mean), "images_std": std}}
    assert screen_of(model) == Screen((18, 32))


def test_screen_of_takes_size_and_statistics_from_the_model(plus):
    model = kit.linear_baseline(plus, 2)
    assert screen_of(model) == Screen((18, 32))  # not trained: the benchmark's statistics
    model.register_data(plus)
    mean, std = (float(plus.mouse.statistics[f"images_{name}"]) for name in ("mean", "std"))
    assert screen_of(model) == screen_of(kit.ensemble([model])) == Screen((18, 32), (mean, std))
    assert screen_of(model, degrees_per_pixel=2).degrees_per_pixel == 2
    assert screen_of(torch.nn.Identity()).size == (36, 64)
    cells = kit.truth("sample+").cells
    assert screen_of(cells).pixel_statistics == tuple(map(float, cells.pixel_statistics))
    with pytest.raises(ValueError, match="no readout for mouse 'x'"):
        screen_of(model, "x")


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_where_the_caller_switched_them_off(model, switch):
    expected = kit.lab.receptive_fields(model, [0])
    with switch():
        np.testing.assert_array_equal(kit.lab.receptive_fields(model, [0]), expected)
        kit.lab.most_exciting_images(model, [0], config=kit.lab.AscentConfig(steps=2))


def test_responses_warn_of_photographs_from_0_to_1(model):
    photographs = np.random.default_rng(0).beta(2, 3, (3, 18, 32))
    with pytest.warns(UserWarning, match=r"lie from 0 to 1, .* use \(255 \* images - 113.5\)"):
        kit.lab.responses(model, photographs)
    screen = screen_of(model)
    for stimuli in (screen.disc([2, 5, 9, 40], 0.9), screen.disc(40, 0.9), screen.blank()):
        assert stimuli.min() >= 0
        kit.lab.responses(model, stimuli)  # bright on grey: no warning


def test_state_of_a_model_of_other_columns(plus):
    """It takes running by its name; licks keep their mean; the pupil is not to be asked for."""
    data = tiny.with_columns(plus, "licks", "running", eye=False)
    config = kit.ModelConfig.of(data, gain=True)
    model = kit.cnn_baseline(data, 2, config)
    model.register_data(data)
    torch.nn.init.normal_(model.gains["7-1-1"].mlp[2].weight)
    images = screen_of(model).white_noise(3, 0)
    licks = data.mouse.behavior[:, 0].mean()
    behavior = torch.tensor([[licks, 2.0]]).expand(3, -1)
    with kit.layers.eval_mode(model), torch.no_grad():
        expected = model(kit.Batch(torch.from_numpy(images), None, behavior)).numpy()
    responses = kit.lab.responses(model, images, state=State(running=2, pupil=9))
    np.testing.assert_allclose(responses, expected, rtol=1e-5)
    assert Subject(model).takes == ("running",)
    assert "running" in [each.name for each in controls(model)]
    assert not {"pupil", "eye_x"} & {each.name for each in controls(model)}
    tuning = kit.lab.state_tuning(model, "running", images=images)
    assert np.ptp(tuning.curves, axis=1).max() > 0
    with pytest.raises(ValueError, match="does not take pupil"):
        kit.lab.state_tuning(model, "pupil")
    assert kit.lab.receptive_fields(model, [0]).shape == (1, 18, 32)
