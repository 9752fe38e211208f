"""A model learns from another one's predictions."""

import numpy as np
import pytest

import kit


@pytest.fixture
def teacher(small):
    models = [kit.cnn_baseline(small, 2, kit.ModelConfig.of(small, seed=seed)) for seed in (1, 2)]
    for model in models:
        kit.train(model, small, kit.TrainConfig(epochs=10, batch_size=8))
    return kit.ensemble(models)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_distill_mixes_train_responses_and_predictions(small, teacher, share):
    before = np.array(small.mouse.responses)
    smooth, rows = kit.training.distill(teacher, small, share).mouse, small.mouse.rows("train")
    predictions = np.mean([kit.predict(each, small, "train") for each in teacher.models], 0)
    expected = before.copy()
    expected[rows] = share * predictions + (1 - share) * before[rows]
    np.testing.assert_allclose(smooth.responses, expected, rtol=1e-5)
    np.testing.assert_array_equal(small.mouse.responses, before)
    assert smooth.images is small.mouse.images and smooth.mouse == small.mouse.mouse


def test_a_pupil_learns_its_teacher(small, teacher):
    """From predictions alone it comes closer to the teacher than by learning from responses."""
    smooth, alike = kit.training.distill(teacher, small, 1), []
    config = kit.TrainConfig(epochs=20, batch_size=8, patience=20)
    for data in (smooth, small):
        pupil = kit.cnn_baseline(data, 2)
        kit.train(pupil, data, config)
        pair = [kit.predict(model, small, "train") for model in (pupil, teacher)]
        alike.append(kit.metrics.correlation(*pair).mean())
        kit.ensemble([pupil, *teacher.models])  # the recording is still the same to them
    assert alike[0] > alike[1] + 0.1


def test_distill_refuses(small, teacher):
    with pytest.raises(ValueError, match=r"share=1\.5 is not possible; give a number from 0 to 1"):
        kit.training.distill(teacher, small, 1.5)
    with pytest.raises(ValueError, match="a model is needed"):
        kit.training.distill([teacher], small)
