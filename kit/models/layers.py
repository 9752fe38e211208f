"""The parts of the 2022 models."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, elu

from kit.models.cpu import _Depthwise, gaussian_readout


@contextmanager
def full_precision(device):
    """Switch autocast off on a device for the length of a block."""
    if torch.amp.autocast_mode.is_autocast_available(device.type):
        with torch.autocast(device.type, enabled=False):
            yield
    else:
        yield


@contextmanager
def eval_mode(module):
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

    def regularizer(self):
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
        self.register_buffer("cortical_positions", place / place.abs().max().clamp(min=1e-6))
        neurons = len(place)
        self.position_mlp = nn.Sequential(nn.Linear(2, 30), nn.ELU(), nn.Linear(30, 2), nn.Tanh())
        with torch.no_grad():  # all begin near the centre: a map begun askew can trap a training
            for value in self.position_mlp[2].parameters():
                value.mul_(0.1)
        self.sigma = nn.Parameter(torch.empty(neurons, 2, 2).uniform_(-0.1, 0.1))
        self.feature_weights = nn.Parameter(torch.full((neurons, channels), 1 / channels))
        self.bias = nn.Parameter(torch.zeros(neurons))

    @torch.no_grad()
    def init_bias_from_mean(self, mean_responses):
        """Set the biases so that elu(bias) + 1 is each neuron's mean response (N,), in its std.

        Without it training first spends epochs on the means, and ends lower.
        """
        low = torch.log(mean_responses.clamp(0.05, 1))  # the inverse of elu + 1 below 1
        self.bias.copy_(torch.where(mean_responses < 1, low, mean_responses - 1))

    def means(self):
        """Mean position of every neuron, before any shift. Returns (N, 2)."""
        with full_precision(self.cortical_positions.device):
            return self.position_mlp(self.cortical_positions)

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
        return gaussian_readout(features.to(grid.dtype), grid, self.feature_weights) + self.bias  # (B, N)

    def regularizer(self):
        """Sum of the absolute feature weights, a scalar: most neurons need few features."""
        return 0.0076 * self.feature_weights.abs().sum()


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


class MinMaxScaler(nn.Module):
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
