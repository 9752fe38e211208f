"""The parts of the 2022 models: convolutional core, Gaussian readout, eye-position shifter.

Formulas from Willeke et al. (arXiv 2206.08666); the Gaussian readout from Lurz et al. (ICLR 2021).
"""

from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, elu, embedding_bag, grid_sample, pad
from torch.nn.grad import conv2d_weight


@contextmanager
def full_precision(device):
    """Switch autocast off on a device for the length of a block."""
    if torch.amp.autocast_mode.is_autocast_available(device.type):
        with torch.autocast(device.type, enabled=False):
            yield
    else:
        yield


@contextmanager
def evaluating(module):
    """A module in eval mode for the length of a block; every part is left as it was found."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield module
    finally:
        for part, mode in modes.items():
            part.training = mode


class ConvCore(nn.Module):
    """Images to features shared by all neurons: a 9x9 layer, then depth-separable 7x7 layers.

    (B, in_channels, H, W) -> (B, channels, H - 8, W - 8). With `nonlinear=False` there is no ELU
    between the layers and the core is linear: the LN model of 2022.
    """

    def __init__(self, channels=64, in_channels=1, layers=4, nonlinear=True):
        super().__init__()
        self.settings = {"channels": channels, "in_channels": in_channels, "layers": layers,
                         "nonlinear": nonlinear}  # enough to build the same core again
        self.layers = nn.ModuleList()
        for i in range(layers):
            conv = ([nn.Conv2d(in_channels, channels, 9, bias=False)] if i == 0 else
                    [nn.Conv2d(channels, channels, 1, bias=False),
                     Depthwise(channels),
                     nn.Conv2d(channels, channels, 1, bias=False)])
            # momentum .9 as in 2022: the running statistics are nearly those of the last batch
            norm = nn.BatchNorm2d(channels, momentum=0.9)
            self.layers.append(nn.Sequential(*conv, norm, *[nn.ELU(inplace=True)] * nonlinear))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)

    def forward(self, images):
        features = images
        for layer in self.layers:  # channels last in memory: convolutions are twice as fast
            features = layer(features.contiguous(memory_format=torch.channels_last))
        return features  # (B, channels, H - 8, W - 8), as after every layer

    def penalty(self):
        """Roughness of the first layer's filters, a scalar: keeps them smooth."""
        filters = self.layers[0][0].weight  # (channels, in_channels, 9, 9)
        filters = filters.flatten(0, 1).unsqueeze(1)  # (channels * in_channels, 1, 9, 9)
        laplace = filters.new_tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
        rough = conv2d(filters, laplace[None, None], padding=1)
        return 6.3831 * rough.pow(2).sum() / filters.pow(2).sum()


