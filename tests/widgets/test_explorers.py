"""The explorers show what the recording holds and what the model answers, whatever is moved."""

import copy
import io
import threading
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn
from trainer import same_weights
from waiting import LIMIT

import kit
from kit.lab import State, screen_of
from kit.widgets import neuron_explorer, playground, trial_explorer
from kit.widgets.explorers import ASCENT_STEPS, NEURONS


def move(explorer, **values):
    for name, value in values.items():
        explorer.controls[name].value = value


def changed(recording, **changes):
    return kit.Dataset([replace(recording, **changes)])


@pytest.fixture(scope="module")
def small(plus):
    """A model that takes all there is, of 18 x 32 pixels."""
    return kit.cnn_baseline(plus, 2, kit.ModelConfig.of(plus, gain=True))


@pytest.fixture(scope="module")
def twin():
    return kit.pretrained("sample+-cnn")


# ---- trials ----


def sorted_rows(recording, tier):
    """A tier's trials in the order in which they are shown."""
    rows = recording.rows(tier)
    return rows[np.argsort(recording.image_ids[rows], kind="stable")]


@pytest.mark.parametrize("tier, number", [("train", 40), ("validation", 3)])
def test_trial_explorer_shows_the_row(plus, tier, number):
    explorer, mouse = trial_explorer(plus), plus.mouse
    move(explorer, tier=tier, trial=number)
    row, figure = sorted_rows(mouse, tier)[number - 1], explorer.figure
    np.testing.assert_array_equal(figure.image.get_array(), mouse.images[row, 0])
    np.testing.assert_array_equal(figure.dots.get_array(), mouse.responses[row])
    np.testing.assert_array_equal(figure.dots.get_offsets(), mouse.coordinates[:, :2])
    for line, value in zip(figure.lines, mouse.behavior[row], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [value, value])
    np.testing.assert_array_equal(figure.eye.get_xydata(), mouse.pupil_center[[row]])
    shown, (pupil, _, running) = mouse.responses[row], mouse.behavior[row]
    assert explorer.text == (
        f"Trial {number} of {len(mouse.rows(tier))} in the tier {tier}: image "
        f"{mouse.image_ids[row]}, shown once; {100 * (shown > 0).mean():.0f}% of the neurons "
        f"responded, mean {shown.mean():.2f} std; pupil {pupil:.1f} std, running {running:.1f} std."
    )


def test_trial_explorer_changes_picture_and_sentence(plus):
    explorer = trial_explorer(plus)
    shown = [(explorer.picture.value, explorer.text)]
    for control in ({"trial": 2}, {"tier": "validation"}, {"trial": 5}):
        move(explorer, **control)
        shown.append((explorer.picture.value, explorer.text))
    pictures, texts = zip(*shown, strict=True)
    assert len(set(pictures)) == len(set(texts)) == 4


def test_trial_explorer_repeats_stand_side_by_side(plus):
    explorer = trial_explorer(plus)
    assert explorer.controls["tier"].options == ("train", "validation", "test", "final_test")
    move(explorer, tier="test")
    images = []
    for number in range(1, 12):
        move(explorer, trial=number)
        images.append(explorer.figure.image.get_array().mean())
        repeats = 3 if number > 8 else 4
        assert f"shown {repeats} times; the responses are withheld" in explorer.text
    assert len(set(images[:4])) == len(set(images[4:8])) == len(set(images[8:])) == 1


def test_trial_explorer_tier_with_fewer_trials(plus):
    """The trial slider moves with its tier, while the tier's own move is being handled."""
    explorer = trial_explorer(plus)
    trial = explorer.controls["trial"]
    move(explorer, trial=40)
    thread = threading.Thread(target=move, args=[explorer], kwargs={"tier": "validation"})
    thread.daemon = True  # were it to wait for itself, it would never end
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert (trial.value, trial.max) == (12, 12)
    assert explorer.text.startswith("Trial 12 of 12 in the tier validation:")
    move(explorer, tier="train")
    assert (trial.value, trial.max) == (12, 40)


