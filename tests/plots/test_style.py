"""Every figure is drawn on the axis that it is given, and on no other."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import kit
from kit import plots

LOG = SimpleNamespace(seconds=[1, 2], correlation=[0.1, 0.2], best_epoch=1)
DRAW = {
    "images": lambda ax: plots.images(np.eye(4)[None], ax),
    "filters": lambda ax: plots.filters(np.eye(4)[None], ax),
    "positions": lambda ax: plots.positions(np.eye(2), np.eye(2), ax),
    "images_with_responses": lambda ax: plots.images_with_responses(np.eye(4)[None], [[1, 2]], ax),
    "cortical_map": lambda ax: plots.cortical_map(np.eye(3), [1, 2, 3], ax),
    "raster": lambda ax: plots.raster(np.eye(3), ax=ax),
    "repeats": lambda ax: plots.repeats([[1, 2]], ax),
    "traces": lambda ax: plots.traces(np.eye(3), ["a", "b", "c"], ax),
    "binned_mean": lambda ax: plots.binned_mean(np.arange(20), np.arange(20), ax),
    "mean_responses": lambda ax: plots.mean_responses(np.ones(4), np.ones(4), [1, 1, 2, 2], ax),
    "score_histogram": lambda ax: plots.score_histogram([0.1, 0.2], ax),
    "score_bars": lambda ax: plots.score_bars({"a": kit.Scores(0.3, None, None, None, {})}, ax),
    "score_intervals": lambda ax: plots.score_intervals({"a": (0.1, 0, 0.2)}, ax),
    "score_spread": lambda ax: plots.score_spread({"a": [0.1, 0.2]}, ax),
    "learning_curve": lambda ax: plots.learning_curve([1, 10], {"a": [0.1, 0.2]}, ax),
    "reference_line": lambda ax: plots.reference_line(0.5, "ceiling", ax),
    "pulls": lambda ax: plots.pulls([1, -2], ax),
    "readout_drawing": lambda ax: plots.readout_drawing(np.ones((2, 3, 3)), [0, 0], *np.eye(2), ax),
    "training_curve": lambda ax: plots.training_curve(LOG, ax),
}


@pytest.mark.parametrize("name", DRAW)
def test_make_axis_keeps_the_given_one_or_makes_one(name, ax):
    assert DRAW[name](ax) is ax and len(plt.get_fignums()) == 1
    ax.figure.canvas.draw()
    plt.close("all")
    if name != "reference_line":
        assert DRAW[name](None).figure is plt.gcf() and len(plt.get_fignums()) == 1
