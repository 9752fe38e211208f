"""The parts of the 2022 models: convolutional core, Gaussian readout, eye-position shifter.

Formulas from Willeke et al. (arXiv 2206.08666); the Gaussian readout from Lurz et al. (ICLR 2021).
"""

from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, embedding_bag, grid_sample


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
                     nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=False),
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


def read(features, grid, weights):
    """Features (B, C, h, w) at positions grid (B, N, 2), weighed by weights (N, C): (B, N)."""
    wide = weights.shape[0] >= 1000 and weights.shape[1] >= 32  # else the plain way is faster
    if wide and features.device.type == "cpu" and features.dtype == grid.dtype == weights.dtype:
        return _Read.apply(features, grid, weights)
    return read_plainly(features, grid, weights)


def read_plainly(features, grid, weights):
    """What `read` computes, in the two lines that define it."""
    seen = grid_sample(features, grid[:, :, None], align_corners=True)[..., 0]  # (B, C, N)
    return (seen * weights.T).sum(1)


class _Read(torch.autograd.Function):
    """`read_plainly`, twice as fast on a CPU: image by image, which stays in its cache.

    Sampling is a sum of four rows of features, weighed by nearness, and its gradient a sum of rows
    of the neurons that look at a pixel: `embedding_bag` does both on whole rows of C values.
    """

    @staticmethod
    def forward(ctx, features, grid, weights):
        ctx.save_for_backward(features, grid, weights)
        rows, pixels, near = _rows(features), *_corners(grid.detach(), features.shape[-2:])
        return torch.stack([
            (embedding_bag(pixels[i], rows[i], mode="sum", per_sample_weights=near[i])
             * weights).sum(1) for i in range(len(rows))])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # (B, N)
        features, grid, weights = ctx.saved_tensors
        with torch.enable_grad():
            grid = grid.detach().requires_grad_()
            rows, pixels, near = _rows(features), *_corners(grid, features.shape[-2:])
        to_rows, to_near = torch.empty_like(rows), torch.empty_like(near)
        to_weights = torch.zeros_like(weights)
        for i in range(len(rows)):
            to_seen = weights * gradient[i, :, None]  # (N, C)
            with torch.enable_grad():
                close = near[i].detach().requires_grad_()
                seen = embedding_bag(pixels[i], rows[i], mode="sum", per_sample_weights=close)
            to_near[i], = torch.autograd.grad(seen, close, to_seen)
            to_weights.addcmul_(seen.detach(), gradient[i, :, None])
            # the other way round: which neurons look at each pixel
            looked_at = pixels[i].flatten()  # (4 N,)
            small = np.int16 if rows.shape[1] < 2**15 else np.int32  # numpy sorts these fastest
            order = torch.from_numpy(looked_at.numpy().astype(small).argsort(kind="stable"))
            counts = looked_at.bincount(minlength=rows.shape[1])
            to_rows[i] = embedding_bag(order // 4, to_seen, counts.cumsum(0) - counts, mode="sum",
                                       per_sample_weights=close.detach().flatten()[order])
        to_grid, = torch.autograd.grad(near, grid, to_near)
        _, c, h, w = features.shape
        return to_rows.view(-1, h, w, c).permute(0, 3, 1, 2), to_grid, to_weights


def _rows(features):
    """(B, C, h, w) as (B, h * w, C); no copy if channels are last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _corners(grid, size):
    """The four pixels around every position, (B, N, 4), and how much each counts, (B, N, 4).

    grid: (B, N, 2) x, y in [-1, 1]; what lies beyond counts as zero, as in grid_sample.
    """
    h, w = size
    place = (grid + 1) * grid.new_tensor([(w - 1) / 2, (h - 1) / 2])  # in pixels
    low = place.floor()
    share = place - low
    x = torch.stack([low[..., 0], low[..., 0] + 1], -1)  # (B, N, 2)
    y = torch.stack([low[..., 1], low[..., 1] + 1], -1)
    near_x = torch.stack([1 - share[..., 0], share[..., 0]], -1) * ((x >= 0) & (x < w))
    near_y = torch.stack([1 - share[..., 1], share[..., 1]], -1) * ((y >= 0) & (y < h))
    pixels = (y.clamp(0, h - 1) * w)[..., None] + x.clamp(0, w - 1)[..., None, :]  # (B, N, 2, 2)
    near = near_y[..., None] * near_x[..., None, :]
    return pixels.flatten(-2).long(), near.flatten(-2)


class GaussianReadout(nn.Module):
    """Each neuron reads the features at one position and weighs them.

    The mean position is a smooth function of the neuron's place in cortex, so neighbours in cortex
    look at neighbouring places of the image. In training the position is drawn anew from a Gaussian
    around it, for every image, which lets the gradient feel the surroundings.
    Positions are x, y in [-1, 1]: from the centre of the first to that of the last feature pixel.

    coordinates: (N, 2 or 3) in micrometres, of which x and y are used.
    Forward: features (B, C, h, w), shift (B, 2) or None -> (B, N).
    """

    def __init__(self, coordinates, channels):
        super().__init__()
        place = torch.from_numpy(np.asarray(coordinates)[:, :2].astype(np.float32))  # (N, 2)
        place = place - place.mean(0)
        self.register_buffer("cortex", place / place.abs().max().clamp(min=1e-6))
        neurons = len(place)
        self.retinotopy = nn.Sequential(nn.Linear(2, 30), nn.ELU(), nn.Linear(30, 2), nn.Tanh())
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
        return read(features, grid, self.features) + self.bias  # (B, N)

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
        return self.mlp(pupil_center)
