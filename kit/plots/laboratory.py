"""Figures of in-silico experiments: tuning curves, orientation over cortex, a report card."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from kit.checks import require_array, require_radians, require_result
from kit.plots.pictures import filters
from kit.plots.style import BLUE, COLORS, GREY, SKY, clean_axis, make_axis, neuron_dots

LOGARITHMIC = ("spatial frequency", "size", "contrast")
NAMES = {
    "size": "radius",
    "pupil": "pupil size",
    "running": "running speed",
    "eye_x": "eye position, x",
    "eye_y": "eye position, y",
    "pupil_change": "change of the pupil",
}


def tuning_curves(tunings: dict[str, Any], neurons: Sequence[int], ax: Axes | None = None) -> Axes:
    """Draw the curves of some neurons side by side, each of several models in its own colour.

    tunings: name -> `Tuning`, one to five of the same quantity. A band is ± one std over phases or
    images, a dotted line the preferred value.
    """
    tunings = _require_tunings(tunings)
    indices = require_array("neurons", neurons, ("n",))
    count = len(indices)
    ax = make_axis(ax, min(2.4 * count, 8.5), 2.4)
    ax.axis("off")
    for i, neuron in enumerate(indices):
        panel = ax.inset_axes((i / count, 0, 0.8 / count, 1))
        for (name, tuning), color in zip(tunings.items(), COLORS, strict=False):
            row = tuning.row(neuron)
            curve = tuning.curves[row]
            band = None
            if tuning.spread is not None:
                spread = tuning.spread[row]
                band = (curve - spread).clip(min=0), curve + spread
            _curve(panel, tuning, curve, band, color, name)
            panel.axvline(tuning.preferred[row], color=color, linestyle=":")
        _label_values(panel, tuning)
        clean_axis(panel, title=f"neuron {neuron}", ylim=(0, None))
        if i == 0:
            panel.set_ylabel("response (std)")
        if i != count // 2:
            panel.set_xlabel("")
    panel.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def mean_tuning(tunings: dict[str, Any], ax: Axes | None = None) -> Axes:
    """Draw the median curve over neurons, each divided by its peak; the band holds half of them.

    tunings: name -> `Tuning`, of the same quantity.
    """
    tunings = _require_tunings(tunings)
    ax = make_axis(ax, 4.5, 3)
    for (name, tuning), color in zip(tunings.items(), COLORS, strict=False):
        peaks = tuning.curves.max(1, keepdims=True)
        relative = tuning.curves / np.where(peaks > 0, peaks, 1)
        low, median, high = np.percentile(relative, [25, 50, 75], axis=0)
        _curve(ax, tuning, median, (low, high), color, name)
    _label_values(ax, tuning)
    return clean_axis(ax, "best", ylim=(0, 1.05), ylabel="response / peak")


def _require_tunings(tunings):
    """The tunings, angles in degrees. Raises ValueError for none, over five, or unlike ones."""
    tunings = tunings if isinstance(tunings, dict) else {}
    quantities = {getattr(tuning, "quantity", None) for tuning in tunings.values()}
    if len(tunings) > len(COLORS) or len(quantities) != 1 or None in quantities:
        raise ValueError(
            "these cannot be drawn together; give a dict of one to five names and "
            'tunings of one quantity, such as {"twin": orientation_tuning(model)}'
        )
    return {name: _in_degrees(tuning) for name, tuning in tunings.items()}


def _in_degrees(tuning):
    if tuning.unit != "radians":
        return tuning
    values = np.degrees(tuning.values)
    preferred = np.degrees(tuning.preferred)
    return replace(tuning, unit="degrees", values=values, preferred=preferred)


def _curve(ax, tuning, curve, band, color, name):
    """Draw a curve (K,) and, unless it is None, a band from `band[0]` to `band[1]`."""
    ax.plot(tuning.values, curve, "o-", color=color, markersize=3, label=name)
    if band:
        ax.fill_between(tuning.values, *band, color=color, alpha=0.15, linewidth=0)


def _label_values(ax, tuning):
    """The x axis of a tuning curve: its label, unit and scale."""
    quantity = tuning.quantity
    ax.set_xlabel(f"{NAMES.get(quantity, quantity)} ({tuning.unit})")
    if quantity in LOGARITHMIC:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
    elif tuning.unit == "degrees":
        ax.set_xticks(np.arange(4) * (45 if quantity == "orientation" else 90))


def orientation_map(
    coordinates: np.ndarray, orientations: np.ndarray, ax: Axes | None = None, unit: str = "µm"
) -> Axes:
    """Draw neurons at their position in cortex, coloured by preferred orientation.

    coordinates: (N, 2 or 3) in this unit; orientations: (N,) radians of the direction across the
    stripes. The colours are cyclic: 0 and 180 degrees look the same.
    """
    coordinates = require_array("coordinates", coordinates, ("N", 2), ("N", 3))
    orientations = require_array("orientations", orientations, (len(coordinates),))
    require_radians("orientations", orientations)
    ax = make_axis(ax, 4.6, 3.4)
    dots = neuron_dots(
        ax,
        coordinates,
        unit,
        12,
        c=np.degrees(orientations) % 180,
        cmap="twilight",
        clim=(0, 180),
        antialiased=len(coordinates) < 1000,  # flat colours of many: small files
    )
    ax.set_facecolor("#9c9c9c")  # a grey between the light and the dark colours of the map
    bar = ax.figure.colorbar(dots, ax=ax, label="preferred orientation (degrees)")
    bar.set_ticks([0, 45, 90, 135, 180], labels=["0 │", "45 ╱", "90 ─", "135 ╲", "180 │"])
    return ax


def report_card(card: Any, ax: Axes | None = None) -> Axes:
    """Draw a twin's estimates against the true cells', one panel for each line of its report card.

    card: a `ReportCard`. A dot is a neuron; on the dashed line the twin is right.
    """
    require_result("card", card, "twin")
    ax = make_axis(ax, 8, 4.2)
    ax.axis("off")
    twin = card.twin
    truth = card.truth
    turned = (np.degrees(twin["orientation"] - truth["orientation"]) + 90) % 180 - 90
    distance = np.hypot(*(twin["center"] - truth["center"]).T)
    panel = _panel(ax, 0, "preferred orientation")
    _histogram(panel, turned, (-90, 90), "twin - truth (degrees)")
    panel.set_xticks([-90, 0, 90])
    _scatter(_panel(ax, 1, "selectivity"), card, "gosi", "gOSI")
    _scatter(_panel(ax, 2, "spatial frequency"), card, "spatial_frequency", "cycles/pixel")
    panel = _panel(ax, 3, "simple (> 1) or complex")
    _scatter(panel, card, "f1_f0", "F1/F0")
    panel.axvline(1, color=GREY, linewidth=0.8)
    panel.axhline(1, color=GREY, linewidth=0.8)
    _scatter(_panel(ax, 4, "size"), card, "suppression", "suppression index")
    limits = 0, max(4, np.percentile(distance, 99))
    _histogram(_panel(ax, 5, "field centre"), distance, limits, "pixels apart")
    panel = _panel(ax, 6, "most exciting image")
    _histogram(panel, twin["filter_correlation"], (0, 1), "r with true filter")
    panel = _panel(ax, 7, "true response to it")
    _histogram(panel, twin["response_share"], (0, 1.4), "share of that to own filter")
    return ax


def neuron_report(card: Any, neuron: int, ax: Axes | None = None) -> Axes:
    """Draw all that a report card says of one neuron: fields, best images, numbers; twin and truth.

    card: a `ReportCard` that holds the neuron. Raises ValueError if it does not.
    """
    require_result("card", card, "twin")
    rows = np.flatnonzero(card.neurons == neuron)
    if not len(rows):
        raise ValueError(f"this report card has no neuron {neuron}; give one of card.neurons")
    ax = make_axis(ax, 8, 2.8)
    ax.axis("off")
    both = {"twin": card.twin, "truth": card.truth}
    lines = [f"neuron {neuron}", "orientation (degrees)", "gOSI", "cycles per pixel"]
    columns = ["\n".join([*lines, "F1/F0", "suppression index", "centre (pixels)"])]
    for i, (who, measured) in enumerate(both.items()):
        of_neuron = {name: values[rows[0]] for name, values in measured.items()}
        pair = np.stack([of_neuron["field"], of_neuron["most_exciting_image"][0]])
        panel = ax.inset_axes((0, 0.5 * (1 - i), 0.5, 0.4))
        filters(pair, panel, 2, f"{who}: receptive field, most exciting image")
        names = ("gosi", "spatial_frequency", "f1_f0", "suppression")
        numbers = [f"{of_neuron[name]:.2f}" for name in names]
        numbers.insert(0, f"{np.degrees(of_neuron['orientation']):.0f}")
        columns.append("\n".join([who, *numbers, "{:+.1f}, {:+.1f}".format(*of_neuron["center"])]))
    for x, text in zip((0.55, 0.8, 0.92), columns, strict=True):
        ax.text(x, 0.5, text, va="center", linespacing=1.8, transform=ax.transAxes)
    return ax


def agreement(result: Any, ax: Axes | None = None) -> Axes:
    """Draw how wrong the mean of several twins is against how wide their interval is.

    result: an `Agreement` with a truth. A dot is a neuron; below the line its interval covers the
    truth. Values beyond the panel lie on its edge.
    """
    require_result("result", result, "properties")
    ax = make_axis(ax, 8, 4.2)
    ax.axis("off")
    for i, (name, spread) in enumerate(result.properties.items()):
        if spread.error is None:
            raise ValueError(
                "this agreement has no truth; make it with kit.lab.agreement(…, truth)"
            )
        panel = _panel(ax, i, name)
        pair = np.array([spread.half_width, spread.error])[:, spread.counted]  # (2, neurons)
        limit = 1.05 * np.percentile(pair, 95) if pair.size else 1
        pair = pair.clip(max=limit)
        panel.plot([0, limit], [0, limit], color=GREY, linestyle="--", linewidth=1)
        panel.plot(*pair, "o", color=BLUE, markersize=2.5, markeredgewidth=0, antialiased=False)
        unit = f" ({spread.unit})" if spread.unit else ""
        limits = -0.03 * limit, 1.03 * limit
        clean_axis(panel, xlabel=f"± of interval{unit}", ylabel="error", xlim=limits, ylim=limits)
    return ax


def _panel(ax, i, title):
    """The i-th of eight panels in two rows."""
    row, column = divmod(i, 4)
    panel = ax.inset_axes((0.275 * column, 0.6 * (1 - row), 0.175, 0.4))
    panel.set_title(title, fontsize="medium")
    return panel


def _scatter(ax, card, name, label):
    truth, twin = card.truth[name], card.twin[name]
    top = max(truth.max(), twin.max())
    limits = min(0, truth.min(), twin.min()) - 0.06 * top, 1.05 * top  # dots at 0 are whole
    ax.plot(limits, limits, color=GREY, linestyle="--", linewidth=1)
    ax.plot(truth, twin, "o", color=BLUE, markersize=2.5, markeredgewidth=0, antialiased=False)
    clean_axis(ax, xlabel=f"{label}, truth", ylabel="twin", xlim=limits, ylim=limits)


def _histogram(ax, values, limits, label):
    """A histogram of values clipped to limits, its median marked by a line."""
    ax.hist(np.clip(values, *limits), 30, range=limits, color=SKY)
    ax.axvline(np.median(values), color=BLUE, linewidth=1.5)
    clean_axis(ax, xlabel=label, ylabel="neurons", xlim=limits)
