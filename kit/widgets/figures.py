"""Figures that a slider moves: drawn once, then only what changed.

They are matplotlib figures that pyplot does not know, so any thread may draw them, one at a time.
Text in them is plain: matplotlib's own formulas are not safe in threads. Each method that shows
something returns the figure, for `savefig` or the end of a notebook's cell.
"""

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kit.plots.style import BLUE, GREY, ORANGE, VERMILION, clean_axis, neuron_dots

BEHAVIOR = {
    "pupil": "pupil size",
    "pupil_change": "change of pupil",
    "running": "running speed",
}  # column -> its label; others are called by their own names


class LiveFigure:
    """A figure outside pyplot, with panels at fixed places."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=100)
        self.canvas = FigureCanvasAgg(self.figure)

    def panel(self, box: tuple, title: str, **settings: Any) -> Axes:
        """A new axis. box: left, bottom, width and height as shares of the figure.

        settings: labels, ticks, … as for `Axes.set`.
        """
        ax = clean_axis(self.figure.add_axes(box), **settings)
        ax.set_title(title, fontsize=11)
        ax.tick_params(labelsize=9)
        return ax

    def picture(
        self, box: tuple, title: str, size: tuple, limits: tuple = (-1, 1), cmap: str = "gray"
    ) -> Any:
        """An image (H, W) of zeros in a panel, with pixels counted from the middle: its artist."""
        height, width = size
        return self.panel(box, title, xlabel="pixels from the middle").imshow(
            np.zeros(size),
            cmap=cmap,
            clim=limits,
            extent=(-width / 2, width / 2, height / 2, -height / 2),
            interpolation="nearest",
        )

    def cortex(self, box: tuple, title: str, coordinates: np.ndarray, **settings: Any) -> Any:
        """A panel of neurons (N, 2 or 3) in cortex: its dots. settings: as for `neuron_dots`."""
        ax = self.panel(box, title)
        dots = neuron_dots(ax, coordinates, **settings)
        positions = coordinates[:, :2]
        margin = 0.03 * np.ptp(positions, axis=0).max() + 1e-6
        (left, bottom), (right, top) = positions.min(0) - margin, positions.max(0) + margin
        ax.set(xlim=(left, right), ylim=(bottom, top))
        return dots

    def responses(
        self, bottom: float, height: float, coordinates: np.ndarray, top: float, unit: str = "µm"
    ) -> Any:
        """On the right, neurons coloured by response from 0 to `top`, and the colour bar."""
        dots = self.cortex(
            (0.55, bottom, 0.35, height),
            f"responses of {len(coordinates):,} neurons",
            coordinates,
            unit=unit,
            size=14,
            c=np.zeros(len(coordinates)),
            clim=(0, top),
        )
        bar = self.figure.add_axes((0.92, bottom, 0.015, height))
        bar.tick_params(labelsize=9)
        self.figure.colorbar(dots, cax=bar, extend="max", label="response (std)")
        return dots

    def png(self) -> bytes:
        """The figure as a PNG, compressed little because that is faster."""
        file = BytesIO()
        self.canvas.print_png(file, pil_kwargs={"compress_level": 1})
        return file.getvalue()


def in_256_colors(png: bytes) -> bytes:
    """The same PNG with a palette: a third of the size, for pictures that are kept."""
    file = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


class PopulationFigure(LiveFigure):
    """A stimulus, and the responses of all neurons at their place in cortex.

    coordinates: (N, 2 or 3) in `unit`; limits: the z-scored values of black and white; top: the
    response (std) at which the colours end.
    """

    def __init__(
        self, coordinates: np.ndarray, size: tuple, limits: tuple, top: float, unit: str = "µm"
    ) -> None:
        super().__init__(9.4, 3.6)
        self.stimulus = self.picture((0.06, 0.16, 0.41, 0.74), "stimulus", size, limits)
        self.dots = self.responses(0.16, 0.74, coordinates, top, unit)

    def show_responses(self, image: np.ndarray, responses: np.ndarray) -> Figure:
        """Show an image (H, W), z-scored, and the responses (N,) to it."""
        self.stimulus.set_data(image)
        self.dots.set_array(responses)
        return self.figure


class TrialFigure(LiveFigure):
    """One trial of a recording: image, responses, behaviour and eye position.

    recording: a `Recording`. What it withholds is left out, and the panel says so.
    """

    def __init__(self, recording: Any) -> None:
        super().__init__(9.4, 6.4)
        self.recording = recording
        images = recording.images[:: max(1, len(recording.images) // 100)]  # all would take long
        limits = images.min(), images.max()
        box = 0.06, 0.57, 0.41, 0.37
        self.image = self.picture(box, "image", recording.image_size, limits)
        self.dots = self.responses(0.57, 0.37, recording.coordinates, 3)
        self.note = _note(self.dots.axes, "responses withheld")
        self.lines = []
        self.eye = None
        if recording.behavior is None:
            _note(self.panel((0.12, 0.08, 0.35, 0.34), "behaviour", xticks=[], yticks=[]))
        else:
            self.lines = [self._histogram(i) for i in range(recording.behavior.shape[1])]
            self.lines[0].axes.set_title("behaviour: all trials, and this one", fontsize=11)
            self.lines[-1].axes.set_xlabel("std")
        box = 0.55, 0.08, 0.35, 0.34
        if recording.pupil_center is None:
            _note(self.panel(box, "eye position", xticks=[], yticks=[]))
        else:
            ax = self.panel(box, "eye position: all trials, and this one")
            ax.set(xlabel="x (z-scored)", ylabel="y (z-scored)")
            ax.plot(*recording.pupil_center.T, ",", color=GREY)
            (self.eye,) = ax.plot([], [], "o", color=VERMILION, markersize=9)

    def _histogram(self, i):
        """How often each value of a behaviour occurs; the line that marks this trial's value."""
        names = self.recording.behavior_names
        step = 0.12 * min(1, 3 / len(names))  # as high as there is room for
        ax = self.panel((0.18, 0.44 - step * (i + 1), 0.29, 0.75 * step), "", yticks=[])
        ax.set_ylabel(BEHAVIOR.get(names[i], names[i]), rotation=0, ha="right", va="center")
        values = self.recording.behavior[:, i]
        ax.hist(values, 60, color=GREY)
        return ax.axvline(values[0], color=VERMILION, linewidth=3)

    def show_trial(self, row: int) -> Figure:
        """Show a trial. row: its index in the recording."""
        recording = self.recording
        responses = self.recording.responses[row]
        self.image.set_data(recording.images[row, 0])
        withheld = bool(np.isnan(responses).all())
        self.note.set_visible(withheld)
        self.dots.set_array(responses)
        self.dots.set_visible(not withheld)
        for i, line in enumerate(self.lines):
            line.set_xdata([recording.behavior[row, i]] * 2)
        if self.eye:
            self.eye.set_data(*recording.pupil_center[row, :, None])
        return self.figure


