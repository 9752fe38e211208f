"""The colours of all figures, and how their axes are made."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from kit.checks import brief

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"


def make_axis(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axis, or a new figure's; its width and height are in inches."""
    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise ValueError(f"ax={brief(ax)} is not an axis of matplotlib; give one, or leave it out")
    return plt.subplots(figsize=(width, height), dpi=80, layout="constrained")[1]


def clean_axis(ax: Axes, **settings: Any) -> Axes:
    """Remove the top and right edge of an axis. settings: labels, ticks, … as for `Axes.set`."""
    ax.set(**settings)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
