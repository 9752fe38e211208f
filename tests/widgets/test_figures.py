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


def test_show_responses():
    live = PopulationFigure(POSITIONS, (4, 6), (-1.5, 2), 3, "mm")
    image = np.arange(24.0).reshape(4, 6) / 12
    assert live.show_responses(image, np.array([0, 1.5, 9])) is live.figure
    np.testing.assert_array_equal(live.stimulus.get_array(), image)
    assert live.stimulus.get_clim() == (-1.5, 2)
    np.testing.assert_array_equal(live.dots.get_array(), [0, 1.5, 9])
    np.testing.assert_array_equal(live.dots.get_offsets(), POSITIONS[:, :2])
    assert live.dots.get_clim() == (0, 3)  # fixed: the colour of a response means the same always
    assert live.dots.axes.get_title() == "responses of 3 neurons"
    assert live.dots.colorbar.ax.get_ylabel() == "response (std)"
    assert live.dots.axes.get_xlabel() == "cortical x (mm)"


def test_show_responses_of_many_neurons_in_smaller_dots():
    few, many = (PopulationFigure(np.eye(count, 2), (2, 2), (-1, 1), 1) for count in (999, 1000))
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
    }
    return SimpleNamespace(**arrays | changes)


def test_show_trial():
    here = recording()
    live = TrialFigure(here)
    assert live.show_trial(2) is live.figure
    np.testing.assert_array_equal(live.image.get_array(), here.images[2, 0])
    assert live.image.get_clim() == (here.images.min(), here.images.max())
    np.testing.assert_array_equal(live.dots.get_array(), [0, 1, 2])
    assert [line.get_xdata()[0] for line in live.lines] == list(here.behavior[2])
    np.testing.assert_array_equal(live.eye.get_xydata(), here.pupil_center[[2]])
    (cloud, _) = live.eye.axes.lines
    np.testing.assert_array_equal(cloud.get_xydata(), here.pupil_center)
    labels = [line.axes.get_ylabel() for line in live.lines]
    assert labels == ["pupil size", "change of pupil", "running speed"]


def test_show_trial_withheld_responses_come_and_go():
    live = TrialFigure(recording())
    for row, withheld in ((4, True), (0, False), (4, True)):
        live.show_trial(row)
        assert live.note.get_visible() == withheld
        assert live.dots.get_visible() != withheld
        live.png()


@pytest.mark.parametrize(
    "missing", [["behavior", "pupil_center"], ["pupil_center"], ["behavior"], []]
)
def test_show_trial_says_what_is_withheld(missing):
    live = TrialFigure(recording(**dict.fromkeys(missing)))
    live.show_trial(1)
    texts = [text for ax in live.figure.axes for text in ax.texts if text.get_visible()]
    assert [text.get_text() for text in texts] == ["withheld"] * len(missing)
    titles = [ax.get_title() for ax in live.figure.axes]
    assert ("eye position" in titles) == ("pupil_center" in missing)
    assert ("behaviour" in titles) == ("behavior" in missing)


def test_show_trial_behavior_that_never_changes():
    live = TrialFigure(recording(behavior=np.ones((5, 3))))
    live.show_trial(0)
    assert len(live.png()) > 0


def test_show_neuron():
    rng = np.random.default_rng(0)
    live = NeuronFigure(POSITIONS, (4, 6))
    for neuron in (2, 0):
        field, image = rng.standard_normal((2, 4, 6))
        responses = 4 * rng.random((2, 7))
        assert live.show_neuron(POSITIONS[neuron], field, image, responses, 0.123) is live.figure
        np.testing.assert_array_equal(live.position.get_xydata(), POSITIONS[[neuron], :2])
        for artist, pixels in ((live.field, field), (live.image, image)):
            np.testing.assert_array_equal(artist.get_array(), pixels)
            assert artist.get_clim() == (-np.abs(pixels).max(), np.abs(pixels).max())
        np.testing.assert_array_equal(live.trials.get_xydata(), responses.T)
        for (low, high), values in zip(
            (live.scatter.get_xlim(), live.scatter.get_ylim()), responses, strict=True
        ):
            assert low <= values.min() and values.max() < high
        np.testing.assert_array_equal(live.line.get_xdata(), live.line.get_ydata())
        assert live.scatter.get_title() == "single-trial correlation 0.12"


def test_show_neuron_that_never_responds():
    live, nothing = NeuronFigure(POSITIONS, (4, 6)), np.zeros((4, 6))
    live.show_neuron(POSITIONS[1], nothing, nothing, np.zeros((2, 7)), 0)
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


def test_show_history_of_one_epoch():
    live = TrainingFigure(1)
    live.show_history(history(0.2))
    assert live.score.axes.get_xlim() == (0.5, 2.5)
    assert len(live.png()) > 0


def test_text_of_the_figures_has_no_formulas():
    """matplotlib's parser of formulas is not safe in threads."""
    trial = TrialFigure(recording(behavior=1e9 * recording().behavior))
    trial.show_trial(0)
    tiny = PopulationFigure(POSITIONS * 1e-7, (4, 6), (-1, 1), 1e-9)
    for live in (tiny, trial, TrainingFigure(5)):
        live.png()
        texts = [text.get_text() for text in live.figure.findobj(plt.Text)]
        assert texts and not any("$" in text for text in texts)