class Depthwise(nn.Conv2d):
    """A 7x7 convolution of every channel by itself: (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, channels):
        super().__init__(channels, channels, 7, padding=3, groups=channels, bias=False)

    def forward(self, features):
        if features.device.type == "cpu" and features.dtype == self.weight.dtype:
            return _Depthwise.apply(features, self.weight)
        return super().forward(features)


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


def read(features, grid, weights):
    """Features (B, C, h, w) at positions grid (B, N, 2), weighed by weights (N, C): (B, N)."""
    wide = weights.shape[0] >= 1000 and weights.shape[1] >= 32  # else the plain way is faster
    if (not wide or features.device.type != "cpu" or min(features.shape[2:]) < 2
            or not features.dtype == grid.dtype == weights.dtype):
        return read_plainly(features, grid, weights)
    if torch.is_grad_enabled():
        return _Read.apply(features, grid, weights)
    pixels, near, *_ = _corners(grid, features.shape[2:])
    return torch.stack([(_sums(*image) * weights).sum(1)
                        for image in zip(pixels, _rows(features), near, strict=True)])


def read_plainly(features, grid, weights):
    """What `read` computes, in the two lines that define it."""
    seen = grid_sample(features, grid[:, :, None], align_corners=True)[..., 0]  # (B, C, N)
    return (seen * weights.T).sum(1)


class _Read(torch.autograd.Function):
    """`read_plainly`, three times as fast on a CPU: image by image, which stays in its cache.

    What a neuron sees is a sum of four pixels' features; the gradient of a pixel is a sum over the
    neurons that look at it. `embedding_bag` adds up such rows of C values without copying them.
    """

    @staticmethod
    def forward(ctx, features, grid, weights):
        rows, (pixels, near, *slopes) = _rows(features), _corners(grid, features.shape[2:])
        dots = torch.empty_like(near)  # (B, N, 4): a corner's features times the neuron's weights
        for i in range(len(rows)):
            with torch.enable_grad():  # by them the sum changes as the corner's share does
                share = near[i].detach().requires_grad_()
                # torch 2.4 differentiates by the share only where it may by the rows, too
                seen = _sums(pixels[i], rows[i].detach().requires_grad_(), share)  # (N, C)
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
            to_weights += _sums(pixels[i], rows[i], near[i])
            # the other way round: who looks at a pixel, as the first of four, the second, ...
            first = pixels[i, :, 0]
            order = torch.from_numpy(first.numpy().astype(small).argsort(kind="stable")).int()
            counts = first.bincount(minlength=h * w)
            starts = (counts.cumsum(0) - counts).int()
            for step, share in zip((0, 1, w, w + 1), near[i, order].T.contiguous(), strict=True):
                to_rows[i, step:] += _sums(order, weights, share, starts)[:h * w - step]
        return to_rows.view(-1, h, w, c).permute(0, 3, 1, 2), moved * gradient, to_weights


def _rows(features):
    """(B, C, h, w) as (B, h * w, C); no copy if channels are last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _sums(which, rows, shares, starts=None):
    """Weighed sums of rows (R, C): of each line of `which`, or from each start to the next."""
    return embedding_bag(which, rows, starts, mode="sum", per_sample_weights=shares)


def _corners(grid, size):
    """The four pixels around every position, how much each counts, and its slopes along x and y.

    grid: (B, N, 2) x, y in [-1, 1]; what lies beyond counts as zero, as in grid_sample.
    Returns four tensors (B, N, 4).
    """
    x, near_x, slope_x = _beside(grid[..., 0], size[1])
    y, near_y, slope_y = _beside(grid[..., 1], size[0])
    steps = torch.tensor([0, 1, size[1], size[1] + 1], dtype=torch.int32)
    pixels = (y * size[1] + x).int()[..., None] + steps
    return pixels, *(torch.stack([v * u for v in down for u in across], -1) for down, across in
                     ((near_y, near_x), (near_y, slope_x), (slope_y, near_x)))


def _beside(place, size):
    """The pixel before a place, how much it and the next one count, and the slopes of both."""
    place = (place + 1) * ((size - 1) / 2)  # in pixels
    first = place.floor().nan_to_num(0).clamp(0, size - 2)  # a training that fails says so itself
    ahead = (place - first, place - first - 1)
    inside = [(far >= -1) & (far < 1) for far in ahead]
    near = [(1 - far.abs()) * close for far, close in zip(ahead, inside, strict=True)]
    slope = [((far < 0) * (size - 1.0) - (size - 1) / 2) * close
             for far, close in zip(ahead, inside, strict=True)]
    return first, near, slope


