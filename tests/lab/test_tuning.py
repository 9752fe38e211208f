"""Tuning of cells that can be worked out by hand: a Gabor, an energy cell, a divisive surround."""

import numpy as np
import pytest
from hand_cells import (
    CENTER,
    FREQUENCY,
    ORIENTATION,
    SEMI_SATURATION,
    SIGMA,
    SURROUND,
    Arousal,
    Energy,
    Simple,
    Surround,
)

import kit
from kit.lab import Gratings, indices
from kit.lab.experiment import Subject
from kit.lab.tuning import FullField

GRID = Gratings()
ANGLE_STEP = np.pi / GRID.orientations
FREQUENCY_STEP = np.log(GRID.frequencies[1] / GRID.frequencies[0])


def energy(angle, frequency):
    """The energy of a Gabor's response to a grating, up to a factor: its window's spectrum."""
    x = frequency * np.cos(angle) - FREQUENCY * np.cos(ORIENTATION)
    y = frequency * np.sin(angle) - FREQUENCY * np.sin(ORIENTATION)
    return np.exp(-4 * np.pi**2 * SIGMA**2 * (x**2 + y**2))


def expected_curve():
    """Energies (orientations,) at the frequency where they are highest."""
    means = energy(GRID.angles[:, None], np.array(GRID.frequencies))
    best = means.max(0).argmax()
    both = means[:, best] + energy(GRID.angles + np.pi, GRID.frequencies[best])
    return both  # the other way round is the same orientation


@pytest.mark.parametrize("cell", [Simple, Energy])
def test_orientation_tuning_of_a_gabor(cell):
    tuning = kit.lab.orientation_tuning(cell())
    curve = expected_curve()
    np.testing.assert_allclose(tuning.curves[0] / tuning.curves[0].max(), curve / curve.max(),
                               atol=0.01)  # fmt: skip
    difference = indices.orientation_difference(tuning.preferred[0], ORIENTATION)
    assert difference < ANGLE_STEP / 10
    gosi = np.abs(curve @ np.exp(2j * GRID.angles)) / curve.sum()
    assert tuning.selectivity[0] == pytest.approx(gosi, abs=0.01)
    assert tuning.measures["OSI"][0] == pytest.approx(1, abs=0.01)


def test_tuning_has_the_promised_shapes():
    for tuning in (kit.lab.orientation_tuning(Simple()),
                   kit.lab.spatial_frequency_tuning(Simple()),
                   kit.lab.contrast_tuning(Simple()),
                   kit.lab.phase_tuning(Simple()),
                   kit.lab.size_tuning(Simple())):  # fmt: skip
        (k,) = tuning.values.shape
        assert tuning.curves.shape == (2, k)
        assert tuning.preferred.shape == tuning.selectivity.shape == (2,)
        assert tuning.selectivity[1] == 0  # never responds
        assert tuning.index in repr(tuning) and tuning.unit in repr(tuning)


@pytest.mark.parametrize("cell", [Simple, Energy])
def test_spatial_frequency_tuning_of_a_gabor(cell):
    tuning = kit.lab.spatial_frequency_tuning(cell())
    # energies at the grid's best orientation, highest where the frequency along it is the cell's
    assert abs(np.log(tuning.preferred[0] / FREQUENCY)) < FREQUENCY_STEP / 2
    curve = energy(ORIENTATION, np.array(GRID.frequencies))
    np.testing.assert_allclose(tuning.curves[0] / tuning.curves[0].max(), curve / curve.max(),
                               atol=0.02)  # fmt: skip


def test_phase_tuning_tells_simple_from_complex():
    simple = kit.lab.phase_tuning(Simple()).selectivity[0]
    assert simple == pytest.approx(16 / (3 * np.pi), abs=0.02)  # of a half-squared cosine
    assert kit.lab.phase_tuning(Energy()).selectivity[0] == pytest.approx(0, abs=0.02)


def test_contrast_tuning_of_a_squaring_cell():
    tuning = kit.lab.contrast_tuning(Energy())
    curve = tuning.curves[0] / tuning.curves[0, -1]
    np.testing.assert_allclose(curve, (tuning.values / tuning.values[-1]) ** 2, rtol=1e-3)
    assert tuning.preferred[0] == tuning.values[-1]


def test_contrast_tuning_of_a_divisive_cell():
    cell = Surround()
    tuning = kit.lab.contrast_tuning(cell)
    share = float(cell.filters[2].sum())  # of the window lies inside the image
    # energy ~ c^2, divided by s + share * c^2: half of the limit where share * c^2 = s
    expected = (SEMI_SATURATION / share) ** 0.5
    assert tuning.measures["c50"][0] == pytest.approx(expected, rel=0.06)
    assert tuning.measures["exponent"][0] == pytest.approx(2, abs=0.13)


