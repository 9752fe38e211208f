"""Responses of neurons."""


import matplotlib.pyplot as plt
import numpy as np

from kit.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILION, _axis, _clean


def raster(responses, image_ids=None, ax=None):
    """Every response as one spot: neurons down, trials to the right, in the order given.

    responses: (T, N) in units of each neuron's std, black from 3 on; a few hundred of each fit.
    image_ids: (T,); if given, images are numbered from 1 in the order given, with a tick where the
    next one begins.
    """
    responses = np.asarray(responses)
    ax = _axis(ax, 7, 3.6)
    spots = ax.imshow(responses.T, aspect="auto", cmap="Greys", vmin=0, vmax=3,
                      interpolation="nearest")
    ax.figure.colorbar(spots, ax=ax, label="response (std)", extend="max", pad=0.01)
    ax.set(xlabel=f"{len(responses)} trials", ylabel="neurons")
    if image_ids is not None:
        edges = np.concatenate([[-0.5], np.flatnonzero(np.diff(image_ids)) + 0.5,
                                [len(responses) - 0.5]])
        count = len(edges) - 1
        every = -(-count // 20)  # more than 20 numbers would run into one another
        ax.set_xticks(edges[1:-1], [""] * (count - 1))
        ax.set_xticks(((edges[:-1] + edges[1:]) / 2)[every - 1::every],
                      range(every, count + 1, every), minor=True)
        ax.tick_params(axis="x", which="minor", length=0)
        ax.set_xlabel(f"{len(responses)} trials, by number of the image; a tick where the next "
                      "image begins")
    return ax


def repeats(columns, ax=None, xlabel="image"):
    """Single trials as dots, one column after another, and the mean of each column.

    columns: a list of (n,) responses in units of a neuron's std; n may differ.
    """
    ax = _axis(ax, 6, 3)
    x = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    ax.plot(x, np.concatenate(columns), "o", color=GREY, markersize=4, alpha=0.6,
            markeredgewidth=0, label="one trial")
    ax.plot([np.mean(column) for column in columns], "_", color=VERMILION, markersize=9,
            markeredgewidth=2, label="mean")
    ax.set(xlabel=xlabel, ylabel="response (std)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return _clean(ax)


def traces(values, names, ax=None, truth=None):
    """Traces above one another, each in units of its own std. values: (T, K); names: K strings.

    truth: (T, K), drawn behind in orange, or None.
    """
    if truth is not None:
        ax = traces(truth, names, ax)
        plt.setp(ax.lines, color=ORANGE, linewidth=2)
    values = np.asarray(values)
    if len(names) != values.shape[1]:
        raise ValueError(f"{values.shape[1]} traces and {len(names)} names; give one name for each")
    ax = _axis(ax, 6, 0.6 + 0.6 * len(names))
    std = values.std(0)
    values = (values - values.mean(0)) / np.where(std > 0, std, 1)
    base = -6.0 * np.arange(len(names))
    ax.plot(values + base, color=BLUE, linewidth=0.9)
    ax.plot([-0.02 * len(values)] * 2, [base[0], base[0] + 3], color=BLACK, linewidth=2)
    ax.annotate("3 std ", (-0.02 * len(values), base[0] + 1.5), ha="right", va="center",
                fontsize="small", rotation=90)
    ax.set_yticks(base, names)
    ax.set(xlabel="trial, in the order given")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return _clean(ax)


def binned_mean(x, y, ax=None, label=None, color=BLUE, xlabel=""):
    """Mean of y ± its standard error (s.e.m.) in ten groups of as many trials, by rising x.

    x: (T,), named with its unit in xlabel; y: (T,) responses in units of each neuron's std.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or len(x) < 20:
        raise ValueError(f"x {x.shape} and y {y.shape} must have one value for each trial, and "
                         "at least 20 trials, two for each tenth")
    ax = _axis(ax, 5, 3)
    parts = np.array_split(np.argsort(x, kind="stable"), 10)
    error = [y[part].std(ddof=1) / np.sqrt(len(part)) for part in parts]
    ax.errorbar([x[part].mean() for part in parts], [y[part].mean() for part in parts], error,
                fmt="o-", color=color, markersize=4, label=label)
    ax.set(xlabel=xlabel, ylabel="mean response ± s.e.m. (std)")
    ax.autoscale(axis="y")  # room for a second line on the same axis
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))  # from 0, lest small differences look large
    if label:
        ax.legend(frameon=False)
    return _clean(ax)


def mean_responses(responses, predictions, image_ids, ax=None, rates=None):
    """One neuron and repeated images: mean response, prediction and, if known, the true rate.

    responses, predictions, rates: (T,); image_ids: (T,). Images are in order of their prediction.
    """
    ax = _axis(ax, 6, 3)
    ids, group = np.unique(image_ids, return_inverse=True)
    count = np.bincount(group)

    def average(values):
        return np.bincount(group, np.asarray(values, float)) / count

    mean = average(responses)
    spread = np.sqrt(average((responses - mean[group]) ** 2) / np.maximum(count - 1, 1))
    order = np.argsort(average(predictions))
    x = np.arange(len(ids))
    ax.errorbar(x, mean[order], spread[order], fmt="o", color=GREY, markersize=3, linewidth=1,
                label="measured: mean ± s.e.m.")
    if rates is not None:
        ax.plot(x, average(rates)[order], ".", color=ORANGE, markersize=6, label="true rate")
    ax.plot(x, average(predictions)[order], color=BLUE, linewidth=2, label="predicted")
    ax.set(xlabel=f"{len(ids)} images, in order of the prediction", ylabel="response (std)")
    ax.legend(frameon=False, loc="upper left")
    return _clean(ax)
