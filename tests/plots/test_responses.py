"""The figures of responses, read back from their axes."""

import numpy as np
import pytest

from kit import plots


def image_numbers(ax):
    places, texts = ax.get_xticks(minor=True), ax.get_xticklabels(minor=True)
    return {place: text.get_text() for place, text in zip(places.tolist(), texts, strict=True)}


def test_raster_has_neurons_down_and_trials_to_the_right():
    ax = plots.raster([[0, 1], [0, 2], [0, 9]], image_ids=[7, 7, 4])
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0, 0, 0], [1, 2, 9]])
    np.testing.assert_array_equal(ax.get_xticks(), [1.5])  # between the second and third trial
    assert ax.get_xlabel().startswith("3 trials") and ax.get_ylabel() == "neurons"
    assert ax.images[0].colorbar.ax.get_ylabel() == "response (std)"
    assert image_numbers(ax) == {0.5: "1", 2.0: "2"}  # in the middle of each image's trials


def test_raster_numbers_at_most_20_images():
    ax = plots.raster(np.zeros((45, 2)), image_ids=np.arange(45))
    numbers = image_numbers(ax)
    assert len(ax.get_xticks()) == 44 and len(numbers) == 15
    assert all(number == str(round(place + 1)) for place, number in numbers.items())  # 3, 6, …


def test_repeats_shows_every_trial_and_the_mean():
    ax = plots.repeats([[1, 3], [4, 5, 9]], xlabel="image")
    dots, means = ax.lines
    np.testing.assert_array_equal(dots.get_xydata(), [[0, 1], [0, 3], [1, 4], [1, 5], [1, 9]])
    np.testing.assert_array_equal(means.get_ydata(), [2, 6])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("image", "response (std)")


def test_traces_are_in_std_and_above_one_another():
    ax = plots.traces([[0, 5], [20, 5], [0, 5], [20, 5]], ["pupil", "still"])
    pupil, still, scale = ax.lines
    np.testing.assert_allclose(pupil.get_ydata(), [-1, 1, -1, 1])  # mean 10, std 10
    np.testing.assert_allclose(still.get_ydata(), -6)  # never varies: a straight line
    assert np.ptp(scale.get_ydata()) == 3  # the bar labelled "3 std"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["pupil", "still"]
    with pytest.raises(ValueError, match="do not name 2 traces"):
        plots.traces(np.zeros((4, 2)), ["pupil"])


def test_traces_draws_the_truth_behind():
    values = np.random.default_rng(0).standard_normal((30, 2))
    ax = plots.traces(values, ["a", "b"], truth=2 * values + 1)
    orange = [line for line in ax.lines if line.get_color() == plots.ORANGE]
    blue = [line for line in ax.lines if line.get_color() == plots.BLUE]
    assert len(blue) == len(orange) == 2
    np.testing.assert_allclose(blue[1].get_ydata(), orange[1].get_ydata())  # each in its std
    assert orange[0].get_linewidth() > blue[0].get_linewidth()  # both are seen where they are equal
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["true", "learned"]


def test_binned_mean_averages_groups_of_rising_x():
    x = np.arange(20)[::-1]  # falling, so the groups must be sorted
    ax = plots.binned_mean(x, 2.0 * x, xlabel="pupil (std)")
    (bars,) = ax.containers
    np.testing.assert_allclose(bars[0].get_xydata()[[0, 9]], [[0.5, 1], [18.5, 37]])
    low, high = bars[2][0].get_segments()[0][:, 1]  # 0 and 2: std √2, s.e.m. 1
    assert (low, high) == pytest.approx((0, 2))
    assert ax.get_xlabel() == "pupil (std)"
    plots.binned_mean(x, 9.0 * x, ax, "again")
    assert ax.get_ylim()[1] > 9 * 18.5  # the second line has room


def test_binned_mean_starts_at_zero():
    ax = plots.binned_mean(np.arange(20), np.linspace(50, 51, 20))
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 51


@pytest.mark.parametrize("count", [19, 21])
def test_binned_mean_refuses_few_or_unequal_trials(count):
    with pytest.raises(ValueError, match=r"have 19 trials; give 20|must be numbers \(21,\)"):
        plots.binned_mean(np.arange(count), np.arange(19))


def test_mean_responses_in_order_of_the_prediction():
    responses, predictions = [1, 3, 6], [5, 5, 2]
    ax = plots.mean_responses(responses, predictions, [7, 7, 9], rates=[4, 4, 3])
    measured = ax.containers[0]
    np.testing.assert_array_equal(measured[0].get_ydata(), [6, 2])
    np.testing.assert_allclose(measured[2][0].get_segments()[1][:, 1], [1, 3])  # s.e.m. 1
    rate, predicted = ax.lines[-2:]
    np.testing.assert_array_equal([rate.get_ydata(), predicted.get_ydata()], [[3, 4], [2, 5]])
