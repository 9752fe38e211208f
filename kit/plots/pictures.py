"""Images, filters, and where neurons look."""


import numpy as np

from kit.plots.style import BLUE, GREY, ORANGE, _axis, _clean


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


def images_with_responses(pixels, responses, ax=None):
    """Images in a row, and below each the response of every neuron as one line.

    pixels: (B, 1, H, W) or (B, H, W); responses: (B, N) in units of each neuron's std.
    """
    pixels, responses = np.asarray(pixels), np.asarray(responses)
    if len(pixels) != len(responses):
        raise ValueError(f"{len(pixels)} images and {len(responses)} rows of responses; give one "
                         "row for each image")
    count, (height, width) = len(pixels), pixels.shape[-2:]
    strip = 6 * height / width / count  # inches
    ax = _axis(ax, 6, strip + 1.7)
    ax.axis("off")
    top = images(pixels, ax.inset_axes([0, 1.3 / (strip + 1.3), 1, strip / (strip + 1.3)]), count)
    top.set_title(f"{count} images, and what {responses.shape[1]} neurons say to each")
    for i, row in enumerate(responses):
        bars = ax.inset_axes([(i + 0.02) / count, 0, 0.94 / count, 1.15 / (strip + 1.3)])
        bars.vlines(np.arange(len(row)), 0, row, color=BLUE, linewidth=1)
        bars.set(ylim=(0, 1.05 * max(responses.max(), 1)), xlabel="neuron")
        bars.tick_params(labelleft=i == 0, labelsize="small")
        bars.set_ylabel("response (std)" if i == 0 else None)
        _clean(bars)
    return ax


def cortical_map(coordinates, values, ax=None, label=""):
    """Neurons at their place in cortex, seen from above, coloured by a value.

    coordinates: (N, 2 or 3) in µm; values: (N,); label: what they are, with the unit. The colours
    span the middle 90 % of the values.
    """
    coordinates, values = np.asarray(coordinates), np.asarray(values)
    if len(coordinates) != len(values):
        raise ValueError(f"{len(coordinates)} places and {len(values)} values; give one for each")
    ax = _axis(ax, 4.4, 3.2)
    low, high = np.percentile(values, [5, 95])
    dots = ax.scatter(*coordinates[:, :2].T, c=values, s=10, linewidth=0, vmin=low, vmax=high)
    ax.figure.colorbar(dots, ax=ax, label=label, extend="both")
    ax.set(xlabel="cortical x (µm)", ylabel="cortical y (µm)", aspect="equal")
    return _clean(ax)
