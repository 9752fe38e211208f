"""Figures of images, filters and positions of neurons."""

import numpy as np
from matplotlib.axes import Axes

from kit.checks import require_array, require_int
from kit.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILION, clean_axis, make_axis, neuron_dots

PICTURES = ("H", "W"), ("B", "H", "W"), ("B", "C", "H", "W")


def images(pixels: np.ndarray, ax: Axes | None = None, columns: int = 4) -> Axes:
    """Draw images side by side, each in its own grey range.

    pixels: (B, 1, H, W) or (B, H, W).
    """
    pixels = _require_pictures("pixels", pixels).astype(float)
    bright = pixels - pixels.min((1, 2), keepdims=True)
    return _mosaic(bright, ax, columns, _title(pixels, "images"), "gray", (0, 1))


def filters(
    weights: np.ndarray, ax: Axes | None = None, columns: int = 8, title: str | None = None
) -> Axes:
    """Draw filters side by side, each scaled to its largest weight. weights: (F, h, w)."""
    weights = require_array("weights", weights, ("F", "h", "w"))
    title = title or f"{_title(weights, 'filters')}; red positive, blue negative"
    return _mosaic(weights, ax, columns, title, "RdBu_r", (-1, 1))


def stimuli(
    images: np.ndarray, ax: Axes | None = None, columns: int = 6, title: str | None = None
) -> Axes:
    """Draw z-scored stimuli side by side, 0 as middle grey, each scaled to its largest contrast.

    images: (B, 1, H, W) or (B, H, W), such as gratings, most exciting images or filters.
    """
    images = _require_pictures("images", images)
    return _mosaic(images, ax, columns, title or _title(images, "stimuli"), "gray", (-1, 1))


def _require_pictures(name, pixels):
    pixels = require_array(name, pixels, *PICTURES)
    return pixels.reshape(-1, *pixels.shape[-2:])  # (B, H, W)


def _title(tiles, kind):
    count, height, width = tiles.shape
    return f"{count} {kind} of {height} × {width} pixels"


def _mosaic(tiles, ax, columns, title, cmap, limits):
    """Draw (B, h, w) tiles in rows, each scaled to its largest value, white lines between them."""
    columns = require_int("columns", columns, 1, 1000)
    largest = np.abs(tiles).max((1, 2), keepdims=True)
    tiles = tiles / np.where(largest > 0, largest, 1)
    count, height, width = tiles.shape
    padding = (0, -count % columns), (0, 1), (0, 1)  # empty places in the last row, the lines
    tiles = np.pad(tiles, padding, constant_values=np.nan)
    rows = tiles.reshape(-1, columns, height + 1, width + 1).swapaxes(1, 2)
    sheet = rows.reshape(-1, columns * (width + 1))[:-1, :-1]  # (pixels, pixels)
    ax = make_axis(ax, 6, 0.4 + 6 * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet, cmap=cmap, clim=limits, interpolation="nearest")
    ax.axis("off")
    ax.set_title(title)
    return ax


