"""Figures of in-silico experiments: tuning curves, orientation over cortex, a report card."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kit.checks import require_array, require_radians, require_result
from kit.plots.style import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, clean_axis, make_axis

COLORS = (BLUE, ORANGE, GREEN, VERMILION, SKY)
LOGARITHMIC = ("spatial frequency", "size", "contrast")
NAMES = {
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
    first = _require_tunings(tunings)
    shown = require_array("neurons", neurons, ("n",))
    count = len(shown)
    ax = make_axis(ax, min(2.4 * count, 8.5), 2.4)
    ax.axis("off")
    for i, neuron in enumerate(shown):
        panel = ax.inset_axes((i / count, 0, 0.8 / count, 1))
        for (name, tuning), color in zip(tunings.items(), COLORS, strict=False):
            row = tuning.row(neuron)
            _curve(panel, tuning, tuning.curves[row], color, name)
            panel.axvline(_shown(tuning, tuning.preferred[row]), color=color, linestyle=":")
            if tuning.spread is not None:
                curve, spread = tuning.curves[row], tuning.spread[row]
                panel.fill_between(
                    _shown(tuning, tuning.values),
                    (curve - spread).clip(min=0),
                    curve + spread,
                    color=color,
                    alpha=0.15,
                    linewidth=0,
                )
        _dress(panel, first)
        clean_axis(
            panel,
            title=f"neuron {neuron}",
            ylim=(0, None),
            xlabel="" if i != count // 2 else panel.get_xlabel(),
        )
    ax.child_axes[-count].set_ylabel("response (std)")
    panel.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def mean_tuning(tunings: dict[str, Any], ax: Axes | None = None) -> Axes:
    """Draw the median curve over neurons, each divided by its peak; the band holds half of them.

    tunings: name -> `Tuning`, of the same quantity.
    """
    first, ax = _require_tunings(tunings), make_axis(ax, 4.5, 3)
    for (name, tuning), color in zip(tunings.items(), COLORS, strict=False):
        peaks = tuning.curves.max(1, keepdims=True)
        relative = tuning.curves / np.where(peaks > 0, peaks, 1)
        low, middle, high = np.percentile(relative, [25, 50, 75], axis=0)
        _curve(ax, tuning, middle, color, name)
        ax.fill_between(
            _shown(tuning, tuning.values), low, high, color=color, alpha=0.15, linewidth=0
        )
    _dress(ax, first)
    ax.legend(frameon=False)
    return clean_axis(ax, ylim=(0, 1.05), ylabel="response / peak")


def _require_tunings(tunings):
    """The first tuning. Raises ValueError unless there are one to five, of one quantity."""
    given = list(tunings.values()) if isinstance(tunings, dict) else []
    quantities = {getattr(each, "quantity", None) for each in given}
    if not 0 < len(given) <= len(COLORS) or len(quantities) != 1 or None in quantities:
        raise ValueError(
            "these cannot be drawn together; give a dict of one to five names and "
            'tunings of one quantity, such as {"twin": orientation_tuning(model)}'
        )
    return given[0]


def _shown(tuning, values):
    """Angles in degrees, all else as it is."""
    return np.degrees(values) if tuning.unit == "radians" else values


def _curve(ax, tuning, curve, color, name):
    ax.plot(_shown(tuning, tuning.values), curve, "o-", color=color, markersize=3, label=name)


def _dress(ax, tuning):
    """The x axis of a tuning curve: its label, unit and scale."""
    unit = "degrees" if tuning.unit == "radians" else tuning.unit
    label = "radius" if tuning.quantity == "size" else NAMES.get(tuning.quantity, tuning.quantity)
    ax.set_xlabel(f"{label} ({unit})")
    if tuning.quantity in LOGARITHMIC:
        ax.set_xscale("log")
        low, high = np.log10(tuning.values[[0, -1]])
        ticks = [
            value
            for value in np.outer(10.0 ** np.arange(-3, 3), [1, 2, 5]).ravel()
            if low - 0.02 <= np.log10(value) <= high + 0.02
        ]
        ax.set_xticks(ticks, [f"{value:g}".removeprefix("0") for value in ticks])
        ax.minorticks_off()
    elif tuning.unit == "radians":
        step = 45 if tuning.quantity == "orientation" else 90
        ax.set_xticks([0, step, 2 * step, 3 * step])


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
    size = 12 if len(coordinates) < 1000 else 3
    degrees = np.degrees(orientations) % 180
    dots = ax.scatter(
        *coordinates[:, :2].T,
        c=degrees,
        s=size,
        linewidth=0,
        cmap="twilight",
        vmin=0,
        vmax=180,
        antialiased=size > 3,
    )  # flat colours: small files
    ax.set_facecolor("#d9d9d9")  # the light colours of the map would vanish on white
    bar = ax.figure.colorbar(dots, ax=ax, label="preferred orientation (degrees)")
    bar.set_ticks([0, 45, 90, 135, 180], labels=["0 │", "45 ╱", "90 ─", "135 ╲", "180 │"])
    return clean_axis(
        ax, xlabel=f"cortical x ({unit})", ylabel=f"cortical y ({unit})", aspect="equal"
    )


def report_card(card: Any, ax: Axes | None = None) -> Axes:
    """Draw a twin's estimates against the true cells', one panel for each line of its report card.

    card: a `ReportCard`. A dot is a neuron; on the dashed line the twin is right.
    """
    require_result("card", card, "twin")
    ax = make_axis(ax, 8, 4.2)
    ax.axis("off")
    twin, truth = card.twin, card.truth
    turned = (np.degrees(twin["orientation"] - truth["orientation"]) + 90) % 180 - 90
    distance = np.hypot(*(twin["center"] - truth["center"]).T)
    panels = [
        ax.inset_axes((0.275 * column, 0.6 * (1 - row), 0.175, 0.4))
        for row in (0, 1)
        for column in range(4)
    ]
    orientation, selectivity, frequency, phase, size, center, image, response = panels
    _histogram(orientation, turned, (-90, 90), "preferred orientation", "twin - truth (degrees)")
    orientation.set_xticks([-90, 0, 90])
    _scatter(selectivity, truth["gosi"], twin["gosi"], "selectivity", "gOSI")
    _scatter(
        frequency,
        truth["spatial_frequency"],
        twin["spatial_frequency"],
        "spatial frequency",
        "cycles/pixel",
    )
    _scatter(phase, truth["f1_f0"], twin["f1_f0"], "simple (> 1) or complex", "F1/F0")
    for line in (phase.axvline, phase.axhline):
        line(1, color=GREY, linewidth=0.8)
    _scatter(size, truth["suppression"], twin["suppression"], "size", "suppression index")
    _histogram(
        center, distance, (0, max(4, np.percentile(distance, 99))), "field centre", "pixels apart"
    )
    _histogram(
        image, twin["filter_correlation"], (0, 1), "most exciting image", "r with true filter"
    )
    _histogram(
        response,
        twin["response_share"],
        (0, 1.4),
        "true response to it",
        "response / that to own filter",
    )
    return ax


def _scatter(ax, true, estimate, title, label):
    both = np.concatenate([true, estimate])
    low, high = min(0, both.min()), both.max() * 1.05
    ax.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1)
    ax.plot(true, estimate, "o", color=BLUE, markersize=2.5, markeredgewidth=0, antialiased=False)
    clean_axis(ax, xlabel=f"{label}, truth", ylabel="twin", xlim=(low, high), ylim=(low, high))
    ax.set_title(title, fontsize="medium")


def _histogram(ax, values, limits, title, label):
    """A histogram of values clipped to limits, its median marked by a line."""
    ax.hist(np.clip(values, *limits), 30, range=limits, color=SKY)
    ax.axvline(np.median(values), color=BLUE, linewidth=1.5)
    clean_axis(ax, xlabel=label, ylabel="neurons", xlim=limits)
    ax.set_title(title, fontsize="medium")
