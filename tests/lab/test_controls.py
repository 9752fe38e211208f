"""The controls of the playground, and the answers to them."""

import numpy as np
import pytest
from hand_cells import Arousal, Energy
from torch import nn

import kit
from kit.lab import Screen, State, screen_of
from kit.lab.controls import controls, draw, respond

STIMULUS = ["orientation", "frequency", "radius", "x", "y", "contrast"]
BEHAVIOR, EYE = ["pupil", "running"], ["eye_x", "eye_y"]
PLACE = np.random.default_rng(0).uniform(0, 600, (5, 2))


def model(size=(18, 32), **config):
    made = kit.ModelConfig(image_size=size, **config)
    return kit.Model(nn.Conv2d(made.core_channels, 2, 5), {"mouse": PLACE}, made)


def starts(model, mouse=None):
    return {control.name: control.start for control in controls(model, mouse)}


@pytest.mark.parametrize("model, state", [
    (model(), []),
    (model(gain=True), BEHAVIOR),
    (model(behavior_channels=True), BEHAVIOR),
    (model(shifter=True), EYE),
    (model(gain=True, shifter=True), BEHAVIOR + EYE),
    (kit.ensemble([model(), model(gain=True)]), BEHAVIOR),  # what any member takes
    (kit.ensemble([model(gain=True), model()]), BEHAVIOR),
    (kit.ensemble([model(), model()]), []),
    (Energy(), BEHAVIOR + EYE),  # does not say what it takes
    (kit.truth("sample+").cells, BEHAVIOR + EYE),
])  # fmt: skip
def test_controls_are_of_what_the_model_takes(model, state):
    assert [control.name for control in controls(model)] == STIMULUS + state


@pytest.mark.parametrize("size", [(36, 64), (18, 32), (64, 36), (7, 7)])
def test_controls_start_on_a_step_within_their_range(size):
    for control in controls(model(size, gain=True, shifter=True)):
        assert control.low <= control.start <= control.high, control.name
        for value in (control.start, control.high):
            steps = (value - control.low) / control.step
            assert steps == pytest.approx(round(steps)), control.name
    assert {"pupil": 4, "running": 0.5, "eye_x": 0, "eye_y": 0}.items() <= (
        starts(model(size, gain=True, shifter=True)).items()
    )


@pytest.mark.parametrize("size", [(36, 64), (64, 36)])
def test_controls_radius_covers_the_image(size):
    (radius,) = [control for control in controls(model(size)) if control.name == "radius"]
    assert radius.low == 1 and radius.high > max(size) / 2
    values = starts(model(size))
    covered = draw(Screen(size), values | {"radius": np.hypot(*size) / 2})
    np.testing.assert_allclose(covered, Screen(size).grating(np.pi / 4, 0.06), atol=1e-6)


@pytest.mark.parametrize("statistics, highest", [((113.5, 64.6), 1.2), ((30, 60), 0.35)])
def test_controls_contrast_is_what_the_screen_can_show(statistics, highest):
    dark, names = model(), ("images_mean", "images_std")
    dark.data_statistics["mouse"] = dict(zip(names, np.array(statistics), strict=True))
    (contrast,) = [control for control in controls(dark) if control.name == "contrast"]
    assert contrast.high == pytest.approx(highest) and contrast.start <= contrast.high
    assert contrast.high <= screen_of(dark).max_contrast
    respond(dark, starts(dark) | {"contrast": contrast.high})  # no ValueError


GRATING = {"orientation": 30, "frequency": 0.1, "radius": 5, "x": 0, "y": 0, "contrast": 0.4}


@pytest.mark.parametrize("x, y", [(0, 0), (7, 0), (0, -3), (-6, 2)])
def test_draw_moves_disc_and_stripes_of_a_grating_together(x, y):
    screen = Screen((18, 32))
    still = screen.grating(np.pi / 6, 0.1, contrast=0.4, radius=5)
    moved = draw(screen, GRATING | {"x": x, "y": y})
    np.testing.assert_allclose(moved, np.roll(still, (y, x), (2, 3)), atol=1e-6)


def test_respond_in_the_state_of_the_controls():
    values = starts(Arousal())
    image, responses = respond(Arousal(), values | {"pupil": 5, "running": 2, "eye_x": -1})
    np.testing.assert_allclose(responses, [6, 4])  # (5 - 3) (1 + 2), and 5 - 1
    np.testing.assert_array_equal(image, draw(Screen(), values)[0, 0])
    typical = kit.lab.responses(Arousal(), image[None], state=State())[0]
    np.testing.assert_allclose(respond(Arousal(), values)[1], typical)


def test_respond_of_one_of_several_mice_without_controls_of_state():
    places = {"a": PLACE, "b": PLACE[:3]}
    twin = kit.Model(nn.Conv2d(1, 2, 5), places, kit.ModelConfig(image_size=(18, 32)))
    image, responses = respond(twin, starts(twin, "b"), "b")
    np.testing.assert_array_equal(responses, kit.lab.responses(twin, image[None], "b")[0])
    assert image.shape == (18, 32) and responses.shape == (3,)
