"""The pictures, read back from their axes: numbers worked out by hand, labels, units."""

import numpy as np
import pytest

from kit import plots


def test_images_each_in_its_own_range():
    ax = plots.images(np.array([[[[0, 2]]], [[[5, 25]]], [[[3, 3]]]]), columns=2)
    np.testing.assert_array_equal(
        ax.images[0].get_array().filled(-1),
        [[0, 1, -1, 0, 1], [-1] * 5, [0, 0, -1, -1, -1]],  # -1: the line between, the empty place
    )
    assert ax.get_title() == "3 images of 1 × 2 pixels"


def test_filters_each_scaled_to_its_largest_weight():
    ax = plots.filters([[[1, -2]], [[0.1, 0.1]], [[0, 0]]])
    rows = ax.images[0].get_array()[0, [0, 1, 3, 4, 6, 7]]
    np.testing.assert_array_equal(rows, [0.5, -1, 1, 1, 0, 0])
    assert ax.get_title().startswith("3 filters of 1 × 2 pixels")


def test_stimuli_keep_grey_in_the_middle():
    ax = plots.stimuli(np.array([[[0.0, 2]], [[-4, 1]], [[0, 0]]]), columns=3)
    shown = ax.images[0].get_array()[0, [0, 1, 3, 4, 6, 7]]
    np.testing.assert_allclose(shown, [0, 1, -1, 0.25, 0, 0])
    assert ax.get_title() == "3 stimuli of 1 × 2 pixels"


@pytest.mark.parametrize("draw", [plots.filters, plots.stimuli])
def test_title_of_your_own(draw):
    assert draw(np.ones((1, 2, 2)), title="mine").get_title() == "mine"


def test_positions_of_unknown_truth():
    ax = plots.positions(np.arange(8).reshape(4, 2), None)
    assert ax.get_title() == "receptive-field centres"
    (dots,) = ax.lines
    assert dots.get_xdata().tolist() == [0, 2, 4, 6]


def test_positions_joins_learned_and_true_without_the_shared_offset():
    true = np.array([[0, 0], [1, 2], [2, 1.0]])
    learned = true + np.array([[0.5, -0.25], [0.5, -0.25], [0.6, -0.25]])  # the last is off by more
    ax = plots.positions(learned, true)
    pairs = np.array([line.get_xydata() for line in ax.lines[:3]])
    np.testing.assert_allclose(pairs[:, 1], true)
    np.testing.assert_allclose(pairs[:, 0] - true, [[0, 0], [0, 0], [0.1, 0]], atol=1e-12)
    first, second = ax.get_title().splitlines()
    assert first.endswith("r = 1.00 (x), 1.00 (y)") and second.endswith("+0.50 and -0.25")
    assert ax.yaxis_inverted()


def test_readout_drawing_marks_the_position_and_multiplies():
    ax = plots.readout_drawing(np.ones((5, 3, 7)), [1, -1], [1, 2, 0, 0, 3], [0.5, -1, 4, 0, 2])
    maps, bars = ax.child_axes
    (rings,) = maps.lines
    np.testing.assert_array_equal(rings.get_xdata(), [6, 14, 22, 30, 6])  # 7 wide and a line
    np.testing.assert_array_equal(rings.get_ydata(), [0, 0, 0, 0, 4])
    assert [bar.get_height() for bar in bars.patches] == [0.5, -2, 0, 0, 6]
    assert bars.get_title() == "feature × weight, sum 4.50"
    with pytest.raises(ValueError, match=r"weights must be numbers \(5,\)"):
        plots.readout_drawing(np.ones((5, 3, 7)), [0, 0], np.ones(5), np.ones(4))


def test_images_with_responses_draws_one_line_per_neuron():
    pixels = np.arange(2 * 3 * 4).reshape(2, 1, 3, 4)
    ax = plots.images_with_responses(pixels, [[0, 2, 0], [1, 0, 5]])
    top, first, second = ax.child_axes
    assert top.get_title() == "2 images, and the responses of 3 neurons to each"
    heights = [segment[1] for segment in second.collections[0].get_segments()]
    np.testing.assert_array_equal(heights, [[0, 1], [1, 0], [2, 5]])
    assert (first.get_xlabel(), first.get_ylabel()) == ("neuron", "response (std)")
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] > 5  # one scale
    with pytest.raises(ValueError, match=r"responses must be numbers \(2, N\), these are \(3, 5\)"):
        plots.images_with_responses(pixels, np.zeros((3, 5)))


def test_cortical_map_puts_each_neuron_at_its_place():
    place = np.array([[0, 10, 200], [300, 20, 200], [600, 30, 250]])
    ax = plots.cortical_map(place, [0.1, 0.2, 0.3], label="x (half images)")
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), place[:, :2])
    np.testing.assert_array_equal(dots.get_array(), [0.1, 0.2, 0.3])
    assert "µm" in ax.get_xlabel() and "µm" in ax.get_ylabel()
    assert dots.colorbar.ax.get_ylabel() == "x (half images)"
    with pytest.raises(ValueError, match=r"values must be numbers \(3,\), these are \(2,\)"):
        plots.cortical_map(place, [1, 2])