def test_trial_explorer_number_beyond_the_tier(plus):
    """Another thread may draw after the tier has moved and before the trial slider has."""
    explorer = trial_explorer(plus)
    explorer.controls["trial"].max = 99
    move(explorer, trial=99)
    assert explorer.text.startswith("Trial 40 of 40 ")


def test_trial_explorer_responses_withheld(plus):
    explorer = trial_explorer(plus)
    figure = explorer.figure
    (note,) = figure.notes
    assert figure.dots.get_visible() and not note.get_visible()
    move(explorer, tier="test")
    assert not figure.dots.get_visible() and note.get_visible()
    assert "responses are withheld" in explorer.text
    move(explorer, tier="train")
    assert figure.dots.get_visible() and not note.get_visible()


def test_trial_explorer_behavior_withheld(plain):
    explorer = trial_explorer(plain)
    assert explorer.figure.lines == [] and explorer.figure.eye is None
    assert "pupil" not in explorer.text
    move(explorer, trial=2)
    assert explorer.text.startswith("Trial 2 of 40 ")


def test_trial_explorer_without_eye_position(plus):
    explorer = trial_explorer(changed(plus.mouse, pupil_center=None))
    assert explorer.figure.eye is None and len(explorer.figure.lines) == 3
    move(explorer, trial=2)
    assert "pupil" in explorer.text and explorer.text.startswith("Trial 2 of 40 ")


def test_trial_explorer_sample_mouse_of_the_sensorium_track():
    explorer = trial_explorer(kit.load("sample"))
    move(explorer, tier="final_test", trial=2)
    assert explorer.text.endswith("the responses are withheld.")


def test_trial_explorer_one_of_several_mice(plus, other):
    both = kit.Dataset([plus.mouse, other.mouse])
    with pytest.raises(ValueError, match="there are 2 mice here; choose one of 7-1-1, 8-1-1"):
        trial_explorer(both)
    explorer = trial_explorer(both, "8-1-1")
    assert len(explorer.figure.dots.get_array()) == 10
    with pytest.raises(KeyError, match="there is no mouse 'x' here"):
        trial_explorer(both, "x")


@pytest.mark.parametrize("wrong", ["sample+", None, "recording"])
def test_trial_explorer_needs_a_dataset(plus, wrong):
    with pytest.raises(ValueError, match="a Dataset is needed, not a "):
        trial_explorer(plus.mouse if wrong == "recording" else wrong)


def test_trial_explorer_one_neuron(plus):
    mouse = plus.mouse
    one = changed(mouse, responses=mouse.responses[:, :1], unit_ids=mouse.unit_ids[:1],
                  coordinates=mouse.coordinates[:1])  # fmt: skip
    explorer = trial_explorer(one)
    shown = mouse.responses[sorted_rows(mouse, "train")[0], :1]
    np.testing.assert_array_equal(explorer.figure.dots.get_array(), shown)


# ---- the playground ----


SET = {"orientation": 90, "frequency": 0.1, "radius": 9, "x": -3, "y": 2, "contrast": 0.5,
       "pupil": 5, "running": 1.5, "eye_x": -1, "eye_y": 0.5}  # fmt: skip


def require_answer(explorer, model, mouse=None):
    """Stimulus, responses and sentence are what the laboratory gives for the controls' values."""
    values = {name: control.value for name, control in explorer.controls.items()}
    screen, angle = screen_of(model, mouse), np.radians(values["orientation"])
    center, radius = np.array([values["x"], values["y"]]), values["radius"]
    across = center @ [np.cos(angle), np.sin(angle)]
    image = screen.grating(angle, values["frequency"], -2 * np.pi * values["frequency"] * across,
                           values["contrast"], center, radius)  # fmt: skip
    drawn = explorer.figure.stimulus.get_array()
    np.testing.assert_allclose(drawn, image[0, 0], atol=1e-5)
    state = State(**{name: values[name] for name in list(SET)[6:] if name in values})
    shown = kit.lab.responses(model, drawn.data[None], mouse, state)[0]
    np.testing.assert_array_equal(explorer.figure.dots.get_array(), shown)
    assert explorer.text == (
        f"Grating of {values['orientation']} degrees and {values['frequency']:.2f} cycles per "
        f"pixel, radius {radius}: the mean response of {len(shown):,} neurons is "
        f"{shown.mean():.2f} std; neuron {shown.argmax()} responds most, with "
        f"{shown.max():.1f} std."
    )


