"""Figures of scores and of training."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, ScalarFormatter

from kit.checks import require, require_array, require_dict, require_result
from kit.plots.style import BLACK, BLUE, COLORS, GREY, ORANGE, SKY, clean_axis, make_axis

LOWEST_BAR = -0.5


def training_curve(
    log: Any, ax: Axes | None = None, label: str = "validation", color: str = BLUE
) -> Axes:
    """Draw validation correlation against seconds of training. log: a `History`."""
    require_result("log", log, "best_epoch")
    ax = make_axis(ax, 5, 3)
    seconds = np.cumsum(log.seconds)
    best = log.best_epoch
    ax.plot(seconds, log.correlation, "o-", color=color, markersize=3, label=label)
    if best is not None:
        (mark,) = ax.plot(seconds[best], log.correlation[best], "o", color=color, markersize=8)
        mark.set(fillstyle="none", label=None if ax.get_legend() else "weights kept")
    ax.autoscale()  # room for a second log on the same axis
    return clean_axis(
        ax,
        "lower right",
        xlim=(0, None),
        xlabel="seconds of training",
        ylabel="single-trial correlation",
    )


def reference_line(value: float, text: str, ax: Axes) -> Axes:
    """Draw a dashed line across a figure, such as a ceiling to compare scores with."""
    value = require("value", value, float)
    ax = make_axis(ax, 5, 3)
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1)
    position = ax.get_yaxis_transform()  # x in shares of the axis, y in its data
    ax.text(0.01, value, text, transform=position, color="#666666", va="bottom", fontsize="small")
    ax.set_ylim(top=max(ax.get_ylim()[1], value * 1.12))
    return ax


def score_histogram(
    correlation: np.ndarray,
    ax: Axes | None = None,
    label: str | None = None,
    color: str = BLUE,
    score: str = "single-trial correlation",
) -> Axes:
    """Draw the distribution of a score over neurons. correlation: (N,); score: name of the axis."""
    correlation = require_array("correlation", correlation, ("N",))
    ax = make_axis(ax, 5, 3)
    mean = np.mean(correlation)
    lowest = min(-0.2, np.floor(np.min(correlation) * 10) / 10)  # every neuron is in a bin
    name = f"{label}: mean" if label else "mean"
    ax.hist(
        correlation,
        round((1 - lowest) / 0.03),
        range=(lowest, 1),
        color=color,
        histtype="step",
        linewidth=1.5,
        label=f"{name} {mean:.3f} (line)",
    )
    ax.axvline(mean, color=color, linewidth=1)
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))  # above, not on the bars
    return clean_axis(ax, xlabel=score, ylabel="neurons")


def score_bars(scores: dict[str, Any], ax: Axes | None = None) -> Axes:
    """Draw the three scores of several models. scores: name -> `Scores`, from top to bottom.

    A score that is None has no bar. Below -0.5 a bar is cut off and its number has a note.
    """
    for each in require_dict("scores", scores).values():
        require_result("scores", each, "single_trial")
    ax = make_axis(ax, 6, 0.9 + 0.6 * len(scores))
    _bars(ax, scores, "single_trial", -0.27, BLUE, "single-trial correlation")
    _bars(ax, scores, "to_average", 0, SKY, "correlation to average")
    _bars(ax, scores, "feve", 0.27, ORANGE, "FEVE")
    ax.axvline(0, color=BLACK, linewidth=0.8)
    widths = [bar.get_width() for group in ax.containers for bar in group]  # NaN without a score
    ax.set_xlim(LOWEST_BAR if np.nanmin(widths) < 0 else 0, max(1, 1.1 * np.nanmax(widths)))
    ax.legend(
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
        fontsize="small",
        columnspacing=1,
    )
    return _label_rows(ax, scores, "score")


def _label_rows(ax, names, xlabel):
    """Name the rows of a figure, from top to bottom."""
    ax.set_ylim(len(names) - 0.5, -0.5)
    return clean_axis(ax, yticks=range(len(names)), yticklabels=names, xlabel=xlabel)


def _bars(ax, scores, attribute, offset, color, label):
    values = [getattr(model, attribute) for model in scores.values()]
    values = np.array(values, float)  # None becomes NaN
    rows = np.arange(len(values)) + offset
    ax.barh(rows, values.clip(min=LOWEST_BAR), 0.25, color=color, label=label)
    for row, value in zip(rows, values, strict=True):
        if np.isfinite(value):
            text = f"{value:z.3f}" if value >= LOWEST_BAR else f"{value:,.0f}, beyond the edge"
            _write(ax, text, max(value, 0), row, 3)


def _write(ax, text, x, row, gap, va="center"):
    """Write to the right of a mark. gap: between them, in points."""
    ax.annotate(text, (x, row), (gap, 0), textcoords="offset points", va=va, fontsize="small")


def score_spread(
    scores: dict[str, list], ax: Axes | None = None, label: str = "single-trial correlation"
) -> Axes:
    """Draw scores of several runs of each kind, and their mean ± its standard error (s.e.m.).

    scores: name -> (runs,) numbers, from top to bottom.
    """
    ax = make_axis(ax, 6, 0.9 + 0.36 * len(require_dict("scores", scores)))
    ax.margins(x=0.12)
    for row, runs in enumerate(scores.values()):
        runs = require_array("scores", runs, ("runs",))
        mean = np.mean(runs)
        count = len(runs)
        error = np.std(runs, ddof=1) / np.sqrt(count) if count > 1 else 0
        ax.plot(runs, [row] * count, "o", color=SKY, markersize=5)
        ax.errorbar(mean, row, xerr=error, fmt="|", color=BLUE, markersize=16, markeredgewidth=2)
        _write(ax, f"{mean:.3f}", np.max(runs), row, 7)
    return _label_rows(ax, scores, label)


def score_intervals(
    intervals: dict[str, tuple[float, float, float]],
    ax: Axes | None = None,
    label: str = "single-trial correlation, 95 % interval",
) -> Axes:
    """Draw scores, or differences of scores, each with its interval.

    intervals: name -> (value, low, high), from top to bottom. 0 has a line if it is in the figure.
    """
    bounds = list(require_dict("intervals", intervals).values())
    values, low, high = require_array("intervals", bounds, ("n", 3)).T
    rows = range(len(bounds))
    ax = make_axis(ax, 6, 0.9 + 0.36 * len(bounds))
    ax.hlines(rows, low, high, color=SKY, linewidth=3)
    ax.plot(values, rows, "o", color=BLUE, markersize=6)
    ax.margins(x=0.05)
    ax.locator_params(axis="x", nbins=6)
    if ax.get_xlim()[0] <= 0 <= ax.get_xlim()[1]:
        ax.axvline(0, color=BLACK, linewidth=0.8)
    return _label_rows(ax, intervals, label)


def pulls(pull: np.ndarray, ax: Axes | None = None, label: str = "pull on the score") -> Axes:
    """Draw how much each image pulls a score, or a difference of scores, up or down. pull: (I,)."""
    pull = np.sort(require_array("pull", pull, ("I",)))
    ax = make_axis(ax, 6, 2.6)
    ax.bar(range(len(pull)), pull, color=np.where(pull > 0, BLUE, ORANGE))
    ax.axhline(0, color=BLACK, linewidth=0.8)
    return clean_axis(ax, xlabel=f"{len(pull)} images, by their pull", ylabel=label)


def learning_curve(
    counts: np.ndarray | list[int],
    scores: dict[str, list],
    ax: Axes | None = None,
    label: str = "single-trial correlation",
) -> Axes:
    """Draw scores against the number of training images. counts: (K,); scores: name -> (K,)."""
    counts = require_array("counts", counts, ("K",))
    ax = make_axis(ax, 5, 3)
    ax.set_prop_cycle(color=COLORS)
    for name, values in require_dict("scores", scores).items():
        ax.plot(counts, require_array("scores", values, counts.shape), "o-", label=name)
    ax.set_xscale("log")
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    return clean_axis(ax, "best", xlabel="training images", ylabel=label)


def data_needed(curve: Any, ax: Axes | None = None) -> Axes:
    """Draw a curve of `kit.lab.data_needed` with its intervals; expected points are hollow."""
    require_result("curve", curve, "measured")
    ax = make_axis(ax, 5, 3)
    errors = np.abs(curve.intervals - curve.values)  # (2, K)
    kinds = ((curve.measured, BLUE, "measured"), (~curve.measured, "white", "expected"))
    for chosen, color, label in kinds:
        if chosen.any():
            points = (curve.counts[chosen], curve.values[chosen], errors[:, chosen])
            ax.errorbar(*points, fmt="o", color=BLUE, markerfacecolor=color, label=label)
    ax.plot(curve.counts, curve.values, color=SKY, zorder=0)
    ax.set_xscale("log")
    ax.set_xticks(curve.counts, curve.counts)
    ax.minorticks_off()
    measure, counted = curve.measure.split(", over ")
    return clean_axis(ax, "best", xlabel=counted, ylabel=measure)


def ladder(
    steps: dict[str, tuple[float, float, float, float]],
    ax: Axes | None = None,
    label: str = "",
    color: str = BLUE,
) -> Axes:
    """Draw what models reach against what they cost. steps: name -> (seconds, score, low, high).

    low and high are the ends of the interval. Steps with a label, for the legend, have no names.
    """
    bounds = list(require_dict("steps", steps).values())
    seconds, score, low, high = require_array("steps", bounds, ("n", 4)).T
    ax = make_axis(ax, 6.4, 3.6)
    errors = np.abs(score - [low, high])  # (2, n)
    ax.errorbar(seconds, score, errors, fmt="o", color=color, elinewidth=1, label=label or None)
    names = [] if label else list(steps)
    for place, i in enumerate(np.argsort(seconds)[: len(names)]):  # neighbours: one up, one down
        _write(ax, names[i], seconds[i], score[i], 7, "top" if place % 2 else "bottom")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.minorticks_off()
    ax.margins(x=0.25, y=0.1)
    return clean_axis(
        ax,
        "lower right" if label else None,
        xlabel="CPU seconds of training",
        ylabel="single-trial correlation",
    )
