"""One function a figure: takes data and an axis (or makes one), returns the axis."""

import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"


def images(pixels, ax=None, columns=4):
    """Images side by side, each in its own grey range. pixels: (B, 1, H, W) or (B, H, W)."""
    pixels = np.asarray(pixels).reshape(len(pixels), *np.shape(pixels)[-2:])
    low, high = pixels.min((1, 2), keepdims=True), pixels.max((1, 2), keepdims=True)
    pixels = (pixels - low) / np.where(high > low, high - low, 1)
    ax = _mosaic(pixels, ax, columns, "gray", (0, 1))
    ax.set_title(f"{len(pixels)} images of {pixels.shape[1]} × {pixels.shape[2]} pixels")
    return ax


def filters(weights, ax=None, columns=8, title=None):
    """Filters side by side, each scaled to its largest weight. weights: (F, h, w)."""
    weights = np.asarray(weights)
    weights = weights / np.abs(weights).max((1, 2), keepdims=True)
    ax = _mosaic(weights, ax, columns, "RdBu_r", (-1, 1))
    ax.set_title(title or f"{len(weights)} filters of {weights.shape[1]} × {weights.shape[2]} "
                 "pixels; red positive, blue negative")
    return ax


def _mosaic(tiles, ax, columns, colours, limits):
    """(B, h, w) tiles in rows of `columns`, with a white line between them."""
    rows = -(-len(tiles) // columns)
    count, height, width = tiles.shape
    sheet = np.full((rows * columns, height + 1, width + 1), np.nan)
    sheet[:count, :-1, :-1] = tiles
    sheet = sheet.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]
    ax = _axis(ax, 6, 0.4 + 6 * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.axis("off")
    return ax


def training(log, ax=None, label="validation", color=BLUE):
    """Validation correlation against seconds of training. log: a `History`."""
    ax = _axis(ax, 5, 3)
    seconds = np.cumsum(log.seconds)
    ax.plot(seconds, log.correlation, "o-", color=color, markersize=3, label=label)
    if log.best_epoch is not None:
        ax.plot(seconds[log.best_epoch], log.correlation[log.best_epoch], "o", color=color,
                markersize=8, fillstyle="none", linestyle="none",
                label=None if ax.get_legend() else "weights kept")
    ax.set(xlabel="seconds of training", ylabel="single-trial correlation")
    ax.autoscale()  # room for a second log on the same axis
    ax.set_xlim(left=0)
    ax.legend(frameon=False, loc="lower right")
    return _clean(ax)


def level(value, text, ax):
    """A dashed line across a figure: a ceiling to hold scores against."""
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(text, (0.01, value), xycoords=("axes fraction", "data"), color="#666666",
                va="bottom", fontsize="small")
    ax.set_ylim(None, max(ax.get_ylim()[1], value * 1.12))
    return ax


def neurons(correlation, ax=None, label=None, color=BLUE, score="single-trial correlation"):
    """How a score is spread over neurons. correlation: (N,); score: its name, for the axis."""
    ax = _axis(ax, 5, 3)
    mean = float(np.mean(correlation))
    label = f"{label}: mean {mean:.3f} (line)" if label else f"mean {mean:.3f} (line)"
    lowest = min(-0.2, np.floor(np.min(correlation) * 10) / 10)  # every neuron is in a bin
    bins = np.linspace(lowest, 1, round((1 - lowest) / 0.03) + 1)
    ax.hist(correlation, bins=bins, color=color, histtype="step", linewidth=1.5, label=label)
    ax.axvline(mean, color=color, linewidth=1)
    ax.set(xlabel=score, ylabel="neurons")
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))  # above, not on the bars
    return _clean(ax)


def neuron(responses, predictions, image_ids, ax=None, rates=None):
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