def test_playground_every_control_changes_the_answer(twin):
    explorer = playground(twin)
    assert list(explorer.controls) == list(SET)
    require_answer(explorer, twin)
    for name, value in SET.items():
        picture, text = explorer.picture.value, explorer.text
        move(explorer, **{name: value})
        assert explorer.picture.value != picture and explorer.text != text, name
        require_answer(explorer, twin)


def test_playground_of_a_model_of_images_alone():
    model = kit.pretrained("sample-cnn")
    explorer = playground(model)
    assert list(explorer.controls) == list(SET)[:6]
    move(explorer, orientation=135)
    require_answer(explorer, model)


def test_playground_of_an_ensemble(twin):
    both = kit.ensemble([twin, kit.pretrained("sample+-ln")])
    explorer = playground(both)
    move(explorer, running=2)
    require_answer(explorer, both)


def test_playground_of_simulated_cells():
    cells, mouse = kit.truth("sample+").cells, kit.load("sample+").mouse
    explorer = playground(cells, coordinates=mouse.coordinates)
    assert list(explorer.controls) == list(SET)
    move(explorer, eye_x=1, x=-10)
    require_answer(explorer, cells)
    np.testing.assert_array_equal(explorer.figure.dots.get_offsets(), mouse.coordinates[:, :2])
    with pytest.raises(ValueError, match="a Cells does not say where its neurons are; give coord"):
        playground(cells)
    with pytest.raises(ValueError, match="these are the cells of mouse"):
        playground(cells, "x", mouse.coordinates)


def test_playground_places_are_the_models_or_those_given(small, plus):
    own = playground(small).figure
    place = small.readouts["7-1-1"].cortical_positions
    np.testing.assert_array_equal(own.dots.get_offsets(), place)
    assert own.dots.axes.get_xlabel() == "cortical x (-1 to 1)"
    given = playground(small, coordinates=plus.mouse.coordinates).figure
    np.testing.assert_array_equal(given.dots.get_offsets(), plus.mouse.coordinates[:, :2])
    assert given.dots.axes.get_xlabel() == "cortical x (µm)"


@pytest.mark.parametrize("shape", [(23, 3), (24, 4), (24,), (24, 3, 1), ()])
def test_playground_coordinates_of_other_neurons(small, shape):
    with pytest.raises(ValueError, match=r"must be numbers \(24, 2\) or \(24, 3\), these"):
        playground(small, coordinates=np.zeros(shape))


def test_playground_coordinates_that_are_not_finite(small):
    with pytest.raises(ValueError, match="coordinates has values that are not finite numbers"):
        playground(small, coordinates=np.full((24, 2), np.nan))


def test_playground_of_one_of_several_mice(plus, other):
    both = kit.Dataset([plus.mouse, other.mouse])
    model = kit.linear_baseline(both, 2, kit.ModelConfig(image_size=(18, 32)))
    explorer = playground(model, "8-1-1")
    move(explorer, orientation=10)
    require_answer(explorer, model, "8-1-1")
    assert len(explorer.figure.dots.get_array()) == 10
    with pytest.raises(ValueError, match=r"no readout for mouse None; it knows 7-1-1, 8-1-1"):
        playground(model)


def test_playground_needs_a_model():
    with pytest.raises(ValueError, match="a model is needed, not a str; give a kit"):
        playground("sample+-cnn")


@pytest.mark.parametrize("size", [(18, 32), (64, 36), (9, 9)])
def test_playground_of_other_image_sizes(size):
    place = np.random.default_rng(0).uniform(0, 600, (5, 2))
    config = kit.ModelConfig(image_size=size)
    model = kit.Model(nn.Conv2d(1, 2, 5), {"mouse": place}, config)
    explorer = playground(model)
    assert explorer.figure.stimulus.get_array().shape == size
    for name in ("radius", "x", "y"):
        move(explorer, **{name: explorer.controls[name].max})
        require_answer(explorer, model)


