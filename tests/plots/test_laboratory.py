"""Figures of the laboratory, read back from their axes."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from kit import plots
from kit.evaluation.spread import measure_spread
from kit.lab import Tuning

POSITIONS = np.array([[0, 10, 200], [300, 20, 200], [600, 30, 250]])


def tuning(quantity="orientation", unit="radians", spread=None, factor=1):
    values = np.radians([0, 60, 120]) if unit == "radians" else np.array([0.02, 0.1, 0.5])
    curves = factor * np.array([[1.0, 4, 2], [0, 0, 0]])
    return Tuning(
        quantity, unit, values, curves, values[[1, 0]], np.array([0.5, 0]), "gOSI", spread
    )


def test_tuning_curves_draws_each_neuron_of_each_model():
    both = {"twin": tuning(spread=np.full((2, 3), 0.5)), "truth": tuning(factor=2)}
    ax = plots.tuning_curves(both, [0, 1])
    first, second = ax.child_axes
    assert (first.get_title(), second.get_title()) == ("neuron 0", "neuron 1")
    twin, preferred, truth, _ = first.lines
    np.testing.assert_allclose(twin.get_xydata(), [[0, 1], [60, 4], [120, 2]])  # degrees
    np.testing.assert_allclose(truth.get_ydata(), [2, 8, 4])
    np.testing.assert_allclose(preferred.get_xdata(), 60)
    assert len(first.collections) == 1  # the band of the one that has a spread
    assert first.get_ylabel() == "response (std)"
    assert second.get_xlabel() == "orientation (degrees)"
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["twin", "truth"]


def test_tuning_curves_finds_chosen_neurons():
    some = dataclasses.replace(tuning(), neurons=np.array([17, 3]))
    panel = plots.tuning_curves({"twin": some}, [17]).child_axes[0]
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [1, 4, 2])
    with pytest.raises(ValueError, match="neuron 0 is not among the 2"):
        plots.tuning_curves({"twin": some}, [0])


def test_mean_tuning_draws_medians_of_curves_over_their_peak():
    ax = plots.mean_tuning({"twin": tuning("size", "pixels"), "truth": tuning("size", "pixels")})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.array([1, 4, 2]) / 4 / 2)
    assert ax.get_xlabel() == "radius (pixels)" and ax.get_xscale() == "log"
    assert ax.get_ylabel() == "response / peak"
    low, high = ax.get_xlim()
    ticks = [label for label in ax.get_xticklabels() if low < label.get_position()[0] < high]
    assert [tick.get_text() for tick in ticks] == ["0.02", "0.05", "0.1", "0.2", "0.5"]


def test_mean_tuning_names_what_the_animal_does():
    ax = plots.mean_tuning({"twin": tuning("running", "std")})
    assert ax.get_xlabel() == "running speed (std)" and ax.get_xscale() == "linear"


def test_tunings_that_cannot_be_drawn_together():
    for wrong in ({}, tuning(), {str(i): tuning() for i in range(6)},
                  {"a": tuning(), "b": tuning("size", "pixels")}):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be drawn together; give a dict"):
            plots.mean_tuning(wrong)
    five = plots.mean_tuning({str(i): tuning() for i in range(5)})
    assert len(five.lines) == 5


def test_orientation_map_has_cyclic_colours():
    ax = plots.orientation_map(POSITIONS, np.radians([0, 90, 180]), unit="normalised")
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), POSITIONS[:, :2])
    np.testing.assert_allclose(dots.get_array(), [0, 90, 0])
    ends = dots.cmap([0.0, 1.0])
    np.testing.assert_allclose(ends[0], ends[1], atol=0.02)
    assert ax.get_xlabel() == "cortical x (normalised)"
    assert "degrees" in dots.colorbar.ax.get_ylabel()


@pytest.mark.parametrize(
    "orientations, message",
    [
        ([1, 2], r"orientations must be numbers \(3,\), these are \(2,\)"),
        ([0, 45, 90], "orientations of 90 radians is beyond a full turn"),
    ],
)
def test_orientation_map_refuses_others(orientations, message):
    with pytest.raises(ValueError, match=message):
        plots.orientation_map(POSITIONS, orientations)


def test_report_card_has_a_panel_for_every_property():
    rng = np.random.default_rng(0)
    names = ("orientation", "gosi", "spatial_frequency", "f1_f0", "suppression",
             "filter_correlation", "response_share")  # fmt: skip
    truth = {name: rng.random(30) for name in names} | {"center": np.zeros((30, 2))}
    twin = truth | {"gosi": truth["gosi"] / 2, "center": np.full((30, 2), [3.0, 4.0])}
    twin["orientation"] = truth["orientation"] + np.radians(170)  # the same as -10
    ax = plots.report_card(SimpleNamespace(twin=twin, truth=truth))
    panels = {panel.get_title(): panel for panel in ax.child_axes}
    assert len(panels) == 8
    np.testing.assert_allclose(panels["preferred orientation"].lines[0].get_xdata(), -10)
    np.testing.assert_allclose(panels["field centre"].lines[0].get_xdata(), 5)
    dashed, dots = panels["selectivity"].lines
    np.testing.assert_allclose(dots.get_ydata(), dots.get_xdata() / 2)
    assert dashed.get_linestyle() == "--"
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in ax.child_axes)


def test_report_card_shows_complex_cells_whole():
    names = ("orientation", "gosi", "spatial_frequency", "f1_f0", "suppression",
             "filter_correlation", "response_share")  # fmt: skip
    truth = {name: np.array([0.0, 1.5]) for name in names} | {"center": np.zeros((2, 2))}
    ax = plots.report_card(SimpleNamespace(twin=truth, truth=truth))
    (panel,) = (each for each in ax.child_axes if "complex" in each.get_title())
    assert panel.get_xlim()[0] < -0.05 and panel.get_ylim()[0] < -0.05


def test_neuron_report_draws_twin_above_truth():
    names = ("orientation", "gosi", "spatial_frequency", "f1_f0", "suppression")
    twin = {name: np.array([0.0, 0.25]) for name in names} | {"center": np.zeros((2, 2))}
    twin |= {"field": np.ones((2, 4, 6)), "most_exciting_image": np.ones((2, 1, 4, 6))}
    truth = twin | {"gosi": np.array([0.0, 0.75])}
    card = SimpleNamespace(neurons=np.array([3, 40]), twin=twin, truth=truth)
    ax = plots.neuron_report(card, 40)
    above, below = ax.child_axes
    assert above.get_position().y0 > below.get_position().y0
    assert above.get_title().startswith("twin") and below.get_title().startswith("truth")
    labels, of_twin, of_truth = (text.get_text().split("\n") for text in ax.texts)
    assert labels[:3] == ["neuron 40", "orientation (degrees)", "gOSI"]
    assert of_twin[:3] == ["twin", "14", "0.25"] and of_truth[:3] == ["truth", "14", "0.75"]
    assert len(labels) == len(of_twin) == len(of_truth)
    with pytest.raises(ValueError, match="no neuron 4; give one of card"):
        plots.neuron_report(card, 4)


def test_agreement_draws_error_against_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (5, 40))
    counted = np.arange(40) < 30
    spreads = {
        "gOSI": measure_spread(values, truth=np.ones(40)),
        "orientation": measure_spread(values, "degrees", counted, np.ones(40)),
    }
    ax = plots.agreement(SimpleNamespace(properties=spreads))
    first, second = ax.child_axes
    assert (first.get_title(), second.get_title()) == ("gOSI", "orientation")
    dashed, dots = first.lines
    width, error = dots.get_data()
    below = error <= width
    np.testing.assert_array_equal(below, spreads["gOSI"].covers)
    np.testing.assert_array_equal(*dashed.get_data())
    assert width.max() <= dashed.get_xdata()[-1]
    assert len(second.lines[1].get_xdata()) == 30
    assert second.get_xlabel() == "± of interval (degrees)" and second.get_ylabel() == "error"


def test_agreement_needs_a_truth():
    spreads = {"gOSI": measure_spread(np.random.default_rng(0).random((3, 9)))}
    with pytest.raises(ValueError, match=r"has no truth; make it with kit.lab.agreement"):
        plots.agreement(SimpleNamespace(properties=spreads))
    with pytest.raises(ValueError, match="which has no properties"):
        plots.agreement([])
