"""The spread of models: intervals by hand and by simulation, on a line, a circle and in logs."""

import numpy as np
import pytest

from kit.evaluation.spread import measure_spread, student_t

NEURONS, MODELS = 4000, 5
rng = np.random.default_rng(0)


@pytest.mark.parametrize("freedom, expected", [
    (1, 6.314), (2, 2.920), (3, 2.353), (4, 2.132), (9, 1.833), (30, 1.697), (5000, 1.645),
])  # fmt: skip
def test_student_t_is_that_of_the_tables(freedom, expected):
    assert student_t(freedom, 0.9) == pytest.approx(expected, abs=6e-4)


def test_interval_by_hand():
    spread = measure_spread(np.array([[1.0, 5], [2, 5], [3, 5]]), truth=np.array([5.3, 5.1]))
    half = 2.920 * 1 * np.sqrt(4 / 3)  # t(.95, 2), s, three models
    np.testing.assert_allclose(spread.mean, [2, 5])
    np.testing.assert_allclose(spread.interval, [[2 - half, 5], [2 + half, 5]], rtol=1e-3)
    np.testing.assert_allclose(spread.error, [3.3, 0.1])
    assert spread.covers.tolist() == [True, False]


def test_orientations_are_on_a_circle_of_180_degrees():
    values = np.array([[170.0, 80], [0, 90], [10, 100]])
    spread = measure_spread(values, "degrees", truth=np.array([178.0, 1]))
    np.testing.assert_allclose((spread.mean + 90) % 180 - 90, [0, 90 - 180], atol=1e-9)
    half = 2.920 * 10 * np.sqrt(4 / 3)  # the std of -10, 0, 10 is 10
    np.testing.assert_allclose(spread.half_width, half, rtol=1e-3)
    np.testing.assert_allclose(spread.error, [2, 89])
    assert spread.covers.tolist() == [True, False]
    opposed = measure_spread(np.array([[0.0], [60], [121]]), "degrees", truth=np.array([44.0]))
    assert opposed.half_width == 90 and opposed.covers.all()  # the whole circle


def test_frequencies_are_compared_in_octaves():
    spread = measure_spread(np.array([[0.05], [0.1], [0.2]]), "octaves", truth=np.array([0.4]))
    half = 2.920 * np.sqrt(4 / 3)
    np.testing.assert_allclose(spread.mean, 0.1)
    np.testing.assert_allclose(spread.half_width, half, rtol=1e-3)
    np.testing.assert_allclose(spread.interval[:, 0], [0.1 / 2**half, 0.1 * 2**half], rtol=1e-3)
    np.testing.assert_allclose(spread.error, 2)


@pytest.mark.parametrize("unit", ["", "degrees", "octaves"])
def test_a_truth_that_differs_like_one_more_model_is_covered_in_90_percent(unit):
    """Also any further model, which is what a prediction interval promises."""
    common = rng.uniform(-3, 3, NEURONS)
    draws = common + rng.normal(0, 0.1, (MODELS + 1, NEURONS))
    if unit == "degrees":
        draws = (60 * draws) % 180  # errors of 6 degrees
    elif unit == "octaves":
        draws = 2**draws
    spread = measure_spread(draws[:-1], unit, truth=draws[-1])
    assert spread.coverage == pytest.approx(90, abs=1.5)


def test_the_center_of_independent_errors_is_covered_more_often_and_a_shared_error_rarely():
    errors = rng.normal(0, 1, (MODELS, NEURONS))
    truth = rng.uniform(0, 9, NEURONS)
    independent = measure_spread(truth + errors, truth=truth)
    within = np.abs(rng.standard_t(MODELS - 1, 100_000)) < 2.132 * np.sqrt(MODELS + 1)
    assert independent.coverage == pytest.approx(100 * within.mean(), abs=0.5)  # 99.4 %
    shared = measure_spread(truth + errors + 8, truth=truth)
    assert shared.coverage < 5
    np.testing.assert_allclose(shared.half_width, independent.half_width)  # nothing shows it


def test_correlation_is_the_mean_over_pairs():
    values = rng.random((3, 20))
    pairs = np.corrcoef(values)[[0, 0, 1], [1, 2, 2]]
    assert measure_spread(values).correlation == pytest.approx(pairs.mean())
    logs = measure_spread(2**values, "octaves")
    assert logs.correlation == pytest.approx(pairs.mean())


def test_correlation_of_orientations_is_fisher_and_lees():
    values = rng.uniform(0, 180, (3, 12))
    pairs = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        one, two = (np.sin(np.radians(2 * (v[:, None] - v))) for v in (values[a], values[b]))
        pairs.append((one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum()))
    assert measure_spread(values, "degrees").correlation == pytest.approx(np.mean(pairs))
    turned = np.stack([values[0], values[0] + 50, values[0] + 100])  # each by the same angle
    assert measure_spread(turned, "degrees").correlation == pytest.approx(1)
    same = np.full((3, 5), 20.0)
    assert measure_spread(same, "degrees").correlation == 0  # as of a neuron that never varies


def test_only_counted_neurons_are_counted():
    values, truth = np.array([[0.0, 0, 0, 0], [1, 2, 3, 90], [2, 4, 6, 0]]), np.zeros(4)
    spread = measure_spread(values, "", np.array([True, True, True, False]), truth)
    whole = measure_spread(values[:, :3], truth=truth[:3])
    assert (spread.width, spread.coverage) == (whole.width, whole.coverage)
    assert spread.correlation == whole.correlation
    assert str(spread) == f"{whole} (3 neurons)"


def test_spread_says_what_it_lacks():
    few = measure_spread(rng.random((3, 2)), truth=np.zeros(2))
    assert str(few) == "too few neurons"
    assert (few.width, few.coverage, few.correlation) == (None, None, None)
    untrue = measure_spread(rng.random((3, 9)))
    assert (untrue.covers, untrue.coverage) == (None, None) and "%" not in str(untrue)
