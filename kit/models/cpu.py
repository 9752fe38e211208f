"""Fast CPU kernels."""

import ctypes
from contextlib import contextmanager

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, embedding_bag, grid_sample, pad
from torch.nn.grad import conv2d_weight


class _Depthwise(torch.autograd.Function):
    """The same, with the gradient of the weights in three parts, three columns each.

    On a CPU only kernels of up to three columns have a fast gradient: 25 ms instead of 100.
    """

    @staticmethod
    def forward(ctx, features, weight):
        ctx.save_for_backward(features, weight)
        return conv2d(features, weight, padding=3, groups=len(weight))

    @staticmethod
    def backward(ctx, gradient):
        features, weight = ctx.saved_tensors
        to_features = to_weight = None
        if ctx.needs_input_grad[0]:
            to_features = conv2d(gradient, weight.flip(2, 3), padding=3, groups=len(weight))
        if ctx.needs_input_grad[1]:
            left, middle, right = (
                conv2d_weight(pad(features, (-step, step)) if step else features,
                              (len(weight), 1, 7, 3), gradient, padding=(3, 1), groups=len(weight))
                for step in (-2, 0, 2))
            # moving the features loses the edge that the inner columns need
            to_weight = torch.cat([left[..., :2], middle, right[..., 1:]], -1)  # (C, 1, 7, 7)
        return to_features, to_weight


def gaussian_readout(features, grid, weights):
    """Features (B, C, h, w) at positions grid (B, N, 2), weighed by weights (N, C): (B, N)."""
    wide = weights.shape[0] >= 1000 and weights.shape[1] >= 32  # else the plain way is faster
    if (not wide or features.device.type != "cpu" or min(features.shape[2:]) < 2
            or not features.dtype == grid.dtype == weights.dtype):
        return gaussian_readout_reference(features, grid, weights)
    if torch.is_grad_enabled():
        return _GaussianReadout.apply(features, grid, weights)
    pixels, near, *_ = bilinear_corners(grid, features.shape[2:])
    return torch.stack([(weighted_sums(*image) * weights).sum(1)
                        for image in zip(pixels, _rows(features), near, strict=True)])


def gaussian_readout_reference(features, grid, weights):
    """What `gaussian_readout` computes, in the two lines that define it."""
    seen = grid_sample(features, grid[:, :, None], align_corners=True)[..., 0]  # (B, C, N)
    return (seen * weights.T).sum(1)


class _GaussianReadout(torch.autograd.Function):
    """`gaussian_readout_reference`, three times as fast on a CPU: image by image, which stays in its cache.

    What a neuron sees is a sum of four pixels' features; the gradient of a pixel is a sum over the
    neurons that look at it. `embedding_bag` adds up such rows of C values without copying them.
    """

    @staticmethod
    def forward(ctx, features, grid, weights):
        rows, (pixels, near, *slopes) = _rows(features), bilinear_corners(grid, features.shape[2:])
        dots = torch.empty_like(near)  # (B, N, 4): a corner's features times the neuron's weights
        for i in range(len(rows)):
            with torch.enable_grad():  # by them the sum changes as the corner's share does
                share = near[i].detach().requires_grad_()
                # torch 2.4 differentiates by the share only where it may by the rows, too
                seen = weighted_sums(pixels[i], rows[i].detach().requires_grad_(), share)  # (N, C)
            dots[i], = torch.autograd.grad(seen, share, weights)
        moved = torch.stack([(slope * dots).sum(-1) for slope in slopes], -1)  # (B, N, 2)
        ctx.save_for_backward(features, weights, pixels, near, moved)
        return (near * dots).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # (B, N)
        features, weights, pixels, near, moved = ctx.saved_tensors
        _, c, h, w = features.shape
        rows, near, gradient = _rows(features), near * gradient[..., None], gradient[..., None]
        to_rows, to_weights = torch.zeros_like(rows), torch.zeros_like(weights)
        small = np.int16 if h * w < 2**15 else np.int32  # numpy sorts these fastest
        for i in range(len(rows)):
            to_weights += weighted_sums(pixels[i], rows[i], near[i])
            # the other way round: who looks at a pixel, as the first of four, the second, ...
            first = pixels[i, :, 0]
            order = torch.from_numpy(first.numpy().astype(small).argsort(kind="stable")).int()
            counts = first.bincount(minlength=h * w)
            starts = (counts.cumsum(0) - counts).int()
            for step, share in zip((0, 1, w, w + 1), near[i, order].T.contiguous(), strict=True):
                to_rows[i, step:] += weighted_sums(order, weights, share, starts)[:h * w - step]
        return to_rows.view(-1, h, w, c).permute(0, 3, 1, 2), moved * gradient, to_weights


def _rows(features):
    """(B, C, h, w) as (B, h * w, C); no copy if channels are last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def weighted_sums(which, rows, shares, starts=None):
    """Weighed sums of rows (R, C): of each line of `which`, or from each start to the next."""
    return embedding_bag(which, rows, starts, mode="sum", per_sample_weights=shares)


def bilinear_corners(grid, size):
    """The four pixels around every position, how much each counts, and its slopes along x and y.

    grid: (B, N, 2) x, y in [-1, 1]; what lies beyond counts as zero, as in grid_sample.
    Returns four tensors (B, N, 4).
    """
    x, near_x, slope_x = bilinear_1d(grid[..., 0], size[1])
    y, near_y, slope_y = bilinear_1d(grid[..., 1], size[0])
    steps = torch.tensor([0, 1, size[1], size[1] + 1], dtype=torch.int32)
    pixels = (y * size[1] + x).int()[..., None] + steps
    return pixels, *(torch.stack([v * u for v in down for u in across], -1) for down, across in
                     ((near_y, near_x), (near_y, slope_x), (slope_y, near_x)))


def bilinear_1d(place, size):
    """The pixel before a place, how much it and the next one count, and the slopes of both."""
    place = (place + 1) * ((size - 1) / 2)  # in pixels
    first = place.floor().nan_to_num(0).clamp(0, size - 2)  # a training that fails says so itself
    ahead = (place - first, place - first - 1)
    inside = [(far >= -1) & (far < 1) for far in ahead]
    near = [(1 - far.abs()) * close for far, close in zip(ahead, inside, strict=True)]
    slope = [((far < 0) * (size - 1.0) - (size - 1) / 2) * close
             for far, close in zip(ahead, inside, strict=True)]
    return first, near, slope


@contextmanager
def reuse_freed_memory():
    """Let the C library of Linux keep freed memory for the next step; at the end give it back.

    Otherwise every large array is fetched from the system anew, page by page: a third of a step.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        change, trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):  # another system
        yield
        return
    for which in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
        change(which, 2**30)
    try:
        yield
    finally:
        for which in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            change(which, 2**17)  # what both are at first
        trim(0)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
