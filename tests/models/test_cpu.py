"""The CPU kernels against the plain functions that they replace."""

import numpy as np
import pytest
import torch

import kit
from kit.models import cpu, layers
from kit.training.distributed import make_fabric
from kit.training.loop import poisson_loss


@pytest.mark.parametrize(
    "channels, state",
    [(1, "image"), (4, "constant"), (4, "varies"), (4, "learned")],
)
def test_image_convolution_equals_reference(channels, state):
    """Values and gradients, channels last; only what is constant in every image is a bias."""
    images = torch.randn(5, channels, 12, 17, dtype=torch.double)
    if state == "constant":
        images[:, 1:] = images[:, 1:, :1, :1]
    images.requires_grad_(state == "learned")
    weight = torch.randn(6, channels, 9, 9, dtype=torch.double, requires_grad=True)
    inputs = (images, weight) if state == "learned" else (weight,)
    results = []
    for convolve in (cpu.image_convolution, cpu.image_convolution_reference):
        output = convolve(images, weight)
        results.append((output, *torch.autograd.grad(output.pow(2).sum(), inputs)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)


def test_image_convolution_fast_for_images_with_behaviour(monkeypatch):
    monkeypatch.setattr(cpu, "image_convolution_reference", lambda *_: "plain")
    images, weight = torch.randn(2, 4, 10, 11), torch.randn(3, 4, 9, 9)
    assert cpu.image_convolution(images, weight) == "plain"
    assert cpu.image_convolution(images[:, :1], weight[:, :1]).shape == (2, 3, 2, 3)
    images[:, 1:] = 2
    assert cpu.image_convolution(images, weight).shape == (2, 3, 2, 3)
    images[1, 3, -1, -1] = float("nan")
    assert cpu.image_convolution(images, weight) == "plain"


def test_depthwise_equals_reference():
    """Values, gradients, and gradients of gradients."""
    features = torch.randn(3, 5, 8, 11, dtype=torch.double, requires_grad=True)
    weight = torch.randn(5, 1, 7, 7, dtype=torch.double, requires_grad=True)
    upstream = torch.randn_like(features)
    results = []
    for convolve in (cpu.depthwise, cpu.depthwise_reference):
        output = convolve(features, weight)
        slopes = torch.autograd.grad(output, (features, weight), upstream, create_graph=True)
        squares = sum(slope.pow(2).sum() for slope in slopes)
        results.append((output, *slopes, *torch.autograd.grad(squares, (features, weight))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_gaussian_readout_equals_reference(monkeypatch, dtype, near, order):
    """Values and all gradients; some positions lie beyond the edge, some on it, some on pixels."""
    features = torch.randn(3, 64, 7, 9, dtype=dtype).to(memory_format=order).requires_grad_()
    grid = torch.rand(3, 1000, 2, dtype=dtype) * 2.6 - 1.3
    grid[0, :4] = torch.tensor([[-1, -1], [1, 1], [-1, 1], [0, 0]])
    grid[1, :, 0] = torch.randint(9, (1000,)) / 4 - 1
    grid.requires_grad_()
    weights = torch.randn(1000, 64, dtype=dtype, requires_grad=True)
    inputs, upstream = (features, grid, weights), torch.randn(3, 1000, dtype=dtype)
    plain = cpu.gaussian_readout_reference(*inputs)
    monkeypatch.setattr(cpu, "gaussian_readout_reference", None)
    fast = cpu.gaussian_readout(*inputs)
    torch.testing.assert_close(fast, plain, rtol=0, atol=near)
    for one, other in zip(torch.autograd.grad(fast, inputs, upstream),
                          torch.autograd.grad(plain, inputs, upstream), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=0, atol=near * other.abs().max().item())
    with torch.inference_mode():
        torch.testing.assert_close(cpu.gaussian_readout(*inputs), plain, rtol=0, atol=near)


def test_gaussian_readout_fast_for_large_readouts(monkeypatch):
    taken = []
    monkeypatch.setattr(cpu, "gaussian_readout_reference", lambda *_: taken.append("plain"))
    monkeypatch.setattr(cpu.GaussianReadoutFunction, "apply", lambda *_: taken.append("fast"))
    for neurons, channels, size, dtype in ((1000, 50, 2, None), (999, 50, 2, None),
                                           (9000, 16, 2, None), (1000, 50, 1, None),
                                           (1000, 50, 2, torch.bfloat16)):  # fmt: skip
        features = torch.zeros(1, channels, size, size, dtype=dtype)
        cpu.gaussian_readout(features, torch.zeros(1, neurons, 2), torch.zeros(neurons, channels))
    assert taken == ["fast", "plain", "plain", "plain", "plain"]


def test_gaussian_readout_of_nan_positions():
    """Training then stops with an error about its loss."""
    grid = torch.zeros(1, 1000, 2)
    grid[0, :2, 0] = torch.tensor([torch.nan, torch.inf])
    features, weights = torch.ones(1, 64, 4, 4), torch.ones(1000, 64)
    read = cpu.gaussian_readout(features, grid.requires_grad_(), weights)
    assert read[0, :2].isnan().all() and read[0, 2:].isfinite().all()


def test_training_step_equals_reference(monkeypatch):
    """Predictions and every gradient, as shares of their size, beside torch's own operations.

    With bfloat16 the core's; positions follow differences of features, which that rounds away.
    """
    neurons = {"mouse": np.random.default_rng(0).uniform(0, 600, (1000, 3))}
    model = kit.Model(layers.ConvCore(32, 4), neurons, kit.ModelConfig(True, True)).train()
    batch = kit.Batch(torch.randn(8, 1, 36, 64), torch.rand(8, 1000), torch.rand(8, 3),
                      torch.randn(8, 2))  # fmt: skip

    def step(precision):
        torch.manual_seed(1)  # the same positions
        with make_fabric(model, "cpu", precision).autocast():
            predictions = model(batch)
        loss = poisson_loss(predictions.float(), batch.responses) + model.regularizer()
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        of_core = slopes[: len(list(model.core.parameters()))]
        return predictions, torch.cat([slope.flatten() for slope in of_core]), *slopes

    fast, half = step("32-true"), step("bf16-mixed")
    monkeypatch.setattr(layers, "gaussian_readout", cpu.gaussian_readout_reference)
    monkeypatch.setattr(layers, "depthwise", cpu.depthwise_reference)
    monkeypatch.setattr(layers, "image_convolution", cpu.image_convolution_reference)
    plain = step("32-true")
    for one, other in zip(fast, plain, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()
    for one, other in zip(half[:2], plain[:2], strict=True):
        assert 1e-4 * other.norm() < (one - other).norm() <= 2e-2 * other.norm()
