"""Stimuli: gratings, Gabors, bars, discs and noise on a screen, drawn with numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.fft import fftfreq, irfft2, rfft2, rfftfreq

from kit.checks import (
    brief,
    check_settings,
    require,
    require_array,
    require_finite,
    require_int,
    require_radians,
)

Numbers = float | Sequence[float] | np.ndarray  # one number for all stimuli, or one for each

NATURAL_CONTRAST = 0.8  # median RMS contrast of the benchmark's images, 52 of 64.6 pixel values
MAX_IMAGES = 100_000  # at a time


@dataclass(frozen=True)
class Screen:
    """The screen that a model sees: it draws stimuli of the model's image size and units.

    Stimuli are (n, 1, H, W) float32 arrays, z-scored: 0 is the mean grey. Every parameter is a
    number or an array (n,), a center (x, y) or an array (n, 2). Contrast is RMS contrast, the std
    of the image. Orientations are radians of the direction across the stripes: 0 has upright ones.
    Positions are from the centre of the image, x to the right and y downwards. Lengths are in
    pixels, frequencies in cycles per pixel; if degrees_per_pixel is given, in degrees. A pixel
    belongs to a disc or a bar if its centre does. Raises ValueError for what cannot be drawn.

    >>> screen = kit.lab.Screen(degrees_per_pixel=2)
    >>> screen.grating(orientation=[0, np.pi / 2], frequency=0.04).shape
    (2, 1, 36, 64)
    """

    size: tuple[int, int] = (36, 64)  # height and width in pixels
    pixel_statistics: tuple[float, float] = (113.5, 64.6)  # mean and std of all pixels, 0-255
    degrees_per_pixel: float | None = None  # about 2 in the recordings of 2022

    def __post_init__(self) -> None:
        limits = {"pixel_statistics": (1, 254), "degrees_per_pixel": (1e-3, 100)}
        check_settings(self, size=(1, 1024), **limits)

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
        return np.zeros((require_int("n", n, 1, MAX_IMAGES), 1, *self.size), np.float32)

    def grating(
        self,
        orientation: Numbers,
        frequency: Numbers,
        phase: Numbers = 0,
        contrast: Numbers = NATURAL_CONTRAST,
        center: Numbers = (0, 0),
        radius: Numbers = np.inf,
    ) -> np.ndarray:
        """Sine gratings in a disc, grey outside; at phase 0 bright at the middle of the image."""
        wave = self._wave(orientation, frequency, phase, (0, 0))
        return self._gratings(wave * self._disc(center, radius), contrast)

    def gabor(
        self,
        orientation: Numbers,
        frequency: Numbers,
        phase: Numbers = 0,
        contrast: Numbers = NATURAL_CONTRAST,
        center: Numbers = (0, 0),
        sigma: Numbers = 4,
    ) -> np.ndarray:
        """Gratings in a Gaussian window of std sigma: phase at its centre, contrast without it."""
        x, y = self._offsets(center)
        window = np.exp(-(x**2 + y**2) / (2 * _column("sigma", sigma, 1e-6) ** 2))
        return self._gratings(self._wave(orientation, frequency, phase, center) * window, contrast)

    def bar(
        self,
        orientation: Numbers,
        width: Numbers,
        contrast: Numbers = NATURAL_CONTRAST,
        center: Numbers = (0, 0),
        length: Numbers = np.inf,
    ) -> np.ndarray:
        """Bars on grey; orientation is the direction across them. A negative contrast is dark."""
        x, y = self._offsets(center)
        angle = _angles(orientation)
        wide = _within(across(angle, x, y), _column("width", width, 0))
        long = _within(across(angle, y, -x), _column("length", length, 0))
        return self._shapes(wide & long, contrast)

    def disc(
        self, radius: Numbers, contrast: Numbers = NATURAL_CONTRAST, center: Numbers = (0, 0)
    ) -> np.ndarray:
        """Uniform discs on grey around center. A negative contrast is dark."""
        return self._shapes(self._disc(center, radius), contrast)

    def white_noise(self, n: int, seed: Any, contrast: float = NATURAL_CONTRAST) -> np.ndarray:
        """Images of independent Gaussian pixels, clipped to black and white."""
        return self._noise(_gaussian(n, seed, *self.size), contrast)

    def natural_noise(self, n: int, seed: int, contrast: float = NATURAL_CONTRAST) -> np.ndarray:
        """Images of Gaussian noise with the 1/f amplitude spectrum of natural images, clipped."""
        height, width = self.size
        sheet = _gaussian(n, seed, 2 * height, 2 * width)
        frequency = np.hypot(fftfreq(2 * height)[:, None], rfftfreq(2 * width))
        frequency[0, 0] = np.inf
        noise = irfft2(rfft2(sheet) / frequency)
        return self._noise(noise[:, :height, :width], contrast)

    def _offsets(self, center):
        """Distances x (n, 1, W) and y (n, H, 1) of all pixels from center, in the screen's unit."""
        centers = require_finite("center", require_array("center", center, (2,), ("n", 2)))
        x, y = centers.reshape(-1, 2).T[..., None, None]  # each (n, 1, 1)
        pixel = self.degrees_per_pixel or 1
        rows, columns = (from_middle(pixels) * pixel for pixels in self.size)
        return columns - x, rows[:, None] - y

    def _wave(self, orientation, frequency, phase, center):
        """Gratings (n, H, W) from -1 to 1, of this phase at center."""
        x, y = self._offsets(center)
        finest = 0.5 / (self.degrees_per_pixel or 1)
        frequency = _column("frequency", frequency, -finest, finest)
        waves = 2 * np.pi * frequency * across(_angles(orientation), x, y)
        return np.cos(waves + _column("phase", phase, -1e6, 1e6))

    def _disc(self, center, radius):
        return np.hypot(*self._offsets(center)) <= _column("radius", radius, 0)

    def _gratings(self, waves, contrast):
        """Waves (n, H, W) from -1 to 1 at an RMS contrast: (n, 1, H, W)."""
        contrast = _column("contrast", contrast, -self.max_contrast, self.max_contrast)
        return (2**0.5 * contrast * waves).astype(np.float32)[:, None]

    def _shapes(self, inside, contrast):
        """Shapes (n, H, W) from black to white on grey: (n, 1, H, W)."""
        contrast = _column("contrast", contrast, *self.limits)
        return (contrast * inside).astype(np.float32)[:, None]

    def _noise(self, noise, contrast):
        return set_contrast(noise[:, None], contrast).clip(*self.limits).astype(np.float32)


