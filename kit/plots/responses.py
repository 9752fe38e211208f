"""Figures of responses."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from kit.checks import brief, require_array
from kit.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILION, clean_axis, make_axis


def raster(
    responses: np.ndarray, image_ids: np.ndarray | None = None, ax: Axes | None = None
) -> Axes:
    """Draw every response as one dot: neurons down, trials to the right, in the order given.

    responses: (T, N) in units of each neuron's std, black from 3 on; a few hundred of each fit.
    image_ids: (T,); if given, images are numbered from 1 in the order given, with a tick where the
    next one begins.
    """
    responses = require_array("responses", responses, ("T", "N"))
    if image_ids is not None:
        image_ids = require_array("image_ids", image_ids, (len(responses),))
    ax = make_axis(ax, 7, 3.6)
    picture = ax.imshow(
        responses.T, aspect="auto", cmap="Greys", vmin=0, vmax=3, interpolation="nearest"
    )
    ax.figure.colorbar(picture, ax=ax, label="response (std)", extend="max", pad=0.01)
    ax.set(xlabel=f"{len(responses)} trials", ylabel="neurons")
    if image_ids is not None:
        _number_images(ax, image_ids)
    return ax


def _number_images(ax, image_ids):
    """Add a tick where the next image begins, and each image's number below its trials."""
    starts = np.flatnonzero(np.diff(image_ids)) + 1
    edges = np.array([0, *starts, len(image_ids)]) - 0.5
    middles, count = (edges[:-1] + edges[1:]) / 2, len(edges) - 1
    every = -(-count // 20)  # more than 20 numbers would overlap
    ax.set_xticks(starts - 0.5, [""] * len(starts))
    ax.set_xticks(middles[every - 1 :: every], range(every, count + 1, every), minor=True)
    ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel(
        f"{len(image_ids)} trials, by number of the image; a tick where the next image begins"
    )


def repeats(columns: list[np.ndarray], ax: Axes | None = None, xlabel: str = "image") -> Axes:
    """Draw single trials as dots, one column after another, and the mean of each column.

    columns: a list of (n,) responses in units of a neuron's std; n may differ.
    """
    if not isinstance(columns, list | tuple | np.ndarray) or not len(columns):
        raise ValueError(f"columns={brief(columns)} are not columns; give a list of arrays (n,)")
    columns = [require_array(f"columns[{i}]", each, ("n",)) for i, each in enumerate(columns)]
    ax = make_axis(ax, 6, 3)
    x = np.repeat(np.arange(len(columns)), list(map(len, columns)))
    ax.plot(
        x,
        np.concatenate(columns),
        "o",
        color=GREY,
        markersize=4,
        alpha=0.6,
        markeredgewidth=0,
        label="one trial",
    )
    ax.plot(
        list(map(np.mean, columns)),
        "_",
        color=VERMILION,
        markersize=9,
        markeredgewidth=2,
        label="mean",
    )
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.legend(frameon=False)
    return clean_axis(ax, xlabel=xlabel, ylabel="response (std)")


def traces(
    values: np.ndarray, names: list[str], ax: Axes | None = None, truth: np.ndarray | None = None
) -> Axes:
    """Draw traces above one another, each in units of its own std.

    values: (T, K); names: K strings; truth: (T, K), drawn behind in orange, or None.
    """
    values = require_array("values", values, ("T", "K"))
    count = values.shape[1]
    if not isinstance(names, list | tuple) or len(names) != count:
        raise ValueError(
            f"names={brief(names)} do not name {count} traces; give a list of {count} names"
        )
    if truth is not None:
        ax = traces(require_array("truth", truth, values.shape), names, ax)
        plt.setp(ax.lines, color=ORANGE, linewidth=2)
    ax = make_axis(ax, 6, 0.6 + 0.6 * count)
    std = values.std(0)
    base = -6.0 * np.arange(count)
    ax.plot((values - values.mean(0)) / np.where(std > 0, std, 1) + base, color=BLUE, linewidth=0.9)
    left = -0.02 * len(values)
    ax.plot([left, left], [0, 3], color=BLACK, linewidth=2)
    ax.annotate("3 std ", (left, 1.5), ha="right", va="center", fontsize="small", rotation=90)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return clean_axis(ax, yticks=base, yticklabels=names, xlabel="trial, in the order given")


def binned_mean(
    x: np.ndarray,
    y: np.ndarray,
    ax: Axes | None = None,
    label: str | None = None,
    color: str = BLUE,
    xlabel: str = "",
) -> Axes:
    """Draw the mean of y ± its standard error (s.e.m.) in ten equal groups of trials, by rising x.

    x: (T,), named with its unit in xlabel; y: (T,) responses in units of each neuron's std.
    """
    x = require_array("x", x, ("T",))
    y = require_array("y", y, x.shape)
    if len(x) < 20:
        raise ValueError(f"x and y have {len(x)} trials; give 20 or more, two for each group")
    ax = make_axis(ax, 5, 3)
    groups = np.array_split(np.argsort(x, kind="stable"), 10)
    sem = [y[group].std(ddof=1) / np.sqrt(len(group)) for group in groups]
    ax.errorbar(
        [x[group].mean() for group in groups],
        [y[group].mean() for group in groups],
        sem,
        fmt="o-",
        color=color,
        markersize=4,
        label=label,
    )
    ax.autoscale(axis="y")  # room for a second line on the same axis
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))  # from 0, so small differences look small
    if label:
        ax.legend(frameon=False)
    return clean_axis(ax, xlabel=xlabel, ylabel="mean response ± s.e.m. (std)")


def mean_responses(
    responses: np.ndarray,
    predictions: np.ndarray,
    image_ids: np.ndarray,
    ax: Axes | None = None,
    rates: np.ndarray | None = None,
) -> Axes:
    """Draw one neuron's mean response to each image, the prediction and, if known, the true rate.

    responses, predictions, rates: (T,); image_ids: (T,). Images are in order of the prediction.
    """
    responses = require_array("responses", responses, ("T",))
    predictions = require_array("predictions", predictions, responses.shape)
    image_ids = require_array("image_ids", image_ids, responses.shape)
    if rates is not None:
        rates = require_array("rates", rates, responses.shape)
    ax = make_axis(ax, 6, 3)
    _, image, count = np.unique(image_ids, return_inverse=True, return_counts=True)

    def average(values):
        return np.bincount(image, values) / count  # (images,)

    mean, predicted = average(responses), average(predictions)
    sem = np.sqrt(average((responses - mean[image]) ** 2) / np.maximum(count - 1, 1))
    order = np.argsort(predicted)
    x = np.arange(len(order))
    ax.errorbar(
        x,
        mean[order],
        sem[order],
        fmt="o",
        color=GREY,
        markersize=3,
        linewidth=1,
        label="measured: mean ± s.e.m.",
    )
    if rates is not None:
        ax.plot(x, average(rates)[order], ".", color=ORANGE, markersize=6, label="true rate")
    ax.plot(x, predicted[order], color=BLUE, linewidth=2, label="predicted")
    ax.legend(frameon=False, loc="upper left")
    return clean_axis(
        ax, xlabel=f"{len(order)} images, in order of the prediction", ylabel="response (std)"
    )
