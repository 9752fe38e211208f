"""Cells with a tuning that can be worked out by hand: a Gabor, an energy cell, a divisive surround.

Each is a module of two neurons; the second never responds.
"""

import numpy as np
import torch
from torch import nn

SIZE = (36, 64)
ORIENTATION, FREQUENCY, PHASE, SIGMA = np.radians(30), 0.1, 0.7, 5.0
CENTER = (6.5, -3.5)  # pixels: between two of them in both directions
SEMI_SATURATION, SURROUND = 0.05, 10.0


def offsets():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] - (np.array(SIZE)[:, None, None] - 1) / 2
    return x - CENTER[0], y - CENTER[1]


def window(sigma):
    x, y = offsets()
    return np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def gabor(phase=PHASE):
    x, y = offsets()
    across = np.cos(ORIENTATION) * x + np.sin(ORIENTATION) * y
    return window(SIGMA) * np.cos(2 * np.pi * FREQUENCY * across + phase)


def correlation(image, expected):
    return np.corrcoef(image.ravel(), expected.ravel())[0, 1]


class Cell(nn.Module):
    """Filters the images; subclasses say how the responses follow."""

    image_size = SIZE

    def __init__(self):
        super().__init__()
        filters = np.stack([gabor(), gabor(PHASE - np.pi / 2), window(SURROUND)])
        self.register_buffer("filters", torch.from_numpy(filters).flatten(1))  # (3, pixels)

    def resolve_mouse(self, mouse=None):
        return mouse or "hand"

    def forward(self, batch, mouse=None):
        images = batch.images.double().flatten(1)
        even, odd = images @ self.filters[0], images @ self.filters[1]
        rate = self.rate(even, odd, images.square() @ self.filters[2])
        return torch.stack([rate, torch.zeros_like(rate)], 1).to(batch.images.dtype)


class Simple(Cell):
    """Half-squared."""

    def rate(self, even, odd, energy):
        return 100 * even.clamp(min=0) ** 2


class Energy(Cell):
    """The sum of both squares: a complex cell."""

    def rate(self, even, odd, energy):
        return 100 * (even**2 + odd**2)


class Surround(Cell):
    """An energy cell divided by the contrast in a wider window."""

    def rate(self, even, odd, energy):
        return (even**2 + odd**2) / (SEMI_SATURATION + energy)


class Arousal(Cell):
    """Responds to a pupil larger than 3 and to running, not to images."""

    def forward(self, batch, mouse=None):
        pupil, _, running = batch.behavior.T
        rate = (pupil - 3).clamp(min=0) * (1 + running)
        return torch.stack([rate, 5 + batch.pupil_center[:, 0]], 1)