def _note(ax, text="withheld"):
    return ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=11)


class NeuronFigure(LiveFigure):
    """One neuron: its place, field, most exciting image, and predicted against recorded responses.

    coordinates: (N, 2 or 3) of all neurons, in µm; size: height and width of the images.
    """

    def __init__(self, coordinates: np.ndarray, size: tuple) -> None:
        super().__init__(9.4, 6.4)
        box = 0.08, 0.6, 0.36, 0.35
        dots = self.cortex(box, "place in cortex", coordinates, unit="µm", size=7, color=GREY)
        (self.position,) = dots.axes.plot([], [], "o", color=VERMILION, markersize=10)
        title = "receptive field: red excites where bright"
        self.field = self.picture((0.56, 0.6, 0.4, 0.35), title, size, cmap="RdBu_r")
        self.image = self.picture((0.56, 0.09, 0.4, 0.35), "most exciting image", size)
        self.scatter = self.panel((0.08, 0.09, 0.36, 0.35), "")
        self.scatter.set_xlabel("predicted response (std); dashed: equal to recorded")
        self.scatter.set_ylabel("recorded response (std)")
        (self.line,) = self.scatter.plot([], [], "--", color=ORANGE)
        (self.trials,) = self.scatter.plot(
            [], [], "o", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0
        )

    def show_neuron(
        self,
        position: np.ndarray,
        field: np.ndarray,
        image: np.ndarray,
        responses: np.ndarray,
        score: float,
    ) -> Figure:
        """Show one neuron.

        position: (2 or 3,) in cortex, µm; field, image: (H, W); responses: (2, T) predicted and
        recorded, in std; score: their single-trial correlation.
        """
        self.position.set_data(*position[:2, None])
        for artist, pixels in ((self.field, field), (self.image, image)):
            largest = np.abs(pixels).max() or 1
            artist.set(data=pixels, clim=(-largest, largest))
        top, right = max(1, 1.05 * responses.max()), 1.05 * max(1, responses[0].max())
        self.trials.set_data(responses)
        self.line.set_data([0, top], [0, top])
        self.scatter.set(xlim=(0, right), ylim=(-0.02 * top, top))
        self.scatter.set_title(f"single-trial correlation {score:.2f}", fontsize=11)
        return self.figure


class TrainingFigure(LiveFigure):
    """Loss and validation correlation of a training, epoch by epoch."""

    def __init__(self, epochs: int) -> None:
        super().__init__(9.4, 3.2)
        self.loss = self._curve(0.08, "training", "loss per neuron and trial", epochs)
        self.score = self._curve(0.58, "validation", "single-trial correlation", epochs)
        (self.best,) = self.score.axes.plot(
            [],
            [],
            "o",
            color=ORANGE,
            markersize=11,
            fillstyle="none",
            markeredgewidth=2,
            label="best so far",
        )
        self.score.axes.legend(fontsize=9, frameon=False, loc="lower right")

    def _curve(self, left, title, ylabel, epochs):
        ax = self.panel((left, 0.17, 0.38, 0.72), title, xlabel="epoch", ylabel=ylabel)
        ax.set_xlim(0.5, max(epochs, 2) + 0.5)
        ax.locator_params(axis="x", steps=[1, 2, 5, 10], integer=True)
        return ax.plot([], [], "o-", color=BLUE, markersize=4)[0]

    def show_history(self, history: Any) -> Figure:
        """Show the epochs so far. history: a `History`."""
        best = history.best_epoch
        if best is not None:
            self.best.set_data([best + 1], [history.correlation[best]])
        for line, values in ((self.loss, history.loss), (self.score, history.correlation)):
            line.set_data(range(1, len(values) + 1), values)
            line.axes.relim()
            line.axes.autoscale(axis="y")
        return self.figure
