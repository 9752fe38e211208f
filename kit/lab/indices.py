"""Indices of tuning curves, as the field defines them, in numpy alone.

Curves are (N, K), of N neurons and K stimuli, and rates, not negative. Orientations are (K,)
radians, evenly spaced over half a turn. The formulas are brain-score's for models of V1 (Marques,
Schrimpf and DiCarlo, bioRxiv 2021.03.01.433495).
"""

import itertools

import numpy as np

from kit.checks import require_radians

SELECTIVE = 0.2  # gOSI from which a preferred orientation means something


def preferred_orientation(curves: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Half the angle of sum(R exp(2i theta)), in [0, pi): (N,) radians."""
    return _wrapped(np.angle(_orientation_vector(curves, orientations)) / 2, np.pi)


def gosi(curves: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Global orientation selectivity |sum(R exp(2i theta))| / sum(R): (N,), from 0 to 1.

    One minus the circular variance of Ringach, Shapley and Hawken (J Neurosci 2002).
    """
    return ratio(np.abs(_orientation_vector(curves, orientations)), curves.sum(1))


def _orientation_vector(curves, orientations):
    require_radians("orientations", orientations)
    return curves @ np.exp(2j * np.asarray(orientations))


def osi(curves: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Orientation selectivity (peak - orthogonal) / (peak + orthogonal response): (N,)."""
    require_radians("orientations", orientations)
    orthogonal = orientations[curves.argmax(1)] + np.pi / 2
    pairs = zip(orthogonal, curves, strict=True)
    at_orthogonal = [np.interp(angle, orientations, curve, period=np.pi) for angle, curve in pairs]
    peak = curves.max(1)
    return ratio(peak - at_orthogonal, peak + at_orthogonal)


def f1_f0(responses: np.ndarray) -> np.ndarray:
    """Modulation 2 |sum(R exp(-i phase))| / sum(R) by K phases, evenly over a whole cycle: (N,).

    Above 1 a cell is simple, below it complex (Skottun et al., Vision Research 1991).
    """
    return ratio(2 * np.abs(_first_harmonic(responses)), responses.sum(1))


def preferred_phase(responses: np.ndarray) -> np.ndarray:
    """The phase at which the first harmonic peaks, in [0, 2 pi): (N,) radians."""
    return _wrapped(-np.angle(_first_harmonic(responses)), 2 * np.pi)


def _wrapped(angles, period):
    """Angles in [0, period); % alone turns -1e-17 into the period itself."""
    angles = angles % period
    return np.where(angles < period, angles, 0)


def _first_harmonic(responses):
    phases = np.arange(responses.shape[1]) * 2 * np.pi / responses.shape[1]
    return responses @ np.exp(-1j * phases)


def suppression_index(curves: np.ndarray) -> np.ndarray:
    """Surround suppression (peak - response to the largest size) / peak: (N,), from 0 to 1."""
    peak = curves.max(1)
    return ratio(peak - curves[:, -1], peak)


def preferred_size(curves: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The smallest size (N,) with a response of at least 95 % of the peak."""
    enough = curves >= 0.95 * curves.max(1, keepdims=True)
    return np.asarray(sizes)[enough.argmax(1)]


def modulation(curves: np.ndarray) -> np.ndarray:
    """(highest - lowest) / (highest + lowest) response: (N,), from 0 to 1."""
    return ratio(np.ptp(curves, axis=1), curves.max(1) + curves.min(1))


def interpolated_peak(curves: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The top (N,) of a parabola through the peak and its neighbours, over log values (K,)."""
    logs, peak, neurons = np.log(values), curves.argmax(1), np.arange(len(curves))
    middle = peak.clip(1, len(logs) - 2)
    neighbours = np.array([middle - 1, middle + 1])  # (2, N)
    # the parabola goes through (x_left, y_left), (0, 0) and (x_right, y_right)
    x_left, x_right = logs[neighbours] - logs[middle]
    y_left, y_right = curves[neurons, neighbours] - curves[neurons, middle]
    above = y_left * x_right**2 - y_right * x_left**2
    top = ratio(above, 2 * (y_left * x_right - y_right * x_left))
    return np.exp(logs[peak] + np.where(peak == middle, top, 0))  # one at either end stays there


def naka_rushton(contrasts: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Fit R_max c^n / (c50^n + c^n) + b to each curve (Naka and Rushton, J Physiol 1966).

    Every c50 and exponent n of a fine grid is tried with its best R_max and baseline b: each (N,).
    """
    contrasts, curves = np.asarray(contrasts, float), np.asarray(curves, float)
    means = curves.mean(1)
    deviations = curves - means[:, None]  # (N, K)
    best = np.zeros((5, len(curves)))  # error, c50, exponent, R_max, b
    best[0] = np.inf
    c50s = np.geomspace(contrasts[contrasts > 0].min(), contrasts.max(), 60)
    for c50, exponent in itertools.product(c50s, np.arange(0.5, 5.01, 0.125)):
        shape = contrasts**exponent / (c50**exponent + contrasts**exponent)  # (K,)
        centred = shape - shape.mean()
        r_max = deviations @ centred / (centred @ centred)  # (N,)
        error = ((deviations - np.outer(r_max, centred)) ** 2).sum(1)
        baseline = means - r_max * shape.mean()
        fit = np.stack(np.broadcast_arrays(error, c50, exponent, r_max, baseline))
        best = np.where(error < best[0], fit, best)
    return dict(zip(("c50", "exponent", "r_max", "baseline"), best[1:], strict=True))


def orientation_difference(orientations: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The angle between orientations, from 0 to pi / 2 radians."""
    require_radians("orientations", orientations)
    require_radians("orientations", others)
    difference = np.abs(np.subtract(orientations, others)) % np.pi
    return np.minimum(difference, np.pi - difference)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 is 0: a neuron that never responds has no selectivity."""
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below != 0)
