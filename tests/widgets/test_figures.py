"""Figures that a slider moves, read back from their artists. (The widgets' tests are another file.)

They are used without a widget too: each method that shows something returns the figure.
"""

import io
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import kit
from kit.widgets.figures import (
    LiveFigure,
    NeuronFigure,
    PopulationFigure,
    TrainingFigure,
    TrialFigure,
)

POSITIONS = np.array([[0, 10, 200], [300, 20, 200], [600, 30, 250.0]])
BOX = (0.2, 0.2, 0.7, 0.7)


def test_live_figure_png_is_the_figure_and_unknown_to_pyplot():
    live = LiveFigure(3, 2)
    live.panel(BOX, "title", xlabel="x (µm)", ylabel="y (µm)")
    assert plt.imread(io.BytesIO(live.png())).shape == (200, 300, 4)
    assert live.png() == live.png()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("size", [(36, 64), (9, 9), (5, 2)])
def test_picture_counts_pixels_from_the_middle(size):
    artist = LiveFigure(3, 2).picture(BOX, "image", size)
    height, width = size
    assert artist.get_extent() == [-width / 2, width / 2, height / 2, -height / 2]
    assert artist.get_array().shape == size
    assert artist.axes.get_ylim() == (height / 2, -height / 2)  # y downwards


@pytest.mark.parametrize(
    "positions", [POSITIONS, POSITIONS[:1], np.full((4, 3), 7.0), 1e6 + POSITIONS]
)
def test_cortex_holds_every_neuron(positions):
    dots = LiveFigure(3, 2).cortex(BOX, "map", positions, unit="µm", size=4)
    ax = dots.axes
    for (low, high), values in zip((ax.get_xlim(), ax.get_ylim()), positions.T[:2], strict=True):
        assert low < values.min() and values.max() < high
    assert ax.get_xlabel() == "cortical x (µm)" and ax.get_ylabel() == "cortical y (µm)"
    assert ax.get_aspect() == 1


def test_show_responses_of_many_neurons_in_smaller_dots():
    few, many = (PopulationFigure(np.eye(count, 2), (2, 2), (-1, 2), 3) for count in (999, 1000))
    assert few.show_responses(np.eye(2), np.linspace(0, 9, 999)) is few.figure
    assert few.stimulus.get_clim() == (-1, 2)
    assert few.dots.get_clim() == (0, 3)  # fixed: the colour of a response means the same always
    assert few.dots.colorbar.ax.get_ylabel() == "response (std)"
    assert few.dots.get_sizes() > many.dots.get_sizes()
    assert many.dots.axes.get_title() == "responses of 1,000 neurons"


def recording(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.standard_normal((5, 1, 4, 6)),
        "image_size": (4, 6),
        "responses": np.array([[0, 1, 2.0]] * 4 + [[np.nan] * 3]),
        "behavior": rng.uniform(1, 3, (5, 3)),
        "pupil_center": rng.standard_normal((5, 2)),
        "coordinates": POSITIONS,
        "behavior_names": ("pupil", "pupil_change", "running"),
    }
    return SimpleNamespace(**arrays | changes)


@pytest.mark.parametrize(
    "missing", [["behavior", "pupil_center"], ["pupil_center"], ["behavior"], []]
)
def test_show_trial_says_what_is_withheld(missing):
    live = TrialFigure(recording(**dict.fromkeys(missing)))
    assert live.show_trial(1) is live.figure
    texts = [text for ax in live.figure.axes for text in ax.texts if text.get_visible()]
    assert [text.get_text() for text in texts] == ["withheld"] * len(missing)
    titles = [ax.get_title() for ax in live.figure.axes]
    assert ("eye position" in titles) == ("pupil_center" in missing)
    assert ("behaviour" in titles) == ("behavior" in missing)


def test_show_trial_behavior_that_never_changes():
    live = TrialFigure(recording(behavior=np.ones((5, 3))))
    live.show_trial(0)
    assert len(live.png()) > 0


def test_show_neuron_that_never_responds():
    live, nothing = NeuronFigure(POSITIONS, (4, 6)), np.zeros((4, 6))
    shown = live.show_neuron(POSITIONS[1], nothing, nothing, np.zeros((2, 7)), 0)
    assert shown is live.figure
    assert live.field.get_clim() == live.image.get_clim() == (-1, 1)
    assert len(live.png()) > 0


def history(*correlations):
    made = kit.History()
    for i, value in enumerate(correlations):
        made.add(2 - 0.1 * i, value, 0.01, 1)
    return made


def test_show_history_grows():
    live = TrainingFigure(5)
    for scores in ([], [0.1], [0.1, 0.3], [0.1, 0.3, 0.2]):
        shown = history(*scores)
        assert live.show_history(shown) is live.figure
        epochs = np.arange(1, len(scores) + 1)
        np.testing.assert_array_equal(live.loss.get_xydata().T, [epochs, shown.loss])
        np.testing.assert_array_equal(live.score.get_xydata().T, [epochs, scores])
        live.png()
    np.testing.assert_allclose(live.best.get_xydata(), [[2, 0.3]])
    assert live.loss.axes.get_xlim() == live.score.axes.get_xlim() == (0.5, 5.5)
    bottom, top = live.score.axes.get_ylim()
    assert bottom < 0.1 and 0.3 < top < 1
    (entry,) = live.score.axes.get_legend().get_texts()
    assert entry.get_text() == "best so far"


def test_text_of_the_figures_has_no_formulas():
    """matplotlib's parser of formulas is not safe in threads."""
    trial = TrialFigure(recording(behavior=1e9 * recording().behavior))
    trial.show_trial(0)
    tiny = PopulationFigure(POSITIONS * 1e-7, (4, 6), (-1, 1), 1e-9)
    for live in (tiny, trial, TrainingFigure(5)):
        live.png()
        texts = [text.get_text() for text in live.figure.findobj(plt.Text)]
        assert texts and not any("$" in text for text in texts)
