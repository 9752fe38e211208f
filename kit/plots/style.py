"""The colours of all figures, and how their axes are made."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from kit.checks import brief

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"
COLORS = (BLUE, ORANGE, GREEN, VERMILION, SKY)  # of lines that are compared, in this order


def make_axis(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axis, or a new figure's; its width and height are in inches."""
    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise ValueError(f"ax={brief(ax)} is not an axis of matplotlib; give one, or leave it out")
    return plt.subplots(figsize=(width, height), dpi=110, layout="constrained")[1]


def clean_axis(ax: Axes, legend: Any = None, **settings: Any) -> Axes:
    """Remove the top and right edge of an axis, and add a legend at this place, if there is one.

    settings: labels, ticks, … as for `Axes.set`.
    """
    ax.set(**settings)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False, loc=legend)
    return ax


def neuron_dots(
    ax: Axes, coordinates: np.ndarray, unit: str, size: float, **settings: Any
) -> PathCollection:
    """Draw neurons (N, 2 or 3) in cortex, seen from above. settings: as for `Axes.scatter`.

    size: area of a dot, in square points; a quarter of it for 1000 neurons or more.
    """
    clean_axis(ax, xlabel=f"cortical x ({unit})", ylabel=f"cortical y ({unit})", aspect="equal")
    area = size if len(coordinates) < 1000 else size / 4
    return ax.scatter(*coordinates[:, :2].T, area, linewidth=0, **settings)
