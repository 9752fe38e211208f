"""The figure that holds entries against each other: what is drawn is what was scored."""

import matplotlib.pyplot as plt
import pytest

import kit


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def scores(single_trial, to_average=None, feve=None):
    return kit.Scores(single_trial, to_average, feve, None, {})


def test_entries_draws_a_bar_for_every_score_and_writes_its_number(ax):
    good, bad = scores(0.3, 0.5, 0.6), scores(0.1, -0.2, -4073.4)
    assert kit.plots.entries({"good": good, "bad": bad}, ax) is ax
    widths = [[bar.get_width() for bar in group] for group in ax.containers]
    assert widths == [[0.3, 0.1], [0.5, -0.2], [0.6, -0.5]]  # the last one is cut at the edge
    assert [label.get_text() for label in ax.get_yticklabels()] == ["good", "bad"]
    numbers = [text.get_text() for text in ax.texts]
    assert numbers == ["0.30", "0.10", "0.50", "-0.20", "0.60", "-4,073, beyond the edge"]


def test_entries_leaves_out_what_could_not_be_scored(ax):
    kit.plots.entries({"validation": scores(0.3)}, ax)
    assert [text.get_text() for text in ax.texts] == ["0.30"]


def test_entries_makes_its_own_axis():
    ax = kit.plots.entries({"mine": scores(0.3, 0.5, 0.6)})
    assert ax.get_xlabel() == "score"
    plt.close(ax.figure)
