"""The explorers show what the recording holds and what the model answers, whatever is moved."""

import copy
import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tiny
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


@pytest.mark.parametrize("names", [["running"], ["licks", "pupil", "a", "b", "c"]])
def test_trial_explorer_of_other_columns(plus, names):
    data = tiny.with_columns(plus, *names, eye=False)
    explorer = trial_explorer(data)
    move(explorer, trial=3)
    row = sorted_rows(data.mouse, explorer.controls["tier"].value)[2]
    lines = explorer.figure.lines
    for line, value in zip(lines, data.mouse.behavior[row], strict=True):
        assert line.get_xdata()[0] == value
    labels = [line.axes.get_ylabel() for line in lines]
    assert labels == [
        "pupil size" if n == "pupil" else {"running": "running speed"}.get(n, n) for n in names
    ]
    boxes = [line.axes.get_position() for line in lines]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))
    assert boxes[-1].y0 > 0.07 and boxes[0].y1 < 0.45


def test_playground_of_other_columns(plus):
    model = kit.cnn_baseline(tiny.with_columns(plus, "running", eye=False), 2)
    explorer = playground(model, coordinates=plus.mouse.coordinates)
    assert "running" in explorer.controls and "pupil" not in explorer.controls
    move(explorer, running=2)


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
    assert figure.image.get_clim() == (mouse.images.min(), mouse.images.max())
    np.testing.assert_array_equal(figure.dots.get_array(), mouse.responses[row])
    np.testing.assert_array_equal(figure.dots.get_offsets(), mouse.coordinates[:, :2])
    for line, value in zip(figure.lines, mouse.behavior[row], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [value, value])
    labels = [line.axes.get_ylabel() for line in figure.lines]
    assert labels == ["pupil size", "change of pupil", "running speed"]
    np.testing.assert_array_equal(figure.eye.get_xydata(), mouse.pupil_center[[row]])
    np.testing.assert_array_equal(figure.eye.axes.lines[0].get_xydata(), mouse.pupil_center)
    shown, (pupil, _, running) = mouse.responses[row], mouse.behavior[row]
    assert explorer.text == (
        f"Trial {number} of {len(mouse.rows(tier))} in the tier {tier}: image "
        f"{mouse.image_ids[row]}, shown once; {100 * (shown > 0).mean():.0f}% of the neurons "
        f"responded, mean {shown.mean():.2f} std; pupil {pupil:.1f} std, running {running:.1f} std."
    )


def test_trial_explorer_repeats_stand_side_by_side(plus, monkeypatch):
    explorer = trial_explorer(plus)
    monkeypatch.setattr(explorer.figure, "png", bytes)  # only the image matters
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
    for tier, withheld in (("train", False), ("test", True), ("train", False)):
        move(explorer, tier=tier)
        assert explorer.figure.note.get_visible() == withheld != explorer.figure.dots.get_visible()
        assert ("responses are withheld" in explorer.text) == withheld


def test_trial_explorer_behavior_withheld(plain):
    explorer = trial_explorer(plain)
    assert explorer.figure.lines == [] and explorer.figure.eye is None
    assert "pupil" not in explorer.text


def test_trial_explorer_one_of_several_mice(plus, other):
    both = kit.Dataset([plus.mouse, other.mouse])
    with pytest.raises(ValueError, match="there are 2 mice here; choose one of 7-1-1, 8-1-1"):
        trial_explorer(both)
    explorer = trial_explorer(both, "8-1-1")
    assert len(explorer.figure.dots.get_array()) == 10
    with pytest.raises(KeyError, match="there is no mouse 'x' here"):
        trial_explorer(both, "x")


def test_trial_explorer_needs_a_dataset(plus):
    for wrong in ("sample+", None, plus.mouse):
        with pytest.raises(ValueError, match="a Dataset is needed, not a "):
            trial_explorer(wrong)


def test_trial_explorer_one_neuron(plus):
    mouse = plus.mouse
    arrays = {name: getattr(mouse, name)[:1] for name in ("unit_ids", "coordinates")}
    explorer = trial_explorer(changed(mouse, responses=mouse.responses[:, :1], **arrays))
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
    require_answer(explorer, model)


def test_playground_of_an_ensemble(twin):
    both = kit.ensemble([twin, kit.pretrained("sample+-ln")])
    require_answer(playground(both), both)


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


def test_playground_positions_are_the_models_or_those_given(small, plus):
    recorded = plus.mouse.coordinates
    for coordinates, positions, unit in (
        (None, small.readouts["7-1-1"].cortical_positions, "-1 to 1"),
        (recorded, recorded[:, :2], "µm"),
    ):
        dots = playground(small, coordinates=coordinates).figure.dots
        np.testing.assert_array_equal(dots.get_offsets(), positions)
        assert dots.axes.get_xlabel() == f"cortical x ({unit})"


@pytest.mark.parametrize("shape", [(23, 3), (24, 4), (24,), (24, 3, 1), ()])
def test_playground_coordinates_of_other_neurons(small, shape):
    with pytest.raises(ValueError, match=r"must be numbers \(24, 2\) or \(24, 3\), these"):
        playground(small, coordinates=np.zeros(shape))