def from_middle(length: int) -> np.ndarray:
    """Positions of a row of pixels, in pixels from its middle: (length,)."""
    return np.arange(length) - (length - 1) / 2


def _gaussian(n, seed, height, width):
    """Independent Gaussian pixels (n, height, width)."""
    n = require_int("n", n, 1, MAX_IMAGES)
    return np.random.default_rng(seed).standard_normal((n, height, width))


def across(angle: Any, x: Any, y: Any) -> Any:
    """The distance of points (x, y) across stripes of an orientation, from those through 0, 0."""
    return np.cos(angle) * x + np.sin(angle) * y


def _column(name, values, lowest=-np.inf, highest=np.inf):
    """A number or (n,) numbers as (n, 1, 1), to combine with (n, H, W)."""
    column = require_array(name, values, (), ("n",)).astype(float).reshape(-1, 1, 1)
    if not ((column >= lowest) & (column <= highest)).all():  # NaN is neither
        raise ValueError(
            f"{name}={brief(values)} cannot be drawn on this screen; give one number, or one for "
            f"each stimulus, from {lowest:.3g} to {highest:.3g}"
        )
    return column


def _angles(orientation):
    angles = _column("orientation", orientation)
    require_radians("orientation", angles)
    return angles


def _within(distance, width):
    """Whether pixels lie within a band, its left edge included; 1e-9 keeps rounding out of it."""
    distance = distance + 1e-9
    return (distance >= -width / 2) & (distance < width / 2)


@dataclass(frozen=True)
class Gratings:
    """The gratings of tuning curves, in pixels. Raises ValueError for impossible values."""

    orientations: int = 12  # evenly spaced over half a turn
    frequencies: tuple[float, ...] = tuple(np.geomspace(0.025, 0.2, 8))  # cycles per pixel
    phases: int = 8  # over a whole cycle; 4 would mix the harmonics 1 and 3
    contrast: float = NATURAL_CONTRAST  # RMS, in std of the recording's pixels
    radii: tuple[float, ...] = tuple(np.geomspace(1.5, 40, 15))  # of discs, up to the whole image
    contrasts: tuple[float, ...] = tuple(np.geomspace(0.02, 1.2, 10))  # RMS; the screen's end: 1.2

    def __post_init__(self) -> None:
        lists = dict.fromkeys(("frequencies", "radii", "contrasts"), (1e-6, 1e6))
        check_settings(self, orientations=(2, 360), phases=(3, 360), contrast=(1e-6, 10), **lists)
        for name in lists:
            values = getattr(self, name)
            if len(values) < 3 or min(np.diff(values)) <= 0:
                raise ValueError(
                    f"{name}={brief(values)} is not possible; give three or more positive numbers "
                    "in rising order"
                )

    @property
    def angles(self) -> np.ndarray:
        """The orientations in radians."""
        return np.arange(self.orientations) * np.pi / self.orientations

    @property
    def phase_angles(self) -> np.ndarray:
        """The phases in radians."""
        return np.arange(self.phases) * 2 * np.pi / self.phases

    @property
    def combinations(self) -> np.ndarray:
        """Angle, frequency and phase of all gratings: (3, orientations, frequencies, phases)."""
        values = self.angles, self.frequencies, self.phase_angles
        return np.stack(np.meshgrid(*values, indexing="ij"))


def set_contrast(images: np.ndarray, contrast: float, mean: float = 0) -> np.ndarray:
    """Images (n, …) of this RMS contrast and mean, in their units. A blank stays blank."""
    images = require_array("images", images, ("n", "H", "W"), ("n", 1, "H", "W"))
    contrast = require("contrast", contrast, float, (0, 1e6))
    mean = require("mean", mean, float, (-1e6, 1e6))
    images = images - images.mean((-2, -1), keepdims=True)
    std = images.std((-2, -1), keepdims=True)
    return images * (contrast / np.where(std > 0, std, 1)) + mean
