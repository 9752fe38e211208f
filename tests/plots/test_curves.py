"""The figures of scores, read back from their axes."""

from types import SimpleNamespace

import numpy as np
import pytest

import kit
from kit import plots


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
    edges, heights = plots.score_histogram([-0.86, 0.2, 0.995, 1.0]).patches[0].get_xy().T
    assert edges.min() <= -0.86 and edges.max() == pytest.approx(1)
    found = {(low, height) for low, height in zip(edges, heights, strict=True) if height}
    assert {height for _, height in found} == {1, 2}  # the two best share the last bin


def test_score_histogram_names_the_score():
    ax = plots.score_histogram([0.1, 0.3], label="estimated", score="FEV")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("FEV", "neurons")
    assert texts(ax.get_legend().get_texts()) == ["estimated: mean 0.200 (line)"]


def test_score_bars_draws_and_writes_every_score(ax):
    good, bad = scores(0.3, 0.5, 0.6), scores(0.1, -0.2, -4073.4)
    plots.score_bars({"good": good, "bad": bad}, ax)
    widths = [[bar.get_width() for bar in group] for group in ax.containers]
    assert widths == [[0.3, 0.1], [0.5, -0.2], [0.6, -0.5]]  # the last one is cut at the edge
    assert texts(ax.get_yticklabels()) == ["good", "bad"]
    assert texts(ax.texts) == ["0.30", "0.10", "0.50", "-0.20", "0.60", "-4,073, beyond the edge"]


def test_score_bars_leaves_out_missing_scores():
    assert texts(plots.score_bars({"validation": scores(0.3)}).texts) == ["0.30"]


def test_score_spread_draws_every_run_and_the_error():
    ax = plots.score_spread({"one": [0.1, 0.2, 0.3], "other": [0.25]})
    dots = [line.get_xdata() for line in ax.lines if line.get_marker() == "o"]
    assert list(map(list, dots)) == [[0.1, 0.2, 0.3], [0.25]]
    error = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(error, 0.2 + np.array([-1, 1]) * 0.1 / np.sqrt(3))
    assert texts(ax.texts) == ["0.200", "0.250"]
    assert texts(ax.get_yticklabels()) == ["one", "other"]


def test_score_intervals_draws_values_and_a_line_at_zero_if_it_is_near():
    ax = plots.score_intervals({"sure": (0.3, 0.2, 0.4), "unsure": (0.1, -0.1, 0.2)})
    drawn = [[list(map(float, data)) for data in line.get_data()] for line in ax.lines]
    assert drawn == [
        [[0.2, 0.4], [0, 0]],
        [[0.3], [0]],
        [[-0.1, 0.2], [1, 1]],
        [[0.1], [1]],
        [[0, 0], [0, 1]],
    ]
    assert texts(ax.get_yticklabels()) == ["sure", "unsure"]
    assert len(plots.score_intervals({"far from 0": (0.3, 0.2, 0.4)}).lines) == 2


def test_learning_curve_draws_a_line_for_each_name():
    ax = plots.learning_curve([100, 400], {"from scratch": [0.1, 0.3], "transferred": [0.2, 0.35]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.1, 0.3], [0.2, 0.35]]
    assert texts(ax.get_xticklabels()) == ["100", "400"]
    assert ax.get_xlabel() == "training images"
