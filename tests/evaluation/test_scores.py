"""Scores of all neurons together, and predictions."""

import numpy as np
import pytest
import tiny

import kit
from kit import metrics
from kit.evaluation import compute_scores, predict_unchecked


def test_compute_scores_means_and_left_out_neurons():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(20), 8)
    drive = rng.gamma(1.0, size=(20, 3))[ids]
    responses = drive + [0.1, 0.5, 30] * rng.normal(size=drive.shape)
    scores = compute_scores(drive, responses, ids, [3, 1, 2])
    each, fev = scores.per_neuron, metrics.fev(responses, ids)
    assert (fev >= 0.15).tolist() == [True, True, False]
    assert scores.single_trial == metrics.correlation(drive, responses).mean()
    assert scores.to_average == metrics.correlation_to_average(drive, responses, ids).mean()
    assert scores.feve == metrics.feve(drive, responses, ids)[:2].mean()
    np.testing.assert_array_equal(each["oracle"], metrics.oracle(responses, ids))
    assert scores.n_left_out == 1
    assert scores.ceiling == pytest.approx(np.sqrt(fev.clip(0)).mean())
    assert each["unit_ids"].tolist() == [3, 1, 2]
    assert "1 of 3 neurons left out, FEV < 0.15)" in str(scores)
    # these predictions are the truth, so they reach the ceiling
    assert scores.single_trial == pytest.approx(scores.ceiling, abs=0.05)
    assert scores.feve == pytest.approx(1, abs=0.02)
    assert "(1 for the best model of the image alone; " in str(scores)
    assert "(a model that also sees behaviour can exceed this, and a FEVE of 1)" in str(scores)


def test_compute_scores_without_repeats():
    rng = np.random.default_rng(1)
    predictions, responses = rng.normal(size=(2, 60, 5))
    scores = compute_scores(predictions, responses, np.arange(60), np.arange(5))
    assert scores.single_trial == metrics.correlation(predictions, responses).mean()
    assert (scores.to_average, scores.feve, scores.ceiling) == (None, None, None)
    assert str(scores).count("(needs repeats)") == 3
    assert "behaviour" not in str(scores)


def test_compute_scores_without_explainable_neurons():
    noise = np.random.default_rng(0).normal(size=(200, 3))
    scores = compute_scores(noise, noise, np.repeat(np.arange(20), 10), np.arange(3))
    assert scores.feve is None
    assert scores.n_left_out == 3
    assert "needs a neuron with FEV >= .15" in str(scores)


def test_predict_unchecked_equals_predict_and_leaves_the_mode(tmp_path):
    data = kit.load(tiny.write(tmp_path), (18, 32), tmp_path / "data")
    model = kit.cnn_baseline(data, channels=2)
    model.train()
    model.core.eval()  # each part keeps its own mode
    predictions = predict_unchecked(model, data.mouse, "test")
    np.testing.assert_array_equal(predictions, kit.predict(model, data, "test"))
    assert model.training and not model.core.training
