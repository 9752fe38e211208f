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
from matplotlib.ticker import MaxNLocator
from PIL import Image

from kit.plots.style import BLUE, GREY, ORANGE, VERMILION, clean_axis

CORTEX = ("cortical x", "cortical y")
BEHAVIOR = ("pupil size", "change of pupil", "running speed")


class LiveFigure:
    """A figure outside pyplot, with panels at fixed places."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=100)
        self.canvas = FigureCanvasAgg(self.figure)

    def panel(self, box: tuple, title: str, xlabel: str = "", ylabel: str = "") -> Axes:
        """A new axis. box: left, bottom, width and height as shares of the figure."""
        ax = self.figure.add_axes(box)
        ax.tick_params(labelsize=9)
        ax.set_title(title, fontsize=11)
        ax.set_xlabel(xlabel, fontsize=10)
        ax.set_ylabel(ylabel, fontsize=10)
        return clean_axis(ax)

    def picture(self, box: tuple, title: str, size: tuple, cmap: str = "gray") -> Any:
        """An image (H, W) of zeros in a panel, with pixels counted from the middle: its artist."""
        height, width = size
        ax = self.panel(box, title, "pixels from the middle")
        edges = (-width / 2, width / 2, height / 2, -height / 2)
        return ax.imshow(
            np.zeros(size), cmap=cmap, vmin=-1, vmax=1, extent=edges, interpolation="nearest"
        )

    def cortex(self, box: tuple, title: str, coordinates: np.ndarray, unit: str) -> Axes:
        """A panel in which neurons stand at their place in cortex, seen from above."""
        ax = self.panel(box, title, *(f"{name} ({unit})" for name in CORTEX))
        low, high = coordinates[:, :2].min(0), coordinates[:, :2].max(0)
        margin = 0.03 * (high - low).max() + 1e-6
        return clean_axis(
            ax,
            aspect="equal",
            xlim=(low[0] - margin, high[0] + margin),
            ylim=(low[1] - margin, high[1] + margin),
        )

    def neurons(self, ax: Axes, coordinates: np.ndarray, top: float, box: tuple) -> Any:
        """Dots coloured by response from 0 to `top`, with a colour bar in `box`: their artist."""
        dots = ax.scatter(
            *coordinates[:, :2].T,
            c=np.zeros(len(coordinates)),
            vmin=0,
            vmax=top,
            s=_dot_size(coordinates),
            linewidth=0,
        )
        bar = self.figure.colorbar(dots, cax=self.figure.add_axes(box), extend="max")
        bar.set_label("response (std)", fontsize=10)
        bar.ax.tick_params(labelsize=9)
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


def _dot_size(coordinates):
    return 14 if len(coordinates) < 1000 else 4


class PopulationFigure(LiveFigure):
    """A stimulus, and the responses of all neurons at their place in cortex.

    coordinates: (N, 2 or 3) in `unit`; limits: the z-scored values of black and white; top: the
    response (std) at which the colours end.
    """

    def __init__(
        self, coordinates: np.ndarray, size: tuple, limits: tuple, top: float, unit: str = "µm"
    ) -> None:
        super().__init__(9.4, 3.6)
        self.stimulus = self.picture((0.06, 0.16, 0.41, 0.74), "stimulus", size)
        self.stimulus.set_clim(*limits)
        title = f"responses of {len(coordinates):,} neurons"
        ax = self.cortex((0.55, 0.16, 0.35, 0.74), title, coordinates, unit)
        self.dots = self.neurons(ax, coordinates, top, (0.92, 0.16, 0.015, 0.74))

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
        self.image = self.picture((0.06, 0.57, 0.41, 0.37), "image", recording.image_size)
        self.image.set_clim(_range(recording.images))
        place, count = recording.coordinates, len(recording.unit_ids)
        self.map = self.cortex(
            (0.55, 0.57, 0.35, 0.37), f"responses of {count:,} neurons", place, "µm"
        )
        self.dots = self.neurons(self.map, place, 3, (0.92, 0.57, 0.015, 0.37))
        self.notes = [_note(self.map, "responses withheld")]
        self.lines, self.eye = [], None
        if recording.behavior is None:
            ax = self.panel((0.12, 0.08, 0.35, 0.34), "behaviour")
            _note(clean_axis(ax, xticks=[], yticks=[]), "withheld").set_visible(True)
        else:
            self.lines = [self._histogram(i) for i in range(3)]
        if recording.pupil_center is None:
            ax = self.panel((0.55, 0.08, 0.35, 0.34), "eye position")
            _note(clean_axis(ax, xticks=[], yticks=[]), "withheld").set_visible(True)
        else:
            ax = self.panel(
                (0.55, 0.08, 0.35, 0.34),
                "eye position: all trials, and this one",
                "x (z-scored)",
                "y (z-scored)",
            )
            ax.plot(*recording.pupil_center.T, ",", color=GREY)
            (self.eye,) = ax.plot([], [], "o", color=VERMILION, markersize=9)

    def _histogram(self, i):
        """How often each value of a behaviour occurs; the line that marks this trial's value."""
        ax = self.panel((0.18, 0.32 - 0.12 * i, 0.29, 0.09), "", ylabel=BEHAVIOR[i])
        ax.yaxis.label.set(rotation=0, ha="right", va="center")
        values = self.recording.behavior[:, i]
        ax.hist(values, 60, color=GREY)
        clean_axis(ax, yticks=[])
        if i == 0:
            ax.set_title("behaviour: all trials, and this one", fontsize=11)
        if i == 2:
            ax.set_xlabel("std", fontsize=10)
        return ax.axvline(values[0], color=VERMILION, linewidth=3)

    def show_trial(self, row: int) -> Figure:
        """Show a trial. row: its index in the recording."""
        recording = self.recording
        self.image.set_data(recording.images[row, 0])
        responses = recording.responses[row]
        withheld = bool(np.isnan(responses).all())
        self.notes[0].set_visible(withheld)
        self.dots.set_array(np.zeros(len(responses)) if withheld else responses)
        self.dots.set_visible(not withheld)
        for line, value in zip(
            self.lines, () if not self.lines else recording.behavior[row], strict=True
        ):
            line.set_xdata([value, value])
        if self.eye:
            self.eye.set_data(*recording.pupil_center[row][:, None])
        return self.figure


