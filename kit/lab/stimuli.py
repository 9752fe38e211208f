"""Stimuli: gratings, Gabors, bars, discs and noise on a screen, drawn with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Numbers = float | Sequence[float] | np.ndarray  # one number for all stimuli, or one for each

NATURAL_CONTRAST = 0.8  # median RMS contrast of the benchmark's images, 52 of 64.6 pixel values


@dataclass(frozen=True)
class Screen:
    """What the model sees: draws stimuli of the model's image size and units.

    Stimuli are (n, 1, H, W) float32 arrays, z-scored like a recording's images: 0 is the grey that
    is the mean of all images. Contrast is RMS contrast in the same units: a standard deviation of 1
    is that of all images; natural images have about .8. Orientations are radians of the direction
    across the stripes: 0 has upright stripes, pi / 2 level ones. Positions are from the centre
    of the image, x to the right and y downwards. Lengths are in pixels and frequencies in cycles
    per pixel; if degrees_per_pixel is given, in degrees and cycles per degree. Every parameter is a
    number or an array (n,). A pixel belongs to a disc or a bar if its centre lies in it.

    Raises ValueError if a contrast needs pixels below 0 or above 255, or stripes are too fine.

    >>> screen = kit.lab.Screen(degrees_per_pixel=2)
    >>> screen.grating(orientation=[0, np.pi / 2], frequency=0.04).shape
    (2, 1, 36, 64)
    """

    size: tuple[int, int] = (36, 64)        # height and width in pixels
    pixel_statistics: tuple[float, float] = (113.5, 64.6)  # mean and std of all pixels, 0-255
    degrees_per_pixel: float | None = None  # about 2 in the recordings of 2022

    @property
    def limits(self) -> tuple[float, float]:
        """The z-scored values of black and white, pixels 0 and 255."""
        mean, std = self.pixel_statistics
        return -mean / std, (255 - mean) / std

    @property
    def max_contrast(self) -> float:
        """The highest RMS contrast of a grating that the screen can show, about 1.2."""
        black, white = self.limits
        return min(-black, white) / 2**0.5

    def blank(self, n: int = 1) -> np.ndarray:
        """Grey screens."""
        return np.zeros((n, 1, *self.size), np.float32)

    def grating(self, orientation: Numbers, frequency: Numbers, phase: Numbers = 0,
                contrast: Numbers = NATURAL_CONTRAST, center: Sequence = (0, 0),
                radius: Numbers = np.inf) -> np.ndarray:
        """Sine gratings, bright at the middle of the image at phase 0.

        Within a disc of this radius around center (x, y), grey outside; by default everywhere.
        """
        wave = self._wave(orientation, frequency, phase, 0, 0)
        return self._shown(wave * self._disc(*center, radius), contrast, 2**0.5)

    def gabor(self, orientation: Numbers, frequency: Numbers, phase: Numbers = 0,
              contrast: Numbers = NATURAL_CONTRAST, center: Sequence = (0, 0),
              sigma: Numbers = 4) -> np.ndarray:
        """Gratings in a Gaussian window of standard deviation sigma around center (x, y).

        phase is that at the window's centre, contrast that of the grating without a window.
        """
        dx, dy = self._offsets(*center)
        window = np.exp(-(dx**2 + dy**2) / (2 * self._column(sigma) ** 2))
        wave = self._wave(orientation, frequency, phase, *center)
        return self._shown(wave * window, contrast, 2**0.5)

    def bar(self, orientation: Numbers, width: Numbers, contrast: Numbers = NATURAL_CONTRAST,
            center: Sequence = (0, 0), length: Numbers = np.inf) -> np.ndarray:
        """Bars on grey; orientation is the direction across them. A negative contrast is dark."""
        dx, dy = self._offsets(*center)
        cos, sin = np.cos(self._column(orientation)), np.sin(self._column(orientation))
        across = _within(cos * dx + sin * dy, self._column(width))
        along = _within(cos * dy - sin * dx, self._column(length))
        return self._shown(across & along, contrast)

    def disc(self, radius: Numbers, contrast: Numbers = NATURAL_CONTRAST,
             center: Sequence = (0, 0)) -> np.ndarray:
        """Uniform discs on grey around center (x, y). A negative contrast is dark."""
        return self._shown(self._disc(*center, radius), contrast)

    def white_noise(self, n: int, seed: int, contrast: float = NATURAL_CONTRAST) -> np.ndarray:
        """Images of independent Gaussian pixels, clipped to black and white."""
        return self._noise(np.random.default_rng(seed).standard_normal((n, *self.size)), contrast)

    def natural_noise(self, n: int, seed: int, contrast: float = NATURAL_CONTRAST) -> np.ndarray:
        """Images of Gaussian noise with the 1/f amplitude spectrum of natural images, clipped."""
        height, width = self.size
        sheet = np.random.default_rng(seed).standard_normal((n, 2 * height, 2 * width))
        frequency = np.hypot(np.fft.fftfreq(2 * height)[:, None], np.fft.rfftfreq(2 * width))
        frequency[0, 0] = np.inf
        noise = np.fft.irfft2(np.fft.rfft2(sheet) / frequency)[:, :height, :width]
        return self._noise(noise, contrast)

    # ---- how stimuli are drawn ----

    def _column(self, values):
        """A number or (n,) numbers as (n, 1, 1), to combine with (n, H, W)."""
        return np.atleast_1d(np.asarray(values, float))[:, None, None]

    def _offsets(self, x, y):
        """Distances (n, 1, W) and (n, H, 1) of all pixels from x and y, in the screen's unit."""
        height, width = self.size
        unit = self.degrees_per_pixel or 1
        columns = (np.arange(width) - (width - 1) / 2) * unit
        rows = (np.arange(height) - (height - 1) / 2) * unit
        return columns - self._column(x), rows[:, None] - self._column(y)

    def _wave(self, orientation, frequency, phase, x, y):
        dx, dy = self._offsets(x, y)
        orientation, frequency = self._column(orientation), self._column(frequency)
        finest = 0.5 / (self.degrees_per_pixel or 1)
        if np.abs(frequency).max() > finest:
            raise ValueError(f"frequency={np.abs(frequency).max():.3g} is too fine for the pixels; "
                             f"give at most {finest:.3g} cycles per "
                             f"{'degree' if self.degrees_per_pixel else 'pixel'}")
        across = np.cos(orientation) * dx + np.sin(orientation) * dy  # (n, H, W)
        return np.cos(2 * np.pi * frequency * across + self._column(phase))

    def _disc(self, x, y, radius):
        return np.hypot(*self._offsets(x, y)) <= self._column(radius)

    def _shown(self, pattern, contrast, amplitude=1.0):
        """Patterns (n, H, W) from -1 to 1 at a contrast: (n, 1, H, W)."""
        shown = amplitude * self._column(contrast) * pattern
        black, white = self.limits
        if shown.min() < black or shown.max() > white:
            raise ValueError(f"contrast={np.abs(contrast).max():.3g} needs pixels below 0 or above "
                             f"255; a grating can have up to {self.max_contrast:.3g}, a bar or a "
                             f"disc from {black:.3g} to {white:.3g}")
        return shown.astype(np.float32)[:, None]

    def _noise(self, noise, contrast):
        return set_contrast(noise[:, None], contrast).clip(*self.limits).astype(np.float32)


def _within(distance, width):
    """Whether pixels lie within a band, its left edge included; 1e-9 keeps rounding out of it."""
    return (distance + 1e-9 >= -width / 2) & (distance + 1e-9 < width / 2)


def set_contrast(images: np.ndarray, contrast: float, mean: float = 0) -> np.ndarray:
    """Images (n, 1, H, W) of this RMS contrast and mean, in their units. A blank stays blank."""
    images = images - images.mean((1, 2, 3), keepdims=True)
    std = images.std((1, 2, 3), keepdims=True)
    return images * (contrast / np.where(std > 0, std, 1)) + mean
