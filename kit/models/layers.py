"""The parts of the 2022 models: core, readout, shifter, gain (Willeke et al., arXiv 2206.08666)."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, elu

from kit.checks import require, require_int
from kit.models.cpu import depthwise, gaussian_readout, image_convolution


def full_precision(device: torch.device) -> AbstractContextManager:
    """A context in which autocast is off on this device."""
    if torch.amp.autocast_mode.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@contextmanager
def eval_mode(module: nn.Module) -> Generator[None]:
    """Put a module in eval mode within the block, then each of its parts back in its own mode."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


class ConvCore(nn.Module):
    """Images to features shared by all neurons: a 9x9 layer, then depth-separable 7x7 layers.

        features = ELU(batch_norm(convolution(features)))      in each layer

    (B, in_channels, H, W) -> (B, channels, H - 8, W - 8). Without ELU, `nonlinear=False`, the core
    is linear: the LN model of 2022.
    """

    def __init__(
        self, channels: int = 64, in_channels: int = 1, layers: int = 4, nonlinear: bool = True
    ) -> None:
        super().__init__()
        self.settings = {
            "channels": require_int("channels", channels, 1, 1024),
            "in_channels": require_int("in_channels", in_channels, 1, 1024),
            "layers": require_int("layers", layers, 1, 64),
            "nonlinear": require("nonlinear", nonlinear, bool),
        }  # enough to build the same core again
        kind = "CNN" if nonlinear else "linear-nonlinear (LN) model"
        self.label = f"{kind} of {layers} convolutional layers"  # for the repr of a Model
        self.layers = nn.ModuleList()
        for i in range(layers):
            if i == 0:
                layer = nn.Sequential(ImageConv(in_channels, channels, 9))
            else:
                layer = separable(channels, channels)
            layer.append(BatchNorm(channels))
            if nonlinear:
                layer.append(nn.ELU(inplace=True))
            self.layers.append(layer)
        init_filters(self)

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for layer in self.layers:
            features = layer(features)
        return features  # (B, channels, H - 8, W - 8), as after every layer

    def regularizer(self) -> Tensor:
        """`roughness` of the first layer's filters."""
        return roughness(self.get_parameter("layers.0.0.weight"))


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of features with channels last in memory, and of gradients brought to that order.

    Convolutions are twice as fast in that order. Where features and gradients lie in different
    ones, the gradient of batch norm takes ten times as long on a CPU. Momentum is .9 as in 2022:
    the last batch nearly decides the running statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.9)

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(channels_last(input))
        if output.requires_grad:
            output.register_hook(channels_last)
        return output


def channels_last(values: Tensor) -> Tensor:
    """The same values, the channels of a pixel beside each other in memory."""
    return values.contiguous(memory_format=torch.channels_last)


def init_filters(core: nn.Module) -> None:
    """Draw all filters of a core again, by Xavier's normal distribution."""
    for value in core.parameters():
        if value.ndim == 4:
            nn.init.xavier_normal_(value)


def roughness(filters: Tensor) -> Tensor:
    """6.3831 * sum(laplace(f)^2) / sum(f^2), as in 2022, of filters (C, in_channels, h, w)."""
    filters = filters.flatten(0, 1).unsqueeze(1)  # (C * in_channels, 1, h, w)
    laplace = filters.new_tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    rough = conv2d(filters, laplace[None, None], padding=1)
    return 6.3831 * rough.pow(2).sum() / filters.pow(2).sum()


