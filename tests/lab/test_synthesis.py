"""Most exciting images of cells with known best images."""

import numpy as np
import pytest
import torch
from hand_cells import PHASE, SIZE, Energy, Simple, correlation, gabor

import kit
from kit.lab import AscentConfig, Screen, most_exciting_images
from kit.lab.synthesis import _blurred, project

QUICK = AscentConfig(steps=40)


def test_most_exciting_image_of_a_simple_cell_is_its_filter():
    result = most_exciting_images(Simple(), config=QUICK)
    assert result.images.shape == (2, 1, *SIZE) and result.activations.shape == (2, 40)
    assert correlation(result.images[0], gabor()) > 0.97
    own = project(torch.from_numpy(gabor()).float()[None, None], 0.25, Screen())
    best = kit.lab.responses(Simple(), own)[0, 0]
    assert 0.95 * best < result.activations[0, -1] < 1.02 * best
    assert (np.diff(result.activations[0]) > -1e-3).all()
    assert np.isfinite(result.images).all() and not result.activations[1].any()  # keeps its noise


def test_most_exciting_image_of_a_complex_cell_lies_in_its_pair_of_filters():
    image = most_exciting_images(Energy(), [0], config=QUICK).images
    both = [correlation(image, filter) for filter in (gabor(), gabor(PHASE - np.pi / 2))]
    assert np.hypot(*both) > 0.97


def test_activations_are_the_responses_after_every_step():
    for steps in (1, 5):
        result = most_exciting_images(Simple(), [0], config=AscentConfig(steps=steps))
        assert result.activations[0, -1] == kit.lab.responses(Simple(), result.images)[0, 0]


def test_images_keep_mean_contrast_and_range():
    screen = Screen()
    low = most_exciting_images(Simple(), [0], config=AscentConfig(steps=5, contrast=0.1)).images
    assert low.std() == pytest.approx(0.1, rel=1e-4) and abs(low.mean()) < 1e-5
    high = most_exciting_images(Simple(), [0], config=AscentConfig(steps=40, contrast=1)).images
    black, white = np.float32(screen.limits)
    assert high.min() == black and high.max() == white  # clipped
    assert high.std() <= 1.0001


def test_neurons_do_not_depend_on_each_other():
    class Pair(Energy):  # two neurons that like other phases
        def forward(self, batch, mouse=None):
            images = batch.images.flatten(1).double()
            return (images @ self.filters[:2].T).clamp(min=0).square().float()

    both = most_exciting_images(Pair(), config=QUICK)
    alone = most_exciting_images(Pair(), 1, config=QUICK)
    np.testing.assert_allclose(both.images[1], alone.images[0], atol=1e-5)
    assert correlation(both.images[0], gabor()) > 0.97


def test_extrapolates_says_when_no_natural_image_does_as_well():
    screen = Screen()
    natural = screen.natural_noise(20, seed=1)
    result = most_exciting_images(Simple(), [0], config=QUICK, natural=natural)
    assert result.natural_best[0] == kit.lab.responses(Simple(), natural)[:, 0].max()
    assert result.extrapolates.tolist() == [True]
    assert "times that to the best natural image" in repr(result)
    assert "above every natural image: 1 of 1, an extrapolation" in repr(result)
    beaten = np.concatenate([natural, result.images * 1.5])
    result = most_exciting_images(Simple(), [0], config=QUICK, natural=beaten)
    assert result.extrapolates.tolist() == [False] and "extrapolation" not in repr(result)


def test_extrapolates_without_natural_images_is_refused():
    result = images_of([1], None)
    assert "not compared with natural images" in repr(result)
    with pytest.raises(ValueError, match="no natural images to compare with; give some"):
        result.extrapolates  # noqa: B018
    assert result.contrast == [0]


def test_blurred_is_a_gaussian():
    image = torch.zeros(1, 1, 21, 21)
    image[0, 0, 10, 10] = 1
    smooth = _blurred(image, 2.0)[0, 0]
    steps = torch.arange(21.0) - 10
    assert float(smooth.sum()) == pytest.approx(1, abs=1e-5)
    assert float((smooth.sum(0) * steps**2).sum()) == pytest.approx(4, rel=0.03)  # its variance
    assert torch.equal(_blurred(image, 0), image)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"lr": 0}, {"contrast": -1}, {"blur": -1},
                                     {"lr": np.nan}, {"contrast": None}])  # fmt: skip
def test_ascent_config_refuses_what_makes_no_image(changes):
    with pytest.raises(ValueError, match=r"is not possible|make no image; give"):
        AscentConfig(**changes)


def test_natural_images_are_checked_before_the_ascent():
    for natural in (np.zeros((0, 1, *SIZE)), np.zeros((3, 1, 5, 5)), "sample+"):
        with pytest.raises(ValueError, match="this model takes images"):
            most_exciting_images(Simple(), [0], natural=natural)


def images_of(last, natural_best):
    images = np.zeros((len(last), 1, 2, 2), np.float32)
    best = None if natural_best is None else np.array(natural_best, np.float32)
    activations = np.array(last, np.float32)[:, None]
    return kit.lab.MostExcitingImages(images, activations, np.arange(len(last)), best)


def test_most_exciting_images_count_neurons_that_never_respond():
    text = repr(images_of([3, 0, 4, 1], [2, 0, 2, 0]))
    assert "1.75 times that to the best natural image (median)" in text
    assert "never respond: 2 of 4" in text and "nan" not in text
    assert "never respond: 2 of 2" in repr(images_of([0, 0], [0, 0]))
    assert "never respond: 1 of 2" in repr(images_of([0, 1], None))
    assert "never respond" not in repr(images_of([1, 1], [1, 2]))