def test_playground_of_one_of_several_mice(plus, other):
    both = kit.Dataset([plus.mouse, other.mouse])
    model = kit.linear_baseline(both, 2, kit.ModelConfig(image_size=(18, 32)))
    explorer = playground(model, "8-1-1")
    require_answer(explorer, model, "8-1-1")
    assert len(explorer.figure.dots.get_array()) == 10
    with pytest.raises(ValueError, match=r"no readout for mouse None; it knows 7-1-1, 8-1-1"):
        playground(model)


@pytest.mark.parametrize("size", [(18, 32), (64, 36), (9, 9)])
def test_playground_of_other_image_sizes(size):
    model = kit.Model(nn.Conv2d(1, 2, 5), {"mouse": np.eye(3)}, kit.ModelConfig(image_size=size))
    explorer = playground(model)
    assert explorer.figure.stimulus.get_array().shape == size
    for name in ("radius", "x", "y"):
        move(explorer, **{name: explorer.controls[name].max})
        require_answer(explorer, model)


@pytest.mark.parametrize("positions", [np.zeros((1, 2)), np.full((5, 3), 300.0)])
def test_playground_of_one_neuron_or_all_at_one_place(positions):
    model = kit.Model(nn.Conv2d(1, 2, 5), {"mouse": positions})
    for coordinates in (None, positions):
        require_answer(playground(model, coordinates=coordinates), model)


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


# ---- neurons ----


def test_neuron_explorer_shows_the_neuron(plus, small):
    explorer, mouse = neuron_explorer(small, plus, neurons=[7, 3]), plus.mouse
    recorded = mouse.responses[mouse.rows("validation")]
    responses = np.stack([kit.predict(small, plus, "validation"), recorded])
    scores = kit.metrics.correlation(*responses)
    fields = kit.lab.receptive_fields(small, [7, 3])
    config = kit.lab.AscentConfig(steps=ASCENT_STEPS)
    images = kit.lab.most_exciting_images(small, [7, 3], config=config).images
    assert explorer.controls["neuron"].options == (7, 3)
    figure = explorer.figure
    for i, neuron in enumerate([7, 3]):
        move(explorer, neuron=neuron)
        position = mouse.coordinates[[neuron], :2]
        np.testing.assert_array_equal(figure.position.get_xydata(), position)
        np.testing.assert_allclose(figure.field.get_array(), fields[i], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(figure.image.get_array(), images[i, 0], rtol=1e-4, atol=1e-5)
        for pixels in (figure.field, figure.image):
            largest = np.abs(pixels.get_array()).max()
            assert pixels.get_clim() == (-largest, largest)
        np.testing.assert_array_equal(figure.trials.get_xydata().T, responses[:, :, neuron])
        for limits, values in zip(("xlim", "ylim"), responses[:, :, neuron], strict=True):
            low, high = figure.scatter.properties()[limits]
            assert low <= values.min() and values.max() < high
        assert figure.scatter.get_title() == f"single-trial correlation {scores[neuron]:.2f}"
        rank = 1 + sum(score > scores[neuron] for score in scores)
        assert explorer.text == (
            f"Neuron {neuron}: on 12 validation trials its single-trial correlation is "
            f"{scores[neuron]:.2f}, rank {rank} of 24 neurons."
        )


def test_neuron_explorer_goes_from_the_best_to_the_worst(plus, small, monkeypatch):
    monkeypatch.setattr(kit.widgets.explorers, "NEURONS", 5)
    explorer = neuron_explorer(small, plus)
    ranks = []
    for neuron in explorer.controls["neuron"].options:
        move(explorer, neuron=neuron)
        ranks.append(int(explorer.text.split("rank ")[1].split()[0]))
    assert ranks == [1, 6, 12, 18, 24] and NEURONS == 24


def test_neuron_explorer_has_at_most_the_neurons_there_are(other):
    model = kit.linear_baseline(other, 2, kit.ModelConfig(image_size=(18, 32)))
    assert len(neuron_explorer(model, other).controls["neuron"].options) == 10


def test_neuron_explorer_one_neuron(plus, small):
    explorer = neuron_explorer(small, plus, neurons=-1)
    assert explorer.controls["neuron"].options == (23,)
    assert explorer.text.startswith("Neuron 23: ")


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
    return control.options


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
        patch.setattr(explorer.figure, "png", bytes)  # 60 pictures would take long
        walk(explorer, 60)
    walk(explorer, 1)
    assert artists() == before
    assert plt.get_fignums() == []
    assert not explorer.text.startswith("This cannot be shown")


def test_explorers_in_several_threads_draw_what_they_draw_alone(plus, small):
    names = ("trials", "playground", "neurons")
    alone = [walk(made(name, plus, small), 4) for name in names]
    explorers = [made(name, plus, small) for name in names]

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(walk, explorers, [4] * 3, timeout=LIMIT))
    assert together == alone
    for pictures in together:
        assert len(set(pictures)) > 1
        assert all(plt.imread(io.BytesIO(picture)).ndim == 3 for picture in pictures)
