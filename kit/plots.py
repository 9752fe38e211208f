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


def neurons(correlation, ax=None, label=None, color=BLUE):
    """How a score is spread over neurons. correlation: (N,)."""
    ax = _axis(ax, 5, 3)
    mean = float(np.mean(correlation))
    label = f"{label}: mean {mean:.3f} (line)" if label else f"mean {mean:.3f} (line)"
    ax.hist(correlation, bins=np.linspace(-0.2, 1, 41), color=color, histtype="step",
            linewidth=1.5, label=label)
    ax.axvline(mean, color=color, linewidth=1)
    ax.set(xlabel="single-trial correlation", ylabel="neurons")
    ax.legend(frameon=False)
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
                text = f"{value:.2f}" if value >= lowest else f"{value:,.0f}, beyond the edge"
                ax.annotate(text, (max(value, 0), place), (3, 0), textcoords="offset points",
                            va="center", fontsize="small")
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set(xlim=(lowest, 1), xlabel="score", yticks=range(len(scores)), yticklabels=list(scores))
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize="small",
              columnspacing=1)
    return _clean(ax)


def _axis(ax, width, height):
    """The axis given, or that of a new figure of so many inches."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(width, height), dpi=80, layout="constrained")[1]


def _clean(ax):
    ax.spines[["top", "right"]].set_visible(False)
    return ax