def positions(learned, true, ax=None):
    """Where neurons look, learned and true. Both (N, 2), x and y in half images from the centre.

    About 150 neurons are drawn, spread over all; the correlations are those of all.
    """
    ax = _axis(ax, 5, 3.4)
    learned, true = np.asarray(learned), np.asarray(true)
    r = [np.corrcoef(learned[:, i], true[:, i])[0, 1] for i in (0, 1)]
    step = max(1, len(true) // 150)
    learned, true = learned[::step], true[::step]
    ax.plot(*np.stack([learned, true]).transpose(2, 0, 1), color=GREY, linewidth=0.7)
    ax.plot(*true.T, "o", color=ORANGE, markersize=5, fillstyle="none", label="true")
    ax.plot(*learned.T, "o", color=BLUE, markersize=3, label="learned")
    ax.set(xlabel="x (half images from the centre)", ylabel="y (half images)",
           title=f"receptive-field centres: r = {r[0]:.2f} (x), {r[1]:.2f} (y)")
    ax.invert_yaxis()  # as in the image, y grows downwards
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _clean(ax)


def barcodes(pixels, responses, ax=None):
    """Images in a row, and below each the response of every neuron as one line.

    pixels: (B, 1, H, W) or (B, H, W); responses: (B, N) in units of each neuron's std.
    """
    pixels, responses = np.asarray(pixels), np.asarray(responses)
    if len(pixels) != len(responses):
        raise ValueError(f"{len(pixels)} images and {len(responses)} rows of responses; give one "
                         "row for each image")
    count, (height, width) = len(pixels), pixels.shape[-2:]
    strip = 6 * height / width / count  # inches
    ax = _axis(ax, 6, strip + 1.7)
    ax.axis("off")
    top = images(pixels, ax.inset_axes([0, 1.3 / (strip + 1.3), 1, strip / (strip + 1.3)]), count)
    top.set_title(f"{count} images, and what {responses.shape[1]} neurons say to each")
    for i, row in enumerate(responses):
        bars = ax.inset_axes([(i + 0.02) / count, 0, 0.94 / count, 1.15 / (strip + 1.3)])
        bars.vlines(np.arange(len(row)), 0, row, color=BLUE, linewidth=1)
        bars.set(ylim=(0, 1.05 * max(responses.max(), 1)), xlabel="neuron")
        bars.tick_params(labelleft=i == 0, labelsize="small")
        bars.set_ylabel("response (std)" if i == 0 else None)
        _clean(bars)
    return ax


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


def tenths(x, y, ax=None, label=None, color=BLUE, xlabel=""):
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


def cortex(coordinates, values, ax=None, label=""):
    """Neurons at their place in cortex, seen from above, coloured by a value.

    coordinates: (N, 2 or 3) in µm; values: (N,); label: what they are, with the unit. The colours
    span the middle 90 % of the values.
    """
    coordinates, values = np.asarray(coordinates), np.asarray(values)
    if len(coordinates) != len(values):
        raise ValueError(f"{len(coordinates)} places and {len(values)} values; give one for each")
    ax = _axis(ax, 4.4, 3.2)
    low, high = np.percentile(values, [5, 95])
    dots = ax.scatter(*coordinates[:, :2].T, c=values, s=10, linewidth=0, vmin=low, vmax=high)
    ax.figure.colorbar(dots, ax=ax, label=label, extend="both")
    ax.set(xlabel="cortical x (µm)", ylabel="cortical y (µm)", aspect="equal")
    return _clean(ax)


def entries(scores, ax=None):
    """The three scores of several entries. scores: name -> `Scores`, drawn from top to bottom.

    A score that is None has no bar. A bar ends at -0.5 where the score is lower; its number tells.
    """
    ax = _axis(ax, 6, 0.9 + 0.6 * len(scores))
    lowest = -0.5
    for i, (name, label, color) in enumerate((
            ("single_trial", "single-trial correlation", BLUE),
            ("to_average", "correlation to average", SKY), ("feve", "FEVE", ORANGE))):
        values = np.array([getattr(entry, name) for entry in scores.values()], float)  # None: NaN
        places = np.arange(len(scores)) + 0.27 * (i - 1)
        ax.barh(places, values.clip(min=lowest), 0.25, color=color, label=label)
        for place, value in zip(places, values, strict=True):
            if np.isfinite(value):
                text = f"{value:z.2f}" if value >= lowest else f"{value:,.0f}, beyond the edge"
                ax.annotate(text, (max(value, 0), place), (3, 0), textcoords="offset points",
                            va="center", fontsize="small")
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set(xlim=(lowest, 1), xlabel="score", yticks=range(len(scores)), yticklabels=list(scores))
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize="small",
              columnspacing=1)
    return _clean(ax)


def spread(scores, ax=None, label="single-trial correlation"):
    """Scores of several runs of each kind, and their mean ± its standard error (s.e.m.).

    scores: name -> (runs,) numbers, drawn from top to bottom.
    """
    ax = _axis(ax, 6, 0.9 + 0.36 * len(scores))
    for place, runs in enumerate(scores.values()):
        runs = np.asarray(runs)
        ax.plot(runs, np.full(len(runs), place), "o", color=SKY, markersize=5)
        error = runs.std(ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else 0
        ax.errorbar(runs.mean(), place, xerr=error, fmt="|", color=BLUE, markersize=16,
                    markeredgewidth=2)
        ax.annotate(f"{runs.mean():.3f}"[1:], (runs.max(), place), (7, 0), va="center",
                    textcoords="offset points", fontsize="small")
    ax.set(yticks=range(len(scores)), yticklabels=list(scores), xlabel=label)
    ax.margins(x=0.12, y=0.08)
    ax.invert_yaxis()
    return _clean(ax)


def growth(counts, scores, ax=None, label="single-trial correlation"):
    """Scores against the number of training images. counts: (K,); scores: name -> (K,)."""
    ax = _axis(ax, 5, 3)
    for (name, values), color in zip(scores.items(), (BLUE, ORANGE, SKY), strict=False):
        ax.plot(counts, values, "o-", color=color, label=name)
    ax.set_xscale("log")
    ax.set_xticks(counts, map(str, counts))
    ax.minorticks_off()
    ax.set(xlabel="training images", ylabel=label)
    ax.legend(frameon=False)
    return _clean(ax)


def _axis(ax, width, height):
    """The axis given, or that of a new figure of so many inches."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(width, height), dpi=80, layout="constrained")[1]


def _clean(ax):
    ax.spines[["top", "right"]].set_visible(False)
    return ax
