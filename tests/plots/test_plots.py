"""What the figures draw, read back from their axes: numbers worked out by hand, labels, units."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import kit
from kit import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def drawn(ax):
    """A function's own axis comes back, and only it was made."""
    return len(plt.get_fignums()) == 1 and ax.figure is plt.gcf()


def numbers_below(ax):
    places, texts = ax.get_xticks(minor=True), ax.get_xticklabels(minor=True)
    return {place: text.get_text() for place, text in zip(places.tolist(), texts, strict=True)}


def test_barcodes_draw_one_line_per_neuron_below_each_image():
    pixels = np.arange(2 * 3 * 4).reshape(2, 1, 3, 4)
    ax = plots.images_with_responses(pixels, [[0, 2, 0], [1, 0, 5]])
    top, first, second = ax.child_axes
    assert drawn(ax) and top.get_title() == "2 images, and what 3 neurons say to each"
    heights = [segment[1] for segment in second.collections[0].get_segments()]
    np.testing.assert_array_equal(heights, [[0, 1], [1, 0], [2, 5]])
    assert labels(first) == ("neuron", "response (std)")
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] > 5  # one scale
    with pytest.raises(ValueError, match="2 images and 3 rows"):
        plots.images_with_responses(pixels, np.zeros((3, 5)))


def test_raster_has_neurons_down_and_trials_to_the_right():
    ax = plots.raster([[0, 1], [0, 2], [0, 9]], image_ids=[7, 7, 4])
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0, 0, 0], [1, 2, 9]])
    np.testing.assert_array_equal(ax.get_xticks(), [1.5])  # between the second and third trial
    assert ax.get_xlabel().startswith("3 trials") and ax.get_ylabel() == "neurons"
    assert ax.images[0].colorbar.ax.get_ylabel() == "response (std)"
    assert numbers_below(ax) == {0.5: "1", 2.0: "2"}  # in the middle of each image's trials


def test_raster_numbers_at_most_20_images():
    ax = plots.raster(np.zeros((45, 2)), image_ids=np.arange(45))
    below = numbers_below(ax)
    assert len(ax.get_xticks()) == 44 and len(below) == 15
    assert all(number == str(round(place + 1)) for place, number in below.items())  # 3, 6, …


def test_repeats_show_every_trial_and_the_mean():
    ax = plots.repeats([[1, 3], [4, 5, 9]], xlabel="image")
    dots, means = ax.lines
    np.testing.assert_array_equal(dots.get_xydata(), [[0, 1], [0, 3], [1, 4], [1, 5], [1, 9]])
    np.testing.assert_array_equal(means.get_ydata(), [2, 6])
    assert labels(ax) == ("image", "response (std)")


def test_traces_are_in_std_and_above_one_another():
    ax = plots.traces([[0, 5], [20, 5], [0, 5], [20, 5]], ["pupil", "still"])
    pupil, still, scale = ax.lines
    np.testing.assert_allclose(pupil.get_ydata(), [-1, 1, -1, 1])  # mean 10, std 10
    np.testing.assert_allclose(still.get_ydata(), -6)  # never varies: a straight line
    assert np.ptp(scale.get_ydata()) == 3  # the bar that says "3 std"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["pupil", "still"]
    with pytest.raises(ValueError, match="2 traces and 1 names"):
        plots.traces(np.zeros((4, 2)), ["pupil"])


def test_tenths_average_in_groups_of_rising_x():
    x = np.arange(20)[::-1]  # falling, so the groups must be sorted
    ax = plots.binned_mean(x, 2.0 * x, xlabel="pupil (std)")
    (bars,) = ax.containers
    np.testing.assert_allclose(bars[0].get_xydata()[[0, 9]], [[0.5, 1], [18.5, 37]])
    low, high = bars[2][0].get_segments()[0][:, 1]  # 0 and 2: std √2, s.e.m. 1
    assert (low, high) == pytest.approx((0, 2))
    assert labels(ax) == ("pupil (std)", "mean response ± s.e.m. (std)")
    assert plots.binned_mean(x, 9.0 * x, ax, "again") is ax and len(ax.containers) == 2
    assert ax.get_ylim()[1] > 9 * 18.5  # the second line has room


def test_tenths_start_at_zero():
    ax = plots.binned_mean(np.arange(20), np.linspace(50, 51, 20))
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 51
    for other in (np.arange(19), np.arange(21)):
        with pytest.raises(ValueError, match="one value for each trial"):
            plots.binned_mean(other, np.arange(19))


