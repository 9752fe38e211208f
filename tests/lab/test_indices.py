"""Indices of tuning curves, on curves of known values."""

import numpy as np
import pytest

from kit.lab import indices

ANGLES = np.arange(12) * np.pi / 12


def test_gosi_and_preferred_orientation_of_a_cosine():
    # R = 1 + a cos(2 (theta - p)): gOSI = a / 2, exactly, whatever p
    preferred = np.array([0, 0.3, 1.5, 3.0])[:, None]
    curves = 1 + 0.6 * np.cos(2 * (ANGLES - preferred))
    np.testing.assert_allclose(indices.gosi(curves, ANGLES), 0.3)
    np.testing.assert_allclose(
        indices.preferred_orientation(curves, ANGLES), preferred.ravel(), 1e-9
    )
    ends = np.stack([np.eye(12)[4], np.ones(12), np.zeros(12)])  # the last never responds
    np.testing.assert_allclose(indices.gosi(ends, ANGLES), [1, 0, 0], atol=1e-12)
    assert indices.preferred_orientation(ends, ANGLES)[0] == pytest.approx(ANGLES[4])


def test_osi():
    curves = 1 + 0.6 * np.cos(2 * (ANGLES - ANGLES[5]))[None]
    assert indices.osi(curves, ANGLES) == pytest.approx([0.6])
    odd = np.arange(5) * np.pi / 5  # 90 degrees lie between two: interpolated
    assert indices.osi(np.array([[4.0, 0, 1, 3, 0]]), odd) == pytest.approx([(4 - 2) / (4 + 2)])


def test_f1_f0():
    phases = np.arange(8) * np.pi / 4
    simple = 2 * np.cos(phases - 1).clip(min=0)
    curves = np.stack([1 + np.cos(phases), np.ones(8), simple, 5 + np.cos(2 * phases)])
    np.testing.assert_allclose(indices.f1_f0(curves), [1, 0, np.pi / 2, 0], atol=0.03)
    assert indices.preferred_phase(curves)[[0, 2]] == pytest.approx([0, 1], abs=0.05)


def test_suppression_index_preferred_size_and_modulation():
    curves = np.array([[0, 5, 10, 8, 6], [0, 1, 2, 3, 4], [9.6, 10, 9, 9, 9], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(indices.suppression_index(curves), [0.4, 0, 0.1, 0])
    np.testing.assert_array_equal(indices.preferred_size(curves[:3], [1, 2, 4, 8, 16]), [4, 16, 1])
    np.testing.assert_allclose(indices.modulation(np.array([[1, 3], [2, 2], [0, 0]])), [0.5, 0, 0])


def test_interpolated_peak():
    values = 2.0 ** np.arange(5)  # log2: 0 to 4
    steps = np.arange(5)
    curves = np.stack([10 - (steps - peak) ** 2 for peak in (2, 1.7, 3.0, 0, 4.4)])
    np.testing.assert_allclose(indices.interpolated_peak(curves, values), [4, 2**1.7, 8, 1, 16])
    assert indices.interpolated_peak(np.ones((1, 5)), values) == [1]  # flat: the first
    uneven = np.array([1, 2, 16])  # log2: 0, 1, 4
    curve = 10 - (np.log2(uneven) - 1.5)[None] ** 2
    np.testing.assert_allclose(indices.interpolated_peak(curve, uneven), 2**1.5)


def test_naka_rushton():
    contrasts = np.geomspace(0.02, 1.2, 10)
    true = {"c50": np.array([0.1, 0.4]), "exponent": np.array([2.0, 3.0]),
            "r_max": np.array([5.0, 1.0]), "baseline": np.array([0.5, 0.0])}  # fmt: skip
    c50, n, r_max, baseline = (values[:, None] for values in true.values())
    curves = r_max * contrasts**n / (c50**n + contrasts**n) + baseline
    fit = indices.naka_rushton(contrasts, curves)
    for name, values in true.items():
        np.testing.assert_allclose(fit[name], values, rtol=0.06, atol=0.02)


def test_orientation_difference():
    differences = indices.orientation_difference(*np.radians([[0, 10, 90, 179], [180, 170, 0, 1]]))
    np.testing.assert_allclose(np.degrees(differences), [0, 20, 90, 2], atol=1e-9)


def test_degrees_are_refused():
    degrees, curves = np.array([0, 60, 120]), np.ones((1, 3))
    for index in (indices.gosi, indices.osi, indices.preferred_orientation):
        with pytest.raises(ValueError, match=r"120 radians is beyond a full turn; .* np.radians\("):
            index(curves, degrees)
    with pytest.raises(ValueError, match=r"120 radians is beyond a full turn"):
        indices.orientation_difference(0.5, degrees)