def size_curve(radii, angle, frequency, phase):
    """The divisive cell's responses to a grating in discs, summed over tenths of a pixel."""
    y, x = (np.mgrid[:360, :640] + 0.5) / 10 - np.array([18, 32])[:, None, None]
    wave = np.cos(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    image = 2**0.5 * GRID.contrast * wave
    x, y = x - CENTER[0], y - CENTER[1]
    windows = [
        np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2) / 100
        for sigma in (SIGMA, SURROUND)
    ]
    across = 2 * np.pi * FREQUENCY * (np.cos(ORIENTATION) * x + np.sin(ORIENTATION) * y)
    curve = []
    for radius in radii:
        disc = image * (np.hypot(x, y) < radius)
        filtered = (windows[0] * np.exp(1j * across) * disc).sum()
        curve.append(abs(filtered) ** 2 / (SEMI_SATURATION + (windows[1] * disc**2).sum()))
    return np.array(curve)


def test_size_tuning_of_a_divisive_surround():
    cell, radii = Surround(), np.array(GRID.radii)
    tuning = kit.lab.size_tuning(cell, neurons=[0])
    best = FullField(Subject(cell), GRID).best[:, 0]
    expected = size_curve(radii, *best)
    curve = tuning.curves[0] / tuning.curves[0].max()
    np.testing.assert_allclose(curve, expected / expected.max(), atol=0.04)
    assert tuning.preferred[0] == indices.preferred_size(expected[None], radii)[0]
    suppression = 1 - expected[-1] / expected.max()
    assert suppression > 0.3
    assert tuning.selectivity[0] == pytest.approx(suppression, abs=0.01)
    assert kit.lab.size_tuning(Energy(), neurons=[0]).selectivity[0] < 0.02  # has no surround


def test_size_tuning_of_chosen_neurons_is_the_same_as_of_all():
    cell = Surround()
    some, everyone = kit.lab.size_tuning(cell, neurons=[1, 0]), kit.lab.size_tuning(cell)
    np.testing.assert_array_equal(some.curves[::-1], everyone.curves)
    assert (some.row(0), everyone.row(0)) == (1, 0)
    with pytest.raises(ValueError, match="neuron 5 is not among the 2 of this tuning; choose one"):
        some.row(5)


def test_in_degrees():
    sizes = kit.lab.size_tuning(Energy())
    degrees = sizes.in_degrees(2)
    np.testing.assert_allclose(degrees.values, 2 * sizes.values)
    np.testing.assert_allclose(degrees.preferred, 2 * sizes.preferred)
    frequencies = kit.lab.spatial_frequency_tuning(Energy()).in_degrees(2)
    assert (degrees.unit, frequencies.unit) == ("degrees", "cycles per degree")
    np.testing.assert_allclose(frequencies.values, np.array(GRID.frequencies) / 2)
    with pytest.raises(ValueError, match="orientation is in radians; only sizes and"):
        kit.lab.orientation_tuning(Energy()).in_degrees(2)
    with pytest.raises(ValueError, match="degrees_per_pixel=0 is not possible; give a number"):
        sizes.in_degrees(0)


def test_state_tuning():
    pupil = kit.lab.state_tuning(Arousal(), "pupil")
    np.testing.assert_allclose(pupil.curves[0], 1.5 * (pupil.values - 3).clip(min=0), rtol=1e-5)
    assert pupil.preferred[0] == 6 and pupil.selectivity[0] == pytest.approx(1)
    eye = kit.lab.state_tuning(Arousal(), "eye_x")
    np.testing.assert_allclose(eye.curves[1], 5 + eye.values, rtol=1e-5)
    assert not eye.spread.any()  # the images play no part
    from_large = kit.lab.state_tuning(Arousal(), "running", state=kit.lab.State(pupil=6))
    np.testing.assert_allclose(from_large.curves[0], 3 * (1 + from_large.values), rtol=1e-5)


def test_state_tuning_refuses_what_the_model_does_not_take(plus):
    model = kit.linear_baseline(plus, 2, kit.ModelConfig.of(plus, behavior_channels=False))
    assert kit.lab.state_tuning(model, "eye_x").curves.shape == (24, 9)
    for twin in (model, kit.ensemble([model])):
        with pytest.raises(ValueError, match="does not take running, so its responses do not"):
            kit.lab.state_tuning(twin, "running")
    with pytest.raises(ValueError, match="quantity='speed' is not possible; give one of"):
        kit.lab.state_tuning(model, "speed")


@pytest.mark.parametrize("changes, message", [
    ({"orientations": 1}, "orientations=1 is not possible; give a whole number from 2 to 360"),
    ({"phases": 2}, "phases=2 is not possible"),
    ({"frequencies": (0.1, 0.05, 0.2)}, "three or more positive numbers in rising order"),
    ({"frequencies": ("a",)}, "frequencies=.* is not possible"),
    ({"contrast": np.nan}, "contrast=nan is not possible"),
    ({"radii": (3,)}, "radii=.* is not possible"),
    ({"contrasts": (0, 0.5, 1)}, "contrasts=.* is not possible"),
])  # fmt: skip
def test_gratings_refuses_what_cannot_be_shown(changes, message):
    with pytest.raises(ValueError, match=message):
        Gratings(**changes)


def test_gratings_of_too_much_contrast_are_refused_by_the_screen():
    with pytest.raises(ValueError, match="contrast=3 cannot be drawn on this screen"):
        kit.lab.orientation_tuning(Energy(), grid=Gratings(contrast=3))