def _range(images):
    """The darkest and the brightest pixel of some images."""
    some = images[:: max(1, len(images) // 100)]
    return float(some.min()), float(some.max())


def _note(ax, text):
    note = ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=11)
    note.set_visible(False)
    return note


class NeuronFigure(LiveFigure):
    """One neuron: its place, field, most exciting image, and predicted against recorded responses.

    coordinates: (N, 2 or 3) of all neurons, in µm. The rest is of n chosen ones: neurons (n,)
    indices, fields and images (n, H, W), predictions and responses (T, n) in std.
    """

    def __init__(
        self,
        coordinates: np.ndarray,
        neurons: np.ndarray,
        fields: np.ndarray,
        images: np.ndarray,
        predictions: np.ndarray,
        responses: np.ndarray,
    ) -> None:
        super().__init__(9.4, 6.4)
        self.coordinates, self.chosen, self.fields, self.images = (
            coordinates,
            neurons,
            fields,
            images,
        )
        self.predictions, self.responses = predictions, responses
        size = fields.shape[1:]
        ax = self.cortex((0.08, 0.6, 0.36, 0.35), "place in cortex", coordinates, "µm")
        ax.scatter(*coordinates[:, :2].T, color=GREY, s=_dot_size(coordinates) / 2, linewidth=0)
        (self.place,) = ax.plot([], [], "o", color=VERMILION, markersize=10)
        self.field = self.picture(
            (0.56, 0.6, 0.4, 0.35), "receptive field: red excites where bright", size, "RdBu_r"
        )
        self.image = self.picture((0.56, 0.09, 0.4, 0.35), "most exciting image", size)
        self.scatter = self.panel(
            (0.08, 0.09, 0.36, 0.35),
            "",
            "predicted response (std); dashed: equal to recorded",
            "recorded response (std)",
        )
        (self.line,) = self.scatter.plot([], [], "--", color=ORANGE)
        (self.trials,) = self.scatter.plot(
            [], [], "o", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0
        )

    def show_neuron(self, i: int, score: float) -> Figure:
        """Show the i-th of the chosen neurons. score: its single-trial correlation."""
        self.place.set_data(*self.coordinates[self.chosen[i], :2, None])
        for artist, picture in ((self.field, self.fields[i]), (self.image, self.images[i])):
            largest = np.abs(picture).max() or 1
            artist.set(data=picture, clim=(-largest, largest))
        predicted, recorded = self.predictions[:, i], self.responses[:, i]
        top = max(1, 1.05 * recorded.max(), 1.05 * predicted.max())
        self.trials.set_data(predicted, recorded)
        self.line.set_data([0, top], [0, top])
        self.scatter.set(xlim=(0, 1.05 * max(1, predicted.max())), ylim=(-0.02 * top, top))
        self.scatter.set_title(f"single-trial correlation {score:.2f}", fontsize=11)
        return self.figure


class TrainingFigure(LiveFigure):
    """Loss and validation correlation of a training, epoch by epoch."""

    def __init__(self, epochs: int) -> None:
        super().__init__(9.4, 3.2)
        self.loss_axis = self.panel(
            (0.08, 0.17, 0.38, 0.72), "training", "epoch", "loss per neuron and trial"
        )
        self.score_axis = self.panel(
            (0.58, 0.17, 0.38, 0.72), "validation", "epoch", "single-trial correlation"
        )
        for ax in (self.loss_axis, self.score_axis):
            ax.set_xlim(0.5, max(epochs, 2) + 0.5)
            ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        (self.loss,) = self.loss_axis.plot([], [], "o-", color=BLUE, markersize=4)
        (self.score,) = self.score_axis.plot([], [], "o-", color=BLUE, markersize=4)
        (self.best,) = self.score_axis.plot(
            [],
            [],
            "o",
            color=ORANGE,
            markersize=11,
            fillstyle="none",
            markeredgewidth=2,
            label="best so far",
        )
        self.score_axis.legend(fontsize=9, frameon=False, loc="lower right")

    def show_history(self, history: Any) -> Figure:
        """Show the epochs so far. history: a `History`."""
        epochs = np.arange(1, len(history.loss) + 1)
        self.loss.set_data(epochs, history.loss)
        self.score.set_data(epochs, history.correlation)
        if history.best_epoch is not None:
            self.best.set_data([history.best_epoch + 1], [history.correlation[history.best_epoch]])
        for ax in (self.loss_axis, self.score_axis):
            ax.relim()
            ax.autoscale(axis="y")
        return self.figure