@pytest.mark.parametrize("place", [np.zeros((1, 2)), np.full((5, 3), 300.0)])
def test_playground_of_one_neuron_or_all_at_one_place(place):
    model = kit.Model(nn.Conv2d(1, 2, 5), {"mouse": place})
    for explorer in (playground(model), playground(model, coordinates=place)):
        move(explorer, orientation=90)
        require_answer(explorer, model)


def test_playground_of_neurons_that_never_respond():
    class Silent(nn.Module):
        def forward(self, batch, mouse=None):
            return torch.zeros(len(batch.images), 3)

    explorer = playground(Silent(), coordinates=np.eye(3))
    assert "mean response of 3 neurons is 0.00 std" in explorer.text


def test_playground_keeps_its_own_copy(small, plus):
    model = copy.deepcopy(small)
    explorer, before = playground(model), copy.deepcopy(model)
    kit.train(model, plus, kit.TrainConfig(epochs=1, device="cpu"))
    move(explorer, orientation=90, running=2)
    require_answer(explorer, before)
    with pytest.raises(AssertionError):
        require_answer(explorer, model)


def test_playground_moved_during_a_training_leaves_its_result(small, plus, monkeypatch):
    model, other = copy.deepcopy(small), copy.deepcopy(small)
    config = kit.TrainConfig(epochs=1, batch_size=16, device="cpu")
    kit.train(other, plus, config)
    explorer, loss, texts = playground(model), kit.training.loop.poisson_loss, set()

    def while_it_moves(*arguments):
        move(explorer, orientation=5 * len(texts))
        texts.add(explorer.text)
        return loss(*arguments)

    monkeypatch.setattr(kit.training.loop, "poisson_loss", while_it_moves)
    kit.train(model, plus, config)
    assert len(texts) == 3 and same_weights(model, other)


class Watched(nn.Module):
    """A core that notes in which mode another model is whenever it is asked."""

    models, modes = (), []  # of the class, so that a copy of the core has them too

    def forward(self, images):
        self.modes.extend(part.training for model in self.models for part in model.modules())
        return images


def test_playground_leaves_the_mode_of_the_model_alone(monkeypatch):
    """A training may go on while the widget draws: its batch norm must not change its mode."""
    model = kit.Model(Watched(), {"mouse": np.eye(3)}).train()
    monkeypatch.setattr(Watched, "models", (model,))
    monkeypatch.setattr(Watched, "modes", [])
    explorer = playground(model)
    move(explorer, orientation=90)
    assert len(Watched.modes) > 0 and all(Watched.modes)


# ---- neurons ----


