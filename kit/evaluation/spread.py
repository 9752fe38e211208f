"""How far several models agree on one quantity of each neuron, with numpy alone.

A unit says how values are compared: "degrees" are orientations, on a circle of 180 degrees,
"octaves" are logs to base 2 of frequencies, all others are plain differences.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kit.evaluation import metrics

LEVEL = 0.9  # of the intervals
FEWEST = 3  # models of a spread, and neurons of a median


@dataclass(frozen=True, eq=False)
class Spread:
    """One quantity of n neurons as m models estimate it, and the truth if it is known."""

    unit: str  # of half_width and error; "" for an index
    values: np.ndarray  # (m, n) of every model; "octaves": frequencies
    mean: np.ndarray  # (n,) over models: "degrees": circular, "octaves": geometric
    half_width: np.ndarray  # (n,) of the 90 % interval
    counted: np.ndarray  # (n,) bool: neurons that median, correlation and percentage count
    correlation: float | None  # of two models over neurons, mean over pairs; None: too few neurons
    truth: np.ndarray | None = None  # (n,)
    error: np.ndarray | None = None  # (n,) distance of the mean from the truth

    @property
    def interval(self) -> np.ndarray:
        """Lower and upper end (2, n) in the unit of the values; degrees may leave 0 to 180."""
        ends = np.array([[-1], [1]]) * self.half_width
        return self.mean * 2.0**ends if self.unit == "octaves" else self.mean + ends

    @property
    def width(self) -> float | None:
        """The median width of the intervals; None if there are too few neurons."""
        if self.counted.sum() < FEWEST:
            return None
        return float(np.median(2 * self.half_width[self.counted]))

    @property
    def covers(self) -> np.ndarray | None:
        """Whether the interval of each neuron covers the truth, (n,) bool; None without one."""
        return None if self.error is None else self.error <= self.half_width

    @property
    def coverage(self) -> float | None:
        """Percent of neurons that `covers`; None without a truth or with too few neurons."""
        if self.covers is None or self.counted.sum() < FEWEST:
            return None
        return float(100 * self.covers[self.counted].mean())

    def __str__(self) -> str:
        if self.width is None:
            return "too few neurons"
        text = f"{f'{self.width:.2f} {self.unit}':14} r = {self.correlation:5.2f}"
        if self.coverage is not None:
            text += f"   {self.coverage:3.0f} % cover the true value"
        count = self.counted.sum()
        return text + (f" ({count} neurons)" if count < len(self.counted) else "")


def measure_spread(
    values: np.ndarray,
    unit: str = "",
    counted: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> Spread:
    """The spread of the values (m, n) of m models; counted: (n,) bool, all by default.

    The interval is the 90 % prediction interval, mean ± t(.95, m - 1) s sqrt(1 + 1 / m), with s the
    std over models (Whitmore, American Statistician 1986). truth: (n,), to be covered.
    """
    models = len(values)
    counted = np.full(values.shape[1], True) if counted is None else counted
    mean = _mean(values, unit)
    variance = (_difference(values, mean, unit) ** 2).sum(0) / (models - 1)
    half_width = student_t(models - 1, LEVEL) * np.sqrt(variance * (1 + 1 / models))
    if unit == "degrees":
        half_width = half_width.clip(max=90)  # the whole circle
    error = None if truth is None else np.abs(_difference(truth, mean, unit))
    correlation = None
    if counted.sum() >= FEWEST:
        pairs = combinations(values[:, counted], 2)
        correlation = float(np.mean([_correlation(a, b, unit) for a, b in pairs]))
    return Spread(unit, values, mean, half_width, counted, correlation, truth, error)


def _mean(values, unit):
    """The mean (n,) of values (m, n); of orientations half the angle of sum(exp(2i theta))."""
    if unit == "degrees":
        return np.degrees(np.angle(_on_circle(values).sum(0)) / 2) % 180
    return np.exp(np.log(values).mean(0)) if unit == "octaves" else values.mean(0)


def _difference(values, others, unit):
    """The difference of two values in this unit, of orientations from -90 to 90 degrees."""
    if unit == "degrees":
        return (values - others + 90) % 180 - 90
    return np.log2(values / others) if unit == "octaves" else values - others


def _correlation(a, b, unit):
    """Pearson's over neurons (n,); of orientations that of Fisher and Lee (Biometrika 1983)."""
    if unit == "degrees":
        a, b = _on_circle(a), _on_circle(b)
        above = abs((a * b.conj()).sum()) ** 2 - abs((a * b).sum()) ** 2
        spread = [max(0, len(each) ** 2 - abs((each**2).sum()) ** 2) for each in (a, b)]
        return above / (np.sqrt(np.prod(spread)) + metrics.EPSILON)
    if unit == "octaves":
        a, b = np.log(a), np.log(b)
    return metrics.correlation(a[:, None], b[:, None])[0]


def _on_circle(degrees):
    """Orientations as complex numbers of length 1, the same for 0 and 180 degrees."""
    return np.exp(2j * np.radians(degrees))


def student_t(freedom: int, level: float) -> float:
    """The t for which -t to t holds this share of Student's distribution.

    With t = sqrt(freedom) tan(angle), the density over angles is cos(angle)^(freedom - 1).
    """
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(freedom) * np.tan(np.interp(level * below[-1], below, angles)))