def positions(learned: np.ndarray, true: np.ndarray | None, ax: Axes | None = None) -> Axes:
    """Draw learned receptive-field centres, joined by lines to the true ones if these are known.

    learned, true: (N, 2), x and y in half images from the centre. The median offset that all
    neurons share is taken out, and named above the figure: a core can move its features, and all
    positions with them. It draws at most 75 neurons, taken evenly from all; the correlations are
    over all neurons.
    """
    learned = require_array("learned", learned, ("N", 2))
    ax = make_axis(ax, 5.4, 3.6)
    title = "receptive-field centres"
    step = -(-len(learned) // 75)  # rounded up
    if true is not None:
        true = require_array("true", true, learned.shape)
        r = np.corrcoef(learned, true, rowvar=False)  # (4, 4): learned x and y, true x and y
        offset = np.median(learned - true, axis=0)
        learned = learned - offset
        title += f": r = {r[0, 2]:.2f} (x), {r[1, 3]:.2f} (y)"
        title += f"\nwithout the offset that all share, {offset[0]:+.2f} and {offset[1]:+.2f}"
    x, y = learned[::step].T
    if true is not None:
        true_x, true_y = true[::step].T
        ax.plot([x, true_x], [y, true_y], color=GREY, linewidth=0.7)
        ax.plot(true_x, true_y, "o", color=ORANGE, markersize=5, fillstyle="none", label="true")
    ax.plot(x, y, "o", color=BLUE, markersize=3, label="learned")
    ax.invert_yaxis()  # as in the image, y grows downwards
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return clean_axis(
        ax, xlabel="x (half images from the centre)", ylabel="y (half images)", title=title
    )


def readout_drawing(
    features: np.ndarray,
    position: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    ax: Axes | None = None,
) -> Axes:
    """Draw what one neuron reads: its position on every feature map, and what each map adds.

    features: (C, h, w) of one image; position: (2,) x and y from -1 to 1, the centres of the first
    and the last pixel; values: (C,) the features there; weights: (C,) of the neuron.
    """
    features = require_array("features", features, ("C", "h", "w"))
    position = require_array("position", position, (2,))
    count, height, width = features.shape
    parts = require_array("values", values, (count,)) * require_array("weights", weights, (count,))
    columns = 4 if count <= 16 else 8
    ax = make_axis(ax, 7.5, 2.6)
    ax.axis("off")
    maps = filters(
        features, ax.inset_axes((0, 0, 0.62, 1)), columns, "feature maps, and the position"
    )
    x, y = (position + 1) / 2 * [width - 1, height - 1]
    rows, places = np.divmod(np.arange(count), columns)
    maps.plot(places * (width + 1) + x, rows * (height + 1) + y, "o", color=BLACK, fillstyle="none")
    bars = ax.inset_axes((0.68, 0.08, 0.3, 0.8))
    bars.bar(range(count), parts, color=np.where(parts > 0, VERMILION, BLUE))
    bars.axhline(0, color=BLACK, linewidth=0.8)
    title = f"feature × weight, sum {parts.sum():.2f}"
    clean_axis(bars, xlabel="feature map", title=title)
    return ax


def images_with_responses(
    pixels: np.ndarray, responses: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Draw images in a row, and below each the response of every neuron as one line.

    pixels: (B, 1, H, W) or (B, H, W); responses: (B, N) in units of each neuron's std.
    """
    pixels = require_array("pixels", pixels, *PICTURES[1:])
    responses = require_array("responses", responses, (len(pixels), "N"))
    count, height, width = len(pixels), *pixels.shape[-2:]
    image_height = 6 * height / width / count  # inches
    total = image_height + 1.3
    ax = make_axis(ax, 6, total + 0.4)
    ax.axis("off")
    top = images(pixels, ax.inset_axes((0, 1.3 / total, 1, image_height / total)), count)
    top.set_title(f"{count} images, and the responses of {responses.shape[1]} neurons to each")
    highest = max(responses.max(), 1)
    for i, row in enumerate(responses):
        bars = ax.inset_axes(((i + 0.02) / count, 0, 0.94 / count, 1.15 / total))
        bars.vlines(np.arange(len(row)), 0, row, color=BLUE, linewidth=1)
        bars.tick_params(labelleft=i == 0, labelsize="small")
        clean_axis(bars, ylim=(0, 1.05 * highest), xlabel="neuron")
        if i == 0:
            bars.set_ylabel("response (std)")
    return ax


def cortical_map(
    coordinates: np.ndarray, values: np.ndarray, ax: Axes | None = None, label: str = ""
) -> Axes:
    """Draw neurons at their position in cortex, seen from above, coloured by a value.

    coordinates: (N, 2 or 3) in µm; values: (N,); label: what the values are, with the unit. The
    colours span the middle 90 % of the values.
    """
    coordinates = require_array("coordinates", coordinates, ("N", 2), ("N", 3))
    values = require_array("values", values, (len(coordinates),))
    ax = make_axis(ax, 4.4, 3.2)
    low, high = np.percentile(values, [5, 95])
    dots = neuron_dots(ax, coordinates, "µm", 10, c=values, clim=(low, high))
    ax.figure.colorbar(dots, ax=ax, label=label, extend="both")
    return ax