def test_cortex_puts_each_neuron_at_its_place():
    place = np.array([[0, 10, 200], [300, 20, 200], [600, 30, 250]])
    ax = plots.cortical_map(place, [0.1, 0.2, 0.3], label="x (half images)")
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), place[:, :2])
    np.testing.assert_array_equal(dots.get_array(), [0.1, 0.2, 0.3])
    assert all("µm" in label for label in labels(ax))
    assert dots.colorbar.ax.get_ylabel() == "x (half images)"
    with pytest.raises(ValueError, match="3 places and 2 values"):
        plots.cortical_map(place, [1, 2])


def test_a_histogram_of_scores_leaves_no_neuron_out():
    edges, heights = plots.score_histogram([-0.86, 0.2, 0.995, 1.0]).patches[0].get_xy().T
    assert edges.min() <= -0.86 and edges.max() == pytest.approx(1)
    found = {(low, height) for low, height in zip(edges, heights, strict=True) if height}
    assert {height for _, height in found} == {1, 2}  # the two best share the last bin


def test_neurons_names_the_score():
    ax = plots.score_histogram([0.1, 0.3], label="estimated", score="FEV")
    assert labels(ax) == ("FEV", "neurons")
    assert ax.get_legend().get_texts()[0].get_text() == "estimated: mean 0.200 (line)"


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.images_with_responses(np.eye(4)[None], [[1, 2]], ax),
        lambda ax: plots.raster(np.eye(3), ax=ax),
        lambda ax: plots.repeats([[1, 2]], ax),
        lambda ax: plots.traces(np.eye(3), ["a", "b", "c"], ax),
        lambda ax: plots.binned_mean(np.arange(20), np.arange(20), ax),
        lambda ax: plots.cortical_map(np.eye(3), [1, 2, 3], ax),
    ],
    ids=["barcodes", "raster", "repeats", "traces", "tenths", "cortex"],
)
def test_draws_on_the_axis_it_is_given(draw):
    ax = plt.subplots(layout="constrained")[1]
    assert draw(ax) is ax and len(plt.get_fignums()) == 1
    ax.figure.canvas.draw()


# ---- entries held against each other ----


def scores(single_trial, to_average=None, feve=None):
    return kit.Scores(single_trial, to_average, feve, None, {})


def test_entries_draws_a_bar_for_every_score_and_writes_its_number():
    _, ax = plt.subplots()
    good, bad = scores(0.3, 0.5, 0.6), scores(0.1, -0.2, -4073.4)
    assert plots.score_bars({"good": good, "bad": bad}, ax) is ax
    widths = [[bar.get_width() for bar in group] for group in ax.containers]
    assert widths == [[0.3, 0.1], [0.5, -0.2], [0.6, -0.5]]  # the last one is cut at the edge
    assert [label.get_text() for label in ax.get_yticklabels()] == ["good", "bad"]
    numbers = [text.get_text() for text in ax.texts]
    assert numbers == ["0.30", "0.10", "0.50", "-0.20", "0.60", "-4,073, beyond the edge"]


def test_entries_leaves_out_what_could_not_be_scored():
    ax = plots.score_bars({"validation": scores(0.3)})
    assert [text.get_text() for text in ax.texts] == ["0.30"]


def test_entries_makes_its_own_axis():
    ax = plots.score_bars({"mine": scores(0.3, 0.5, 0.6)})
    assert ax.get_xlabel() == "score"


def test_spread_draws_every_run_their_mean_and_its_error():
    ax = plots.score_spread({"one": [0.1, 0.2, 0.3], "other": [0.25]})
    dots = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert dots == [[0.1, 0.2, 0.3], [0.25]]
    error = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(error, 0.2 + np.array([-1, 1]) * 0.1 / np.sqrt(3))
    assert [text.get_text() for text in ax.texts] == [".200", ".250"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "other"]


def test_growth_draws_a_line_for_each_name_over_the_counts():
    ax = plots.learning_curve([100, 400], {"from scratch": [0.1, 0.3], "transferred": [0.2, 0.35]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.1, 0.3], [0.2, 0.35]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "400"]
    assert ax.get_xlabel() == "training images"


def test_traces_draws_the_truth_behind():
    values = np.random.default_rng(0).standard_normal((30, 2))
    ax = plots.traces(values, ["a", "b"], truth=2 * values + 1)
    orange = [line for line in ax.lines if line.get_color() == plots.ORANGE]
    blue = [line for line in ax.lines if line.get_color() == plots.BLUE]
    assert len(blue) == 2 and len(orange) >= 2
    np.testing.assert_allclose(blue[1].get_ydata(), orange[1].get_ydata())  # each in its std
