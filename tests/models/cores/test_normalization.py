"""The core with divisive normalisation: its formula, what contrast does to it, its checkpoints."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

import kit
from kit.models.cores.normalization import NormalizationCore, local_variance

CHANNELS = 3


@pytest.fixture
def core():
    torch.manual_seed(0)
    core = NormalizationCore(CHANNELS, layers=1).double().eval()
    torch.nn.init.normal_(core.window_logits)
    return core


def variance_around(image, row, column, width):
    """Of the pixels of an image (H, W) in a Gaussian window that ends at the border."""
    y, x = (np.arange(size) - at for size, at in zip(image.shape, (row, column), strict=True))
    window = np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2))
    window /= window.sum()
    return (window * image**2).sum() - (window * image).sum() ** 2


def test_contrast_is_the_local_variance():
    image = np.random.default_rng(0).normal(1, 2, (36, 64))
    image[:, 30:] *= 0.1
    contrast = local_variance(torch.from_numpy(image)[None, None])
    assert contrast.shape == (1, 3, 24, 52)
    for row, column in ((6, 6), (20, 31), (29, 57)):
        expected = [variance_around(image, row, column, width) for width in (4, 7, 11)]
        np.testing.assert_allclose(contrast[0, :, row - 6, column - 6], expected, rtol=1e-6)


def test_core_by_hand(core):
    """The first features, before batch norm has seen a batch, are the two halves themselves."""
    images = torch.randn(2, 1, 36, 64, dtype=torch.float64)
    filtered = conv2d(images, core.filters.weight)[:, :, 10, 20]  # (2, C)
    shares = torch.exp(core.window_logits)
    shares = shares / shares.sum(1, keepdim=True)  # (C, windows)
    pool = torch.exp(core.log_constant) + local_variance(images)[:, :, 10, 20] @ shares.T
    scale = (1 + core.norm[0].eps) ** -0.5
    features = core(images)[:, :, 10, 20]
    for half, sign in ((features[:, :CHANNELS], 1), (features[:, CHANNELS : 2 * CHANNELS], -1)):
        expected = scale * (sign * filtered).clamp(min=0) ** 2 / pool
        torch.testing.assert_close(half, expected)
    assert features.shape == (2, 3 * CHANNELS)


def test_contrast_saturates_and_its_surround_suppresses(core):
    image = torch.randn(1, 1, 36, 64, dtype=torch.float64)
    first, louder = (core(image * factor)[0, : 2 * CHANNELS, 12, 26] for factor in (30, 60))
    torch.testing.assert_close(first, louder, rtol=0.01, atol=1e-9)
    surround = image.clone()
    surround[..., :12, :] *= 3
    surround[..., 25:, :] *= 3  # the filter of 13 x 13 pixels sees rows 12 to 24
    assert (
        core(surround)[0, : 2 * CHANNELS, 12, 26] <= core(image)[0, : 2 * CHANNELS, 12, 26]
    ).all()


@pytest.mark.parametrize("in_channels, layers", [(1, 1), (4, 2)])
def test_core_passes_the_checks(in_channels, layers):
    report = kit.check_core(NormalizationCore(CHANNELS, in_channels, layers), channels=in_channels)
    assert report, report


def test_strong_baseline_saved_and_loaded(plus, tmp_path):
    model = kit.strong_baseline(plus, channels=CHANNELS)
    kit.train(model, plus, kit.TrainConfig.strong(epochs=1))
    kit.save(model, tmp_path / "strong")
    again = kit.load_model(tmp_path / "strong")
    predictions = [kit.predict(each, plus, "test") for each in (model, again)]
    np.testing.assert_array_equal(*predictions)


def test_page_refuses_the_core_in_a_sentence(plus, tmp_path):
    model = kit.strong_baseline(plus, channels=CHANNELS)
    with pytest.raises(ValueError, match=r"kit.layers.ConvCore, such as") as refused:
        kit.lab.page(model, tmp_path / "page.html")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
