"""Metrics against numbers worked out by hand, and their properties."""

import ast
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import metrics

# Two neurons, six trials; image 7 is shown three times, image 9 twice, image 5 once.
IMAGES = np.array([7, 9, 7, 5, 9, 7])
RESPONSES = np.array([[1.0, 0], [4, 1], [2, 0], [6, 5], [6, 3], [3, 0]])
PREDICTIONS = np.array([[2.0, 1], [4, 1], [2, 1], [6, 1], [4, 1], [2, 1]])


def experiment(seed, trials=60, neurons=5, images=12):
    """Random predictions, responses and image ids with ragged repeats."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, images, trials)
    drive = rng.gamma(1.0, size=(images, neurons))[ids]
    return drive + rng.normal(size=drive.shape), drive * rng.gamma(1.0, size=drive.shape), ids


def all_metrics(predictions, responses, ids):
    return {
        "single_trial": metrics.correlation(predictions, responses),
        "to_average": metrics.correlation_to_average(predictions, responses, ids),
        "fev": metrics.fev(responses, ids),
        "feve": metrics.feve(predictions, responses, ids),
        "oracle": metrics.oracle(responses, ids),
    }


def test_correlation_by_hand():
    predictions = np.array([[1.0, 1], [2, 0], [3, 1], [4, 0]])
    responses = np.array([[2.0, 3], [4, 1], [6, 3], [8, 1]])
    np.testing.assert_allclose(metrics.correlation(predictions, responses), [1, 1], atol=1e-7)
    np.testing.assert_allclose(metrics.correlation(-predictions, responses), [-1, -1], atol=1e-7)
    # deviations (-1, 0, 1) and (-1, 1, 0): covariance 1/3, both variances 2/3
    half = metrics.correlation(np.array([[1.0], [2], [3]]), np.array([[1.0], [3], [2]]))
    assert half == pytest.approx([0.5], abs=1e-7)


def test_correlation_to_average_by_hand():
    # first neuron: averages over images 5, 7, 9 are 6, 2, 5 and the predictions' 6, 2, 4;
    # deviations (5, -7, 2) / 3 and (2, -2, 0): covariance 24/3, variances 78/9 and 8, over 3
    expected = 8 / np.sqrt(78 / 9 * 8)
    scores = metrics.correlation_to_average(PREDICTIONS, RESPONSES, IMAGES)
    assert scores == pytest.approx([expected, 0], abs=1e-7)


def test_fev_and_feve_by_hand():
    # first neuron: 1 4 2 6 6 3, mean 11/3: total variance (102 - 6 * 121/9) / 5 = 64/15;
    # within image 7: 1, within image 9: 2, image 5 does not repeat: noise 3/2
    total, noise = 64 / 15, 1.5
    # second neuron: 0 1 0 5 3 0, mean 3/2: total 21.5 / 5; within 0 and 2: noise 1
    fev = [(total - noise) / total, (4.3 - 1) / 4.3]
    assert metrics.fev(RESPONSES, IMAGES) == pytest.approx(fev, rel=1e-12)
    # errors 1 0 0 0 2 1: mean square 1; second: 1 0 1 4 2 1: mean square 23/6
    feve = [1 - (1 - noise) / (total - noise), 1 - (23 / 6 - 1) / 3.3]
    assert metrics.feve(PREDICTIONS, RESPONSES, IMAGES) == pytest.approx(feve, rel=1e-12)


def test_oracle_by_hand():
    # the mean of the other repeats: image 7: 1 -> 2.5, 2 -> 2, 3 -> 1.5; image 9: 4 -> 6, 6 -> 4
    others = np.array([[2.5], [6], [2], [4], [1.5]])
    kept = RESPONSES[[0, 1, 2, 4, 5], :1]  # the image shown once is left out
    expected = np.corrcoef(others[:, 0], kept[:, 0])[0, 1]
    assert metrics.oracle(RESPONSES, IMAGES)[0] == pytest.approx(expected, abs=1e-7)


def test_feve_without_noise():
    responses = np.repeat([[1.0], [3], [8]], 4, axis=0)
    ids = np.repeat([0, 1, 2], 4)
    assert metrics.fev(responses, ids) == pytest.approx([1])
    assert metrics.feve(responses, responses, ids) == pytest.approx([1])
    mean = np.full_like(responses, 4)  # explains nothing, but for the unbiased total
    assert metrics.feve(mean, responses, ids) == pytest.approx([1 / 12], abs=1e-12)


def test_feve_exceeds_one_if_noise_is_predicted():
    ids = np.array([0, 0, 1, 1])
    responses = np.array([[0.0], [2], [10], [12]])  # noise 2, error 0
    total = responses.var(ddof=1)
    assert metrics.feve(responses, responses, ids) == pytest.approx([1 + 2 / (total - 2)])


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 123.456, 1e-9])
def test_metrics_of_constant_neurons(value):
    predictions, responses, ids = experiment(1, trials=71)
    flat = np.full_like(responses, value)
    assert metrics.correlation(flat, responses) == pytest.approx(np.zeros(5), abs=1e-6)
    assert metrics.correlation(predictions, flat) == pytest.approx(np.zeros(5), abs=1e-6)
    assert metrics.correlation(flat, flat) == pytest.approx(np.zeros(5), abs=1e-6)
    to_average = metrics.correlation_to_average(flat, responses, ids)
    assert to_average == pytest.approx(np.zeros(5), abs=1e-6)
    np.testing.assert_array_equal(metrics.fev(flat, ids), 0)
    assert np.isnan(metrics.feve(predictions, flat, ids)).all()  # and never a large number
    assert metrics.oracle(flat, ids) == pytest.approx(np.zeros(5), abs=1e-6)


@pytest.mark.parametrize("value", [5.6e25, 1e30, -3e25])
def test_correlation_of_huge_constants(value):
    """The rounding of their mean is huge too, and must not be divided by 1e-8."""
    _, responses, ids = experiment(1, trials=71)
    flat = np.full_like(responses, value)
    np.testing.assert_array_equal(metrics.correlation(flat, responses), 0)
    assert (np.abs(metrics.correlation_to_average(flat, responses, ids)) <= 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50), st.floats(-20, 20))
def test_correlations_ignore_scale_and_shift_of_predictions(seed, scale, shift):
    predictions, responses, ids = experiment(seed % 50)
    before = all_metrics(predictions, responses, ids)
    after = all_metrics(scale * predictions + shift, responses, ids)
    for name in ("single_trial", "to_average", "fev", "oracle"):
        np.testing.assert_allclose(before[name], after[name], atol=1e-5)


def test_feve_depends_on_scale_and_shift_of_predictions():
    predictions, responses, ids = experiment(2)
    best = metrics.feve(predictions, responses, ids)
    assert (np.abs(metrics.feve(2 * predictions, responses, ids) - best) > 0.01).all()
    assert (np.abs(metrics.feve(predictions + 1, responses, ids) - best) > 0.01).all()


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_metrics_ignore_units_trial_order_and_image_names(random):
    predictions, responses, ids = experiment(4)
    order = list(range(len(ids)))
    random.shuffle(order)
    names = np.array([f"image {i}" for i in ids])
    units = np.array([0.01, 0.3, 1, 7, 400])
    before = all_metrics(predictions, responses, ids)
    after = all_metrics(predictions[order] * units, responses[order] * units, names[order])
    for name, values in after.items():
        np.testing.assert_allclose(values, before[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_metrics_score_each_neuron_alone():
    predictions, responses, ids = experiment(5)
    together = all_metrics(predictions, responses, ids)
    for neuron in range(5):
        alone = all_metrics(predictions[:, [neuron]], responses[:, [neuron]], ids)
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][neuron], rtol=1e-12)


def test_metrics_are_float64():
    *arrays, ids = experiment(6)
    predictions, responses = (array.astype(np.float32) for array in arrays)
    single = all_metrics(predictions, responses, ids)
    double = all_metrics(predictions.astype(float), responses.astype(float), ids)
    for name, values in single.items():
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, double[name])


def test_metrics_leave_arguments_unchanged_and_accept_lists():
    arrays = experiment(7)
    copies = [array.copy() for array in arrays]
    scores = all_metrics(*arrays)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    for name, values in all_metrics(*[array.tolist() for array in arrays]).items():
        np.testing.assert_array_equal(values, scores[name])


def test_metrics_refuse_images_without_repeats():
    predictions, responses, _ = experiment(8)
    ids = np.arange(len(responses))
    for metric in (metrics.fev, metrics.oracle, partial(metrics.feve, predictions)):
        with pytest.raises(ValueError, match="needs repeats: each of these 60 images was shown"):
            metric(responses, ids)


def test_metrics_refuse_unequal_shapes():
    predictions, responses, ids = experiment(9)
    with pytest.raises(ValueError, match=r"\(59, 5\) and responses \(60, 5\) must have the same"):
        metrics.correlation(predictions[1:], responses)
    with pytest.raises(ValueError, match=r"\(60,\) and responses \(60,\)"):
        metrics.correlation(predictions[:, 0], responses[:, 0])
    with pytest.raises(ValueError, match=r"\(0, 5\) .* at least one trial"):
        metrics.correlation(predictions[:0], responses[:0])
    for metric in (metrics.correlation_to_average, metrics.feve):
        with pytest.raises(ValueError, match=r"image_ids has shape \(59,\).* 60 trials"):
            metric(predictions, responses, ids[1:])


def test_metrics_file_imports_numpy_alone():
    """A scorer may use a copy of the file without the kit."""
    tree = ast.parse(Path(metrics.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import numpy as np"]