def test_neuron_explorer_shows_the_neuron(plus, small):
    explorer, mouse = neuron_explorer(small, plus, neurons=[7, 3]), plus.mouse
    rows = mouse.rows("validation")
    predictions = kit.predict(small, plus, "validation")
    scores = kit.metrics.correlation(predictions, mouse.responses[rows])
    fields = kit.lab.receptive_fields(small, [7, 3])
    config = kit.lab.AscentConfig(steps=ASCENT_STEPS)
    images = kit.lab.most_exciting_images(small, [7, 3], config=config).images
    assert explorer.controls["neuron"].options == (("7", 7), ("3", 3))
    pictures = []
    for i, neuron in enumerate([7, 3]):
        move(explorer, neuron=neuron)
        figure = explorer.figure
        pictures.append(explorer.picture.value)
        np.testing.assert_array_equal(figure.place.get_xydata(), mouse.coordinates[[neuron], :2])
        np.testing.assert_allclose(figure.field.get_array(), fields[i], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(figure.image.get_array(), images[i, 0], rtol=1e-4, atol=1e-5)
        predicted, recorded = figure.trials.get_xydata().T
        np.testing.assert_array_equal(predicted, predictions[:, neuron])
        np.testing.assert_array_equal(recorded, mouse.responses[rows, neuron])
        rank = 1 + sum(score > scores[neuron] for score in scores)
        assert explorer.text == (
            f"Neuron {neuron}: on 12 validation trials its single-trial correlation is "
            f"{scores[neuron]:.2f}, rank {rank} of 24 neurons."
        )
    assert pictures[0] != pictures[1]


def test_neuron_explorer_goes_from_the_best_to_the_worst(plus, small, monkeypatch):
    monkeypatch.setattr(kit.widgets.explorers, "NEURONS", 5)
    explorer = neuron_explorer(small, plus)
    ranks = []
    for _, neuron in explorer.controls["neuron"].options:
        move(explorer, neuron=neuron)
        ranks.append(int(explorer.text.split("rank ")[1].split()[0]))
    assert ranks == [1, 6, 12, 18, 24]
    assert NEURONS == 24


def test_neuron_explorer_has_at_most_the_neurons_there_are(other):
    model = kit.linear_baseline(other, 2, kit.ModelConfig(image_size=(18, 32)))
    assert len(neuron_explorer(model, other).controls["neuron"].options) == 10


def test_neuron_explorer_one_neuron(plus, small):
    explorer = neuron_explorer(small, plus, neurons=-1)
    assert explorer.controls["neuron"].options == (("23", 23),)
    assert explorer.text.startswith("Neuron 23: ")


def test_neuron_explorer_of_simulated_cells():
    cells, data = kit.truth("sample+").cells, kit.load("sample+")
    explorer = neuron_explorer(cells, data, neurons=[3])
    recorded = explorer.figure.trials.get_ydata()
    np.testing.assert_array_equal(recorded, data.mouse.responses[data.mouse.rows("validation"), 3])


def test_neuron_explorer_refuses_unknown_neurons_and_other_data(plus, other, small):
    with pytest.raises(ValueError, match=r"neurons=\[24\] are not neurons of mouse 7-1-1; give"):
        neuron_explorer(small, plus, neurons=[24])
    with pytest.raises(ValueError, match="no readout for mouse '8-1-1'; it knows 7-1-1"):
        neuron_explorer(small, other)
    with pytest.raises(ValueError, match="a Dataset is needed, not a Recording"):
        neuron_explorer(small, plus.mouse)


# ---- all of them ----


def made(name, plus, small):
    if name == "trials":
        return trial_explorer(plus)
    if name == "neurons":
        return neuron_explorer(small, plus)
    return playground(small)


def choices(control):
    """A few values that a control can have."""
    if not hasattr(control, "options"):
        return [control.min, control.min + control.step, control.max]
    options = control.options
    return [option[-1] if isinstance(option, tuple) else option for option in options]


def walk(explorer, moves):
    """Move one control after the other, and return the pictures."""
    controls, pictures = list(explorer.controls.values()), []
    for i in range(moves):
        control = controls[i % len(controls)]
        values = choices(control)
        control.value = values[(1 + i // len(controls)) % len(values)]
        pictures.append(explorer.picture.value)
    return pictures


@pytest.mark.parametrize("name", ["trials", "playground", "neurons"])
def test_explorers_do_not_grow(plus, small, name, monkeypatch):
    explorer = made(name, plus, small)

    def artists():  # ticks, which come and go with the limits, are not among them
        axes = explorer.figure.figure.axes
        return [len(axes), *[len(ax.get_children()) for ax in axes]]

    before = artists()
    with monkeypatch.context() as patch:
        patch.setattr(explorer.figure, "png", bytes)  # 200 pictures would take half a minute
        walk(explorer, 200)
    walk(explorer, 5)
    assert artists() == before
    assert plt.get_fignums() == []
    assert not explorer.text.startswith("This cannot be shown")


def test_explorers_in_several_threads_draw_what_they_draw_alone(plus, small):
    names = ("trials", "playground", "neurons")
    alone = [walk(made(name, plus, small), 12) for name in names]
    explorers, together = [made(name, plus, small) for name in names], [None] * 3

    def work(i):
        together[i] = walk(explorers[i], 12)

    threads = [threading.Thread(target=work, args=[i], daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert together == alone
    for pictures in together:
        assert len(set(pictures)) > 1
        assert all(plt.imread(io.BytesIO(picture)).ndim == 3 for picture in pictures)