def separable(in_channels: int, channels: int) -> nn.Sequential:
    """A depth-separable 7x7 convolution: mix channels, convolve each by itself, mix again."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, bias=False),
        DepthwiseConv(channels),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


class ImageConv(nn.Conv2d):
    """The first layer, filters of size x size: (B, in_channels, H, W) -> (B, channels, h, w)."""

    def __init__(self, in_channels: int, channels: int, size: int) -> None:
        super().__init__(in_channels, channels, size, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return image_convolution(input, self.weight)


class DepthwiseConv(nn.Conv2d):
    """A 7x7 convolution of each channel with its own filter: (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 7, padding=3, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return depthwise(input, self.weight)


def cortical_positions(coordinates: np.ndarray) -> Tensor:
    """Coordinates (N, 2 or 3) as x and y (N, 2) from the middle, the largest of them 1 or -1."""
    cortical = torch.from_numpy(np.asarray(coordinates)[:, :2].astype(np.float32))
    cortical = cortical - cortical.mean(0)
    return cortical / cortical.abs().max().clamp(min=1e-6)


def position_mlp() -> nn.Sequential:
    """The network from a position in cortex to one in the image: (N, 2) -> (N, 2) in [-1, 1]."""
    mlp = nn.Sequential(nn.Linear(2, 30), nn.ELU(), nn.Linear(30, 2), nn.Tanh())
    for value in mlp[2].parameters():
        value.data.mul_(0.1)  # start near the centre: training may not mend a map far off
    return mlp


class GaussianReadout(nn.Module):
    """Each neuron n reads the features at one position and weighs them (Lurz et al. 2021).

        mean[n]     = tanh(MLP(cortical position of n))          smooth: neighbours look nearby
        position[n] = clamp(mean[n] + sigma[n] @ noise) + shift  noise in training alone
        output[n]   = features(position[n]) . feature_weights[n] + bias[n]

    Noise for every image gives the position a gradient from its surroundings. Positions are x, y:
    -1 and 1 are the centres of the first and the last feature pixel; beyond, features are 0. They
    stay in float32 under autocast, because bfloat16 has steps of .004.

    coordinates: (N, 2 or 3) in micrometres. If all neurons have the same, because theirs are not
    known, each learns its own mean instead: mean[n] = tanh(free_positions[n]).
    Forward: features (B, C, h, w), shift (B, 2) -> (B, N).
    """

    cortical_positions: Tensor
    position_mlp: Any  # an nn.Sequential, or None
    free_positions: Any  # an nn.Parameter (N, 2), or None

    def __init__(self, coordinates: np.ndarray, channels: int) -> None:
        super().__init__()
        self.register_buffer("cortical_positions", cortical_positions(coordinates))
        neurons = len(self.cortical_positions)
        self.position_mlp = self.free_positions = None
        if neurons > 1 and not self.cortical_positions.any():
            self.free_positions = nn.Parameter(torch.zeros(neurons, 2))
        else:
            self.position_mlp = position_mlp()
        self.sigma = nn.Parameter(torch.empty(neurons, 2, 2).uniform_(-0.1, 0.1))
        self.feature_weights = nn.Parameter(torch.full((neurons, channels), 1 / channels))
        self.bias = nn.Parameter(torch.zeros(neurons))

    @torch.no_grad()
    def init_bias_from_mean(self, mean_responses: Tensor) -> None:
        """Set elu(bias) + 1 to mean responses (N,), at least .05; otherwise the score is lower."""
        low = torch.log(mean_responses.clamp(0.05, 1))  # the inverse of elu + 1 below 1
        self.bias.copy_(torch.where(mean_responses < 1, low, mean_responses - 1))

    def means(self) -> Tensor:
        """Mean position of each neuron, without shift: (N, 2)."""
        if self.free_positions is not None:
            return self.free_positions.tanh()
        with full_precision(self.cortical_positions.device):
            return self.position_mlp(self.cortical_positions)

    def positions(self, batch_size: int) -> Tensor:
        """Position of each neuron in each image, random in training: (B, N, 2)."""
        positions = self.means().expand(batch_size, -1, -1)  # (B, N, 2)
        if self.training:
            noise = torch.randn_like(positions).movedim(-1, 0).contiguous()  # (2, B, N)
            scattered = (self.sigma.movedim(0, -1)[:, :, None] * noise).sum(1)  # sigma @ noise
            positions = positions + scattered.movedim(0, -1)
        return positions.clamp(-1, 1)

    def forward(self, features: Tensor, shift: Tensor | None = None) -> Tensor:
        grid = self.positions(len(features))  # (B, N, 2)
        if shift is not None:
            grid = grid + shift[:, None]
        features = features.to(grid.dtype)
        return gaussian_readout(features, grid, self.feature_weights) + self.bias  # (B, N)

    def regularizer(self) -> Tensor:
        """0.0076 * sum(|feature_weights|), the weight of 2022: most neurons need few features."""
        return 0.0076 * self.feature_weights.abs().sum()


class Shifter(nn.Module):
    """One shift of all positions from the position of the eye: (B, 2) -> (B, 2) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2), nn.Tanh()
        )

    def forward(self, pupil_center: Tensor) -> Tensor:
        with full_precision(pupil_center.device):
            return self.mlp(pupil_center)


class Gain(nn.Module):
    """A factor for each neuron's prediction, elu(MLP) + 1, at first 1: (B, K) -> (B, N).

    columns: K, of behaviour.
    """

    def __init__(self, neurons: int, columns: int = 3) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(columns, 10), nn.Tanh(), nn.Linear(10, neurons))
        for value in self.mlp[2].parameters():
            nn.init.zeros_(value)

    def forward(self, behavior: Tensor) -> Tensor:
        return elu(self.mlp(behavior)) + 1


class MinMaxScaler(nn.Module):
    """Scale each column of behaviour: the range that `fit` saw becomes 0 to 1. (B, K) -> (B, K)."""

    low: Tensor
    span: Tensor

    def __init__(self, columns: int = 3) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(columns))
        self.register_buffer("span", torch.ones(columns))

    def fit(self, behavior: np.ndarray) -> None:
        """Take the range of behavior (T, K). A value that never varies becomes 0."""
        low, high = torch.from_numpy(behavior).aminmax(dim=0)
        self.low.copy_(low)
        self.span.copy_(torch.where(high > low, high - low, 1))

    def forward(self, behavior: Tensor) -> Tensor:
        return (behavior - self.low) / self.span
