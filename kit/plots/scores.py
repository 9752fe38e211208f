"""Scores of models, and how they came about."""


import numpy as np

from kit.plots.style import BLACK, BLUE, GREY, ORANGE, SKY, _axis, _clean


def training_curve(log, ax=None, label="validation", color=BLUE):
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


def reference_line(value, text, ax):
    """A dashed line across a figure: a ceiling to hold scores against."""
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(text, (0.01, value), xycoords=("axes fraction", "data"), color="#666666",
                va="bottom", fontsize="small")
    ax.set_ylim(None, max(ax.get_ylim()[1], value * 1.12))
    return ax


def score_histogram(correlation, ax=None, label=None, color=BLUE, score="single-trial correlation"):
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


def score_bars(scores, ax=None):
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


def score_spread(scores, ax=None, label="single-trial correlation"):
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


def learning_curve(counts, scores, ax=None, label="single-trial correlation"):
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
