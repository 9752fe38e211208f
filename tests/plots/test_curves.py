"""The figures of scores, read back from their axes."""

from types import SimpleNamespace

import numpy as np
import pytest

import kit
from kit import plots
from kit.lab import LearningCurve


def texts(labels):
    return [label.get_text() for label in labels]


def scores(single_trial, to_average=None, feve=None):
    return kit.Scores(single_trial, to_average, feve, None, {})


def test_training_curve_marks_the_best_epoch():
    log = SimpleNamespace(seconds=[1, 2, 3], correlation=[0.1, 0.3, 0.2], best_epoch=1)
    ax = plots.training_curve(log)
    curve, best = ax.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[1, 0.1], [3, 0.3], [6, 0.2]])
    np.testing.assert_array_equal(best.get_xydata(), [[3, 0.3]])
    plots.training_curve(log, ax, "other")
    assert texts(ax.get_legend().get_texts()) == ["validation", "weights kept", "other"]


def test_reference_line_has_room(ax):
    plots.reference_line(2, "ceiling", ax)
    assert ax.lines[0].get_ydata() == [2, 2] and ax.get_ylim()[1] > 2
    assert texts(ax.texts) == ["ceiling"]


def test_score_histogram_leaves_no_neuron_out():
    ax = plots.score_histogram([-0.86, 0.2, 0.995, 1.0], label="estimated", score="FEV")
    edges, heights = ax.patches[0].get_xy().T
    assert edges.min() <= -0.86 and edges.max() == pytest.approx(1)
    assert sorted(set(heights)) == [0, 1, 2]  # the two best share the last bin
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("FEV", "neurons")
    assert texts(ax.get_legend().get_texts()) == ["estimated: mean 0.334 (line)"]


def test_score_bars_draws_and_writes_every_score(ax):
    good, bad = scores(0.3, 0.5, 0.6), scores(0.1, -0.2, -4073.4)
    plots.score_bars({"good": good, "bad": bad}, ax)
    widths = [[bar.get_width() for bar in group] for group in ax.containers]
    assert widths == [[0.3, 0.1], [0.5, -0.2], [0.6, -0.5]]  # the last one is cut at the edge
    assert texts(ax.get_yticklabels()) == ["good", "bad"]
    cut_off = "-4,073, beyond the edge"
    assert texts(ax.texts) == ["0.300", "0.100", "0.500", "-0.200", "0.600", cut_off]
    assert ax.get_xlim() == (-0.5, 1)
    assert texts(plots.score_bars({"two are missing": scores(0.3)}).texts) == ["0.300"]
    beyond = plots.score_bars({"a FEVE above 1": scores(0.3, 0.5, 1.3)})
    assert beyond.get_xlim() == (0, pytest.approx(1.43))  # no bar ends outside


def test_score_spread_draws_every_run_and_the_error():
    ax = plots.score_spread({"one": [0.1, 0.2, 0.3], "other": [0.25]})
    dots = [line.get_xdata() for line in ax.lines if line.get_marker() == "o"]
    assert list(map(list, dots)) == [[0.1, 0.2, 0.3], [0.25]]
    error = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(error, 0.2 + np.array([-1, 1]) * 0.1 / np.sqrt(3))
    assert texts(ax.texts) == ["0.200", "0.250"]
    assert texts(ax.get_yticklabels()) == ["one", "other"]
    assert ax.get_ylim() == (1.5, -0.5)  # no dot lies on the axis


def test_score_intervals_draws_values_and_a_line_at_zero_if_it_is_near():
    ax = plots.score_intervals({"sure": (0.3, 0.2, 0.4), "unsure": (0.1, -0.1, 0.2)})
    values, zero = ax.lines
    np.testing.assert_array_equal(values.get_xydata(), [[0.3, 0], [0.1, 1]])
    assert zero.get_xdata() == [0, 0]
    bounds = [segment.tolist() for segment in ax.collections[0].get_segments()]
    assert bounds == [[[0.2, 0], [0.4, 0]], [[-0.1, 1], [0.2, 1]]]
    assert texts(ax.get_yticklabels()) == ["sure", "unsure"]
    assert len(plots.score_intervals({"far from 0": (0.3, 0.2, 0.4)}).lines) == 1


def test_pulls_are_sorted():
    ax = plots.pulls([0.3, -0.1, 0.1])
    assert [bar.get_height() for bar in ax.patches] == [-0.1, 0.1, 0.3]
    assert ax.get_xlabel() == "3 images, by their pull"


def test_learning_curve_draws_a_line_for_each_name():
    scores = {name: [0.1, 0.2 + i] for i, name in enumerate("abcd")}
    ax = plots.learning_curve([100, 400], scores)
    assert [line.get_ydata().tolist() for line in ax.lines] == list(scores.values())
    assert len({line.get_color() for line in ax.lines}) == 4
    assert texts(ax.get_xticklabels()) == ["100", "400"]
    assert ax.get_xlabel() == "training images"


def test_data_needed_shows_what_is_expected():
    counts, values = np.array([200, 400, 800]), np.array([0.2, 0.3, 0.35])
    intervals, measured = np.array([values - 0.01, values + 0.02]), np.array([True, True, False])
    curve = LearningCurve("correlation, over images", counts, values, intervals, measured)
    ax = plots.data_needed(curve)
    assert texts(ax.get_legend().texts) == ["measured", "expected"]
    assert ax.get_xlabel() == "images" and ax.get_ylabel() == "correlation"
    (bars,) = ax.containers[1][2]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([0.34, 0.37])


def test_ladder_names_steps_unless_they_have_a_label():
    steps = {"baseline": (10, 0.3, 0.28, 0.33), "gain": (100, 0.35, 0.34, 0.36)}
    ax = plots.ladder(steps)
    assert texts(ax.texts) == list(steps) and ax.get_legend() is None
    assert [text.get_va() for text in ax.texts] == ["bottom", "top"]
    plots.ladder({"tried": (40, 0.31, 0.3, 0.32)}, ax, "tried, no better", plots.GREY)
    assert texts(ax.texts) == list(steps) and texts(ax.get_legend().texts) == ["tried, no better"]
    (bars,) = ax.containers[0][2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [pytest.approx([0.28, 0.33]), pytest.approx([0.34, 0.36])]
    assert ax.get_xscale() == "log" and "CPU seconds" in ax.get_xlabel()
