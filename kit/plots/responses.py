"""Figures of responses."""

import numpy as np
from matplotlib.axes import Axes

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
    starts = np.flatnonzero(np.diff(image_ids)) + 0.5
    edges = np.array([-0.5, *starts, len(image_ids) - 0.5])
    middles = (edges[:-1] + edges[1:]) / 2
    step = -(-len(middles) // 20)  # more than 20 numbers would overlap
    numbers = np.arange(step, len(middles) + 1, step)
    ax.set_xticks(starts, [])
    ax.set_xticks(middles[numbers - 1], numbers, minor=True)
    ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel(
        f"{len(image_ids)} trials, by number of the image; a tick where the next image begins"
    )


def repeats(columns: list[np.ndarray], ax: Axes | None = None, xlabel: str = "image") -> Axes:
    """Draw single trials as dots, one column after another, and the mean of each column.

    columns: a list of (n,) responses in units of a neuron's std; n may differ.
    """
    columns = [require_array(f"columns[{i}]", column, ("n",)) for i, column in enumerate(columns)]
    ax = make_axis(ax, 6, 3)
    ax.plot(
        np.repeat(np.arange(len(columns)), [len(column) for column in columns]),
        np.concatenate(columns),
        "o",
        color=GREY,
        markersize=4,
        alpha=0.6,
        markeredgewidth=0,
        label="one trial",
    )
    means = [column.mean() for column in columns]
    ax.plot(means, "_", color=VERMILION, markersize=9, markeredgewidth=2, label="mean")
    ax.locator_params(axis="x", steps=[1, 2, 5, 10], integer=True)
    return clean_axis(ax, "best", xlabel=xlabel, ylabel="response (std)")


def traces(
    values: np.ndarray, names: list[str], ax: Axes | None = None, truth: np.ndarray | None = None
) -> Axes:
    """Draw traces above one another, each in units of its own std.

    values: (T, K); names: K strings; truth: (T, K), drawn behind as a wide orange line, or None.
    """
    values = require_array("values", values, ("T", "K"))
    count = values.shape[1]
    if np.shape(names) != (count,):
        raise ValueError(f"names={brief(names)} do not name {count} traces; give {count} names")
    ax = make_axis(ax, 6, 0.6 + 0.6 * count)
    base = -6.0 * np.arange(count)
    if truth is not None:
        truth = require_array("truth", truth, values.shape)
        wide = ax.plot(_standardised(truth) + base, color=ORANGE, linewidth=4, alpha=0.6)
        wide[0].set_label("true")
    thin = ax.plot(_standardised(values) + base, color=BLUE, linewidth=0.9)
    if truth is not None:
        thin[0].set_label("learned")
        ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    left = -0.02 * len(values)
    ax.plot([left, left], [0, 3], color=BLACK, linewidth=2)
    ax.annotate("3 std ", (left, 1.5), ha="right", va="center", fontsize="small", rotation=90)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return clean_axis(ax, yticks=base, yticklabels=names, xlabel="trial, in the order given")


def _standardised(values):
    """Each column (T, K) around 0 in units of its std; a column that never varies is 0."""
    std = values.std(0)
    return (values - values.mean(0)) / np.where(std > 0, std, 1)


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
    order = np.argsort(x, kind="stable")
    groups = np.array_split(y[order], 10)
    centers = [group.mean() for group in np.array_split(x[order], 10)]
    means = [group.mean() for group in groups]
    sem = [group.std(ddof=1) / np.sqrt(len(group)) for group in groups]
    ax.errorbar(centers, means, sem, fmt="o-", color=color, markersize=4, label=label)
    ax.autoscale(axis="y")  # room for a second line on the same axis
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))  # from 0, so small differences look small
    legend = "best" if label else None
    return clean_axis(ax, legend, xlabel=xlabel, ylabel="mean response ± s.e.m. (std)")


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
    ax = make_axis(ax, 6, 3)
    _, image, count = np.unique(image_ids, return_inverse=True, return_counts=True)

    def average(values):
        return np.bincount(image, values) / count  # (images,)

    order = np.argsort(average(predictions))
    mean = average(responses)
    sem = np.sqrt(average((responses - mean[image]) ** 2) / np.maximum(count - 1, 1))
    ax.errorbar(
        range(len(order)),
        mean[order],
        sem[order],
        fmt="o",
        color=GREY,
        markersize=3,
        linewidth=1,
        label="measured: mean ± s.e.m.",
    )
    if rates is not None:
        rates = average(require_array("rates", rates, responses.shape))
        ax.plot(rates[order], ".", color=ORANGE, markersize=6, label="true rate")
    ax.plot(average(predictions)[order], color=BLUE, linewidth=2, label="predicted")
    xlabel = f"{len(order)} images, in order of the prediction"
    return clean_axis(ax, "upper left", xlabel=xlabel, ylabel="response (std)")
