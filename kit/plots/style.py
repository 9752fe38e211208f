"""The colours of all figures, and how an axis is made."""


import matplotlib.pyplot as plt

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"


def _axis(ax, width, height):
    """The axis given, or that of a new figure of so many inches."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(width, height), dpi=80, layout="constrained")[1]


def _clean(ax):
    ax.spines[["top", "right"]].set_visible(False)
    return ax