class GaussianReadout(nn.Module):
    """Each neuron reads the features at one position and weighs them.

    The mean position is a smooth function of the neuron's place in cortex, so neighbours in cortex
    look at neighbouring places of the image. In training the position is drawn anew from a Gaussian
    around it, for every image, which lets the gradient feel the surroundings.
    Positions are x, y in [-1, 1]: from the centre of the first to that of the last feature pixel.

    coordinates: (N, 2 or 3) in micrometres, of which x and y are used.
    Forward: features (B, C, h, w), shift (B, 2) or None -> (B, N). Positions are drawn and read in
    the precision of the parameters, float32, whatever autocast is on: bfloat16 has steps of .004.
    """

    def __init__(self, coordinates, channels):
        super().__init__()
        place = torch.from_numpy(np.asarray(coordinates)[:, :2].astype(np.float32))  # (N, 2)
        place = place - place.mean(0)
        self.register_buffer("cortex", place / place.abs().max().clamp(min=1e-6))
        neurons = len(place)
        self.retinotopy = nn.Sequential(nn.Linear(2, 30), nn.ELU(), nn.Linear(30, 2), nn.Tanh())
        with torch.no_grad():  # all begin near the centre: a map begun askew can trap a training
            for value in self.retinotopy[2].parameters():
                value.mul_(0.1)
        self.sigma = nn.Parameter(torch.empty(neurons, 2, 2).uniform_(-0.1, 0.1))
        self.features = nn.Parameter(torch.full((neurons, channels), 1 / channels))
        self.bias = nn.Parameter(torch.zeros(neurons))

    @torch.no_grad()
    def start_from(self, mean_responses):
        """Set the biases so that elu(bias) + 1 is each neuron's mean response (N,), in its std.

        Without it training first spends epochs on the means, and ends lower.
        """
        low = torch.log(mean_responses.clamp(0.05, 1))  # the inverse of elu + 1 below 1
        self.bias.copy_(torch.where(mean_responses < 1, low, mean_responses - 1))

    def means(self):
        """Mean position of every neuron, before any shift. Returns (N, 2)."""
        with full_precision(self.cortex.device):
            return self.retinotopy(self.cortex)

    def positions(self, batch):
        """Where every neuron looks in each image: drawn in training, else the mean. (B, N, 2)."""
        means = self.means().expand(batch, -1, -1)  # (B, N, 2)
        if self.training:
            noise = torch.randn_like(means)
            means = means + (self.sigma * noise[:, :, None]).sum(-1)  # sigma @ noise: (B, N, 2)
        return means.clamp(-1, 1)

    def forward(self, features, shift=None):
        grid = self.positions(len(features))  # (B, N, 2)
        if shift is not None:
            grid = grid + shift[:, None]
        return read(features.to(grid.dtype), grid, self.features) + self.bias  # (B, N)

    def penalty(self):
        """Sum of the absolute feature weights, a scalar: most neurons need few features."""
        return 0.0076 * self.features.abs().sum()


class Shifter(nn.Module):
    """Eye position to a common shift of all readout positions: (B, 2) -> (B, 2) in [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(),
                                 nn.Linear(5, 2), nn.Tanh())

    def forward(self, pupil_center: Tensor) -> Tensor:
        with full_precision(pupil_center.device):
            return self.mlp(pupil_center)


class Gain(nn.Module):
    """Behaviour to a factor on each neuron's prediction: (B, 3) -> (B, N), never negative.

    Starts as 1 for all, so that a model with it begins as the one without.
    """

    def __init__(self, neurons):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, neurons))
        nn.init.zeros_(self.mlp[2].weight)
        nn.init.zeros_(self.mlp[2].bias)

    def forward(self, behavior: Tensor) -> Tensor:
        return elu(self.mlp(behavior)) + 1


class UnitRange(nn.Module):
    """Scales each of three values so that 0 and 1 are the ends of the range it was fitted to."""

    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.zeros(3))
        self.register_buffer("span", torch.ones(3))

    def fit(self, behavior):
        """behavior: array (T, 3)."""
        low, high = torch.from_numpy(behavior.min(0)), torch.from_numpy(behavior.max(0))
        self.low.copy_(low)
        self.span.copy_(torch.where(high > low, high - low, 1))

    def forward(self, behavior: Tensor) -> Tensor:
        return (behavior - self.low) / self.span  # (B, 3)
