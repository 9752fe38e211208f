"""Fast CPU kernels: first the plain function, then the fast one and why it gives the same."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, embedding_bag, grid_sample, pad
from torch.nn.grad import conv2d_weight


def image_convolution_reference(images: Tensor, weight: Tensor) -> Tensor:
    """Filter images (B, 1 + K, H, W) by (C, 1 + K, h, w): (B, C, H - h + 1, W - w + 1)."""
    return conv2d(images.contiguous(memory_format=torch.channels_last), weight)


def image_convolution(images: Tensor, weight: Tensor) -> Tensor:
    """The same as `image_convolution_reference`; faster on a CPU if only the first channel varies.

    A channel k that is constant in each image b, as behaviour is, adds one number to an output:

        output[b, c] = images[b, 0] * weight[c, 0] + sum of images[b, k] sum(weight[c, k])   over k

    An image of one channel lies in memory as if channels were last and as if they were first.
    PyTorch takes it for the second, so that outputs and gradients have to be copied; here its
    strides say the first. For 128 images, output and gradient of 64 filters take 27 ms instead of
    51, with three columns of behaviour 30 instead of 80.
    """
    rest, constant = images[:, 1:], images[:, 1:, :1, :1]
    fast = images.device.type == "cpu" and not images.requires_grad
    if not fast or not torch.equal(rest, constant.expand_as(rest)):
        return image_convolution_reference(images, weight)
    first = images[:, :1].contiguous().view(len(images), *images.shape[2:], 1).permute(0, 3, 1, 2)
    output = conv2d(first, weight[:, :1])  # (B, C, H - h + 1, W - w + 1)
    if rest.numel():
        output += conv2d(constant, weight[:, 1:].sum((2, 3), keepdim=True))  # (B, C, 1, 1)
    return output


def depthwise_reference(features: Tensor, weight: Tensor) -> Tensor:
    """Convolve each channel (B, C, h, w) with its own filter (C, 1, 7, 7): (B, C, h, w)."""
    return conv2d(features, weight, padding=3, groups=len(weight))


def depthwise(features: Tensor, weight: Tensor) -> Tensor:
    """The same as `depthwise_reference`, with a faster gradient on a CPU."""
    if features.device.type == "cpu" and features.dtype == weight.dtype:
        return DepthwiseFunction.apply(features, weight)
    return depthwise_reference(features, weight)


class DepthwiseFunction(torch.autograd.Function):
    """`depthwise_reference`, with the gradient of the filters in three parts.

    Within one channel, with g = dLoss/doutput:

        output[y, x]          = sum of weight[i, j] * features[y + i - 3, x + j - 3]   over i, j
        dLoss/dfeatures[y, x] = sum of weight[i, j] * g[y - i + 3, x - j + 3]          over i, j
        dLoss/dweight[i, j]   = sum of g[y, x] * features[y + i - 3, x + j - 3]        over y, x

    The second line is the first with the filter turned by 180 degrees. PyTorch is fast at the third
    for up to three columns: j = 2, 3, 4 of ours, and j = 0, 1 or 5, 6 with features moved to the
    right or the left, a few images at a time, which stay in the cache. For 32 images of 28 x 56
    and 64 channels the gradient takes 13 ms instead of 26.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight)
        return depthwise_reference(features, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        (features, weight), (gradient,) = ctx.saved_tensors, gradients
        to_features = depthwise_reference(gradient, weight.flip(2, 3))
        to_weight = None
        if ctx.needs_input_grad[1]:
            parts = zip(features.split(16), gradient.split(16), strict=True)
            to_weight = sum(_depthwise_weight_gradient(*part) for part in parts)  # (C, 1, 7, 7)
        return to_features, to_weight


def _depthwise_weight_gradient(features, gradient):
    """The gradient of depthwise filters: (C, 1, 7, 7)."""

    def columns(features, count, padding):
        shape = (features.shape[1], 1, 7, count)
        return conv2d_weight(features, shape, gradient, padding=(3, padding), groups=shape[0])

    left, right = pad(features, (3, -2)), pad(features, (-2, 3))  # one pixel wider
    return torch.cat([columns(left, 2, 0), columns(features, 3, 1), columns(right, 2, 0)], -1)


def gaussian_readout_reference(features: Tensor, grid: Tensor, weights: Tensor) -> Tensor:
    """Sample features (B, C, h, w) at grid (B, N, 2), weigh by weights (N, C): (B, N)."""
    sampled = grid_sample(features, grid[:, :, None], align_corners=True)[..., 0]  # (B, C, N)
    return (sampled * weights.T).sum(1)  # (B, N)


def gaussian_readout(features: Tensor, grid: Tensor, weights: Tensor) -> Tensor:
    """The same as `gaussian_readout_reference`; large readouts are faster on a CPU."""
    large = weights.shape[1] >= 32 and weights.numel() >= 50_000 and min(features.shape[2:]) > 1
    same_dtype = features.dtype == grid.dtype == weights.dtype
    if not large or not same_dtype or features.device.type != "cpu":
        return gaussian_readout_reference(features, grid, weights)
    if torch.is_grad_enabled():
        return GaussianReadoutFunction.apply(features, grid, weights)
    pixels, corner_weights, _, _ = _bilinear_corners(grid, features.shape[2:])
    images = zip(_by_neuron(pixels), _pixel_rows(features), _by_neuron(corner_weights), strict=True)
    return torch.stack([(_weighted_sums(*image) * weights).sum(1) for image in images])  # (B, N)


class GaussianReadoutFunction(torch.autograd.Function):
    """`gaussian_readout_reference`, with sums of rows in place of `grid_sample`.

    A position lies between four pixels, the corners k = 0..3, with bilinear weights c[n, k]. For
    one image, with g = dLoss/doutput, and a dot for the sum over channels:

        output[n]          = sum of c[n, k] * (features[pixel[n, k]] . weights[n])   over k
        dLoss/dweights[n]  = g[n] * sum of c[n, k] * features[pixel[n, k]]           over k
        dLoss/dx[n]        = g[n] * sum of dc[n, k]/dx * (features[pixel[n, k]] . weights[n])
        dLoss/dfeatures[p] = sum of g[n] * c[n, k] * weights[n]   over all n, k with pixel p

    The plain function copies what each neuron samples to a tensor (B, C, N). Here `embedding_bag`
    adds up rows, the C values of a pixel, where they lie, and one image at a time stays in the
    cache. For 32 images and 8,000 neurons, output and gradients take 50 ms instead of 115.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, grid: Tensor, weights: Tensor) -> Tensor:
        pixels, corner_weights, slopes_x, slopes_y = _bilinear_corners(grid, features.shape[2:])
        dots = _corner_dots(pixels, _pixel_rows(features), weights)  # (B, 4, N)
        slopes = [(slopes_x * dots).sum(1), (slopes_y * dots).sum(1)]
        ctx.save_for_backward(features, weights, pixels, corner_weights, torch.stack(slopes, -1))
        return (corner_weights * dots).sum(1)  # (B, N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        features, weights, pixels, corner_weights, slopes = ctx.saved_tensors
        rows, (h, w) = _pixel_rows(features), features.shape[2:]
        factors = gradients[0][:, None] * corner_weights  # (B, 4, N)
        to_rows, to_weights = torch.zeros_like(rows), torch.zeros_like(weights)
        corners = _by_neuron(pixels), _by_neuron(factors)
        for i in range(len(rows)):
            to_weights += _weighted_sums(corners[0][i], rows[i], corners[1][i])
            _add_rows_gradient(to_rows[i], pixels[i, 0], factors[i], weights, w)
        to_features = to_rows.unflatten(1, (h, w)).permute(0, 3, 1, 2)  # (B, C, h, w)
        return to_features, gradients[0][..., None] * slopes, to_weights


def _pixel_rows(features):
    """(B, C, h, w) as (B, h * w, C); no copy if channels are last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _by_neuron(corners):
    """(B, 4, N) as (B, N, 4): what belongs to a neuron lies together."""
    return corners.mT.contiguous()


def _weighted_sums(indices, rows, factors, starts=None):
    """Sums of factors times rows (R, C) for each line of indices (N, 4), or from start to start."""
    return embedding_bag(indices, rows, starts, mode="sum", per_sample_weights=factors)


def _corner_dots(pixels, rows, weights):
    """Weights (N, C) times rows (B, h * w, C) at pixels (B, 4, N): (B, 4, N).

    They are the slopes of a sum of rows along its factors, one sum for each neuron.
    """
    first = rows.shape[1] * torch.arange(len(rows), dtype=torch.int32)[:, None, None]
    sums = torch.arange(len(weights), dtype=torch.int32)
    indices, owners = (pixels + first).flatten(), sums.expand_as(pixels).flatten()
    slopes_of_sums = torch.ops.aten._embedding_bag_per_sample_weights_backward
    return slopes_of_sums(weights, rows.flatten(0, 1), indices, sums, owners, 0).view_as(pixels)


def _add_rows_gradient(total, first, factors, weights, width):
    """Add factors (4, N) times weights (N, C) of all neurons to their pixels' rows in `total`.

    total: (h * w, C). first: (N,) the first pixel of each neuron. Sorted by it, the neurons of a
    pixel, and of those on the right, below, and below on the right, are one stretch of the list.
    """
    small = first.numpy().astype(np.min_scalar_type(len(total)))  # short integers sort fastest
    order = torch.from_numpy(small.argsort(kind="stable"))
    counts = first.bincount(minlength=len(total))
    starts = counts.cumsum(0) - counts + len(order) * torch.arange(4)[:, None]  # (4, h * w)
    factors = factors.index_select(1, order).flatten()
    sums = _weighted_sums(order.repeat(4), weights, factors, starts.flatten()).unflatten(0, (4, -1))
    for step, sum_of_corner in zip((0, 1, width, width + 1), sums, strict=True):
        total[step:] += sum_of_corner[: len(total) - step]


def _bilinear_corners(grid, size):
    """The four pixels around every position, their bilinear weights, and the weights' slopes.

    grid: (B, N, 2) x, y in [-1, 1]; pixels beyond the edge count as 0, as in `grid_sample`.
    Returns four tensors (B, 4, N): pixels, weights, slopes along x and along y.
    """
    h, w = size
    x, weights_x, slopes_x = _bilinear_1d(grid[..., 0], w)
    y, weights_y, slopes_y = _bilinear_1d(grid[..., 1], h)
    steps = torch.tensor([[0], [1], [w], [w + 1]], dtype=torch.int32)
    along_x, along_y = _corner_products(weights_y, slopes_x), _corner_products(slopes_y, weights_x)
    pixels = (y * w + x).int()[:, None] + steps
    return pixels, _corner_products(weights_y, weights_x), along_x, along_y


def _corner_products(y, x):
    """Products of (top, bottom) and (left, right), both (B, 2, N), for the corners: (B, 4, N)."""
    return (y[:, :, None] * x[:, None]).flatten(1, 2)


def _bilinear_1d(position, size):
    """The pixel (B, N) before each position (B, N) in [-1, 1], or at the edge, as floats.

    Then the weights of it and the next, 1 - distance or 0, and their slopes, both (B, 2, N).
    """
    scale = (size - 1) / 2  # pixels per unit
    position = (position + 1) * scale
    first = position.floor().nan_to_num(0).clamp(0, size - 2)
    distance = torch.stack([position - first, position - first - 1], 1)  # (B, 2, N)
    weights = (1 - distance.abs()).clamp(min=0) + 0 * distance  # of nan and infinity nan
    side = 2 * distance.floor() + 1  # -1 before the pixel, 1 after it, larger beyond the next
    slopes = -scale * side * (2 - side.abs()).clamp(min=0)  # comparisons take ten times as long
    return first, weights, slopes
