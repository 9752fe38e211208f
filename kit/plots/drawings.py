"""Drawings of a structure, with the real shapes: a model, the tiers of a recording."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from kit.checks import require_result
from kit.plots.style import BLACK, BLUE, clean_axis, make_axis

SHARED, PER_MOUSE, DATA = "#CFE8F7", "#FBE3B3", "#FFFFFF"  # pale sky, pale orange, white
PURPOSE = {
    "train": "to learn from",
    "validation": "to choose by",
    "test": "to score",
    "final_test": "to decide",
}


def model_drawing(model: Any, ax: Axes | None = None) -> Axes:
    """Draw core, readout, shifter and gain of a `Model` with the shapes on the way.

    Parts that the model does not have are left out; of several mice it shows the first.
    """
    require_result("model", model, "feature_shape", "a kit.Model")
    config, mouse = model.config, next(iter(model.readouts))
    (height, width), (channels, h, w) = model.image_size, model.feature_shape
    columns, readout = len(config.behavior_names), model.readouts[mouse]
    neurons, mice = f"{model.neuron_counts[mouse]:,} neurons", len(model.readouts)
    if mice > 1:
        neurons += f"\n(first of {mice} mice)"
    ax = make_axis(ax, 9, 3.3)
    image = f"image\n1 × {height} × {width}"
    if config.behavior_channels:
        image += f"\n+ behaviour\n{columns} × {height} × {width}"
    elif getattr(model.core, "takes_state", False):
        image += f"\n+ behaviour, eye\n{columns} + 2 values"
    _box(ax, 0.8, 1.8, image, DATA)
    _box(ax, 2.6, 1.8, f"core\n{type(model.core).__name__}", SHARED)
    _box(ax, 5, 1.8, f"readout\none position and\n{channels} weights\na neuron", PER_MOUSE)
    _box(ax, 8.4, 1.8, f"prediction\n{neurons}", DATA)
    _arrow(ax, (1.5, 1.8), (1.9, 1.8))
    _arrow(ax, (3.3, 1.8), (4.3, 1.8), f"features\n{channels} × {h} × {w}")
    _arrow(ax, (5.7, 1.8), (7.7, 1.8))
    ax.text(6.15, 1.86, "ELU + 1", ha="center", size=9)
    if readout.free_positions is None:
        sizes = _sizes(readout.position_mlp)
        _box(ax, 5, 3.1, f"place in cortex\n{sizes}", PER_MOUSE, 0.6)
        _arrow(ax, (5, 2.8), (5, 2.3), "x, y in the image")
    if config.shifter:
        sizes = _sizes(model.shifters[mouse].mlp)
        _box(ax, 2.6, 0.5, "eye position\nx, y", DATA, 0.6)
        _box(ax, 5, 0.5, f"shifter\n{sizes}", PER_MOUSE, 0.6)
        _arrow(ax, (3.3, 0.5), (4.3, 0.5))
        _arrow(ax, (5, 0.8), (5, 1.3), "one shift, x, y")
    if config.gain:
        _box(ax, 6.75, 0.5, f"gain\n{_sizes(model.gains[mouse].mlp)}", PER_MOUSE, 0.6)
        values = "1 value" if columns == 1 else f"{columns} values"
        _box(ax, 8.65, 0.5, f"behaviour\n{values}", DATA, 0.6)
        _arrow(ax, (7.95, 0.5), (7.45, 0.5))
        _arrow(ax, (6.75, 0.8), (6.75, 1.65), "one factor\na neuron")
        circle = {"facecolor": "w", "edgecolor": BLACK, "boxstyle": "circle,pad=0.1"}
        ax.text(6.75, 1.8, "×", ha="center", va="center", size=13, bbox=circle)
    ax.text(
        0.1, 3.1, "blue: shared by all mice and neurons\norange: each mouse has its own", size=9
    )
    ax.set(xlim=(0, 9.4), ylim=(0.1, 3.5))
    ax.axis("off")
    return ax


def _sizes(mlp):
    """The layers of a small network, such as 2 → 30 → 2."""
    weights = [value for value in mlp.parameters() if value.ndim == 2]  # (out, in)
    return " → ".join(str(size) for size in [weights[0].shape[1], *map(len, weights)])


def _box(ax, x, y, text, color, height=1.0):
    """A box with text, 1.4 wide, around a point."""
    place, size = (x - 0.7, y - height / 2), (1.4, height)
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch(place, *size, boxstyle=style, facecolor=color, edgecolor=BLACK))
    ax.text(x, y, text, ha="center", va="center", size=10, linespacing=1.3)


def _arrow(ax, start, end, text=""):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK})
    x, y = np.mean([start, end], axis=0)
    level = start[1] == end[1]
    ax.text(x + (0 if level else 0.06), y + (0.06 if level else 0), text, size=9,
            ha="center" if level else "left", va="bottom" if level else "center")  # fmt: skip


def tiers_drawing(data: Any, ax: Axes | None = None) -> Axes:
    """Draw the tiers of each recording of a `Dataset`: trials, images, repeats, what is withheld.

    A white line separates two images of a test tier; a hatched bar has no responses to look at.
    """
    require_result("data", data, "neurons", "a Dataset, of kit.load")
    rows = []
    for recording in data.values():
        rows += [(recording, tier) for tier in PURPOSE if tier in recording.tiers]
    ax = make_axis(ax, 8, 0.8 + 0.45 * len(rows))
    names = []
    for row, (recording, tier) in enumerate(rows):
        trials = recording.rows(tier)
        images = np.unique(recording.image_ids[trials], return_counts=True)[1]
        hidden = recording.withheld(tier)
        bar = ax.barh(row, len(trials), 0.6, color="w" if hidden else BLUE, edgecolor=BLUE)[0]
        bar.set_hatch("////" if hidden else "")
        if images.max() > 1:
            ax.vlines(np.cumsum(images)[:-1], row - 0.3, row + 0.3, color="w", linewidth=0.5)
        shown = f"{images.mean():.1f} times each" if images.max() > 1 else "once each"
        text = f"{len(trials):,} trials: {len(images):,} images, {shown}"
        text += "\nresponses withheld" if hidden else ""
        ax.text(len(trials) + 15, row, text, va="center", size=9)
        mouse = f"{recording.mouse} " if len(data) > 1 else ""
        names.append(f"{mouse}{tier}\n{PURPOSE[tier]}")
    longest = max(len(recording.rows(tier)) for recording, tier in rows)
    clean_axis(ax, xlabel="trials", xlim=(0, 1.7 * longest), yticks=range(len(rows)))
    ax.set_yticks(range(len(rows)), names)
    ax.invert_yaxis()
    return ax
