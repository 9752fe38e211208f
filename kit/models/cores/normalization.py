"""A core with divisive normalisation (Heeger 1992; Burg et al. 2021), then convolutional layers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from kit.checks import require, require_int
from kit.models.layers import (
    BatchNorm,
    ImageConv,
    channels_last,
    init_filters,
    roughness,
    separable,
)

SIDE = 13  # of the first layer's filters, in pixels
WIDTHS = (4.0, 7.0, 11.0)  # std of the Gaussian windows that measure contrast, in pixels


class NormalizationCore(nn.Module):
    """Images to features: squared filters, divided by the contrast around them, and what follows.

        squared[c] = sign(filter[c] * image) (filter[c] * image)^2
        divided[c] = squared[c] / (constant[c] + sum over k of share[c, k] * contrast[k])
        halves     = batch_norm(relu(divided), relu(-divided))
        features   = halves, and what `layers` depth-separable 7x7 layers make of them

    contrast[k] is the local variance of the pixels in a Gaussian window. Each filter learns its own
    mixture of windows, so what lies beyond the filter can suppress it. In training each feature is
    left out of a share `dropout` of the images.
    (B, in_channels, H, W) -> (B, 3 * channels, H - 12, W - 12); the first input is the image.
    """

    def __init__(
        self, channels: int = 32, in_channels: int = 1, layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.settings = {
            "channels": require_int("channels", channels, 1, 1024),
            "in_channels": require_int("in_channels", in_channels, 1, 1024),
            "layers": require_int("layers", layers, 1, 64),
            "dropout": require("dropout", dropout, float, (0, 0.9)),
        }
        self.label = f"divisive normalisation, then {layers} convolutional layers"
        self.filters = ImageConv(in_channels, channels, SIDE)
        self.log_constant = nn.Parameter(torch.full((channels,), -2.0))
        self.window_logits = nn.Parameter(torch.zeros(channels, len(WIDTHS)))
        self.norm = nn.Sequential(BatchNorm(2 * channels), nn.Dropout2d(dropout))
        self.layers = nn.Sequential()
        for i in range(layers):
            layer = separable(channels if i else 2 * channels, channels)
            layer.extend([BatchNorm(channels), nn.ELU(inplace=True), nn.Dropout2d(dropout)])
            self.layers.append(layer)
        init_filters(self)

    def forward(self, images: Tensor) -> Tensor:
        filtered = self.filters(images)
        shares = self.window_logits.softmax(1)[:, :, None, None]  # (channels, windows, 1, 1)
        pool = conv2d(local_variance(images[:, :1]), shares, self.log_constant.exp())
        divided = filtered * filtered.abs() / pool
        halves = self.norm(torch.cat([divided, -divided], 1).relu())
        return torch.cat([halves, self.layers(halves)], 1)

    def regularizer(self) -> Tensor:
        """Roughness of the filters, as of a `ConvCore`."""
        return roughness(self.filters.weight)


def local_variance(images: Tensor) -> Tensor:
    """Variance of images (B, 1, H, W) in each window: (B, windows, H - 12, W - 12)."""
    rows, columns = (_windows(size, images) for size in images.shape[2:])
    mean, square = (rows @ values @ columns.mT for values in (images, images**2))
    return channels_last((square - mean**2).clamp(min=0))


def _windows(size, like):
    """Gaussian windows around each place but the edge's: (windows, size - 12, size), rows of sum 1.

    At an edge a window is what of it lies within the image.
    """
    at = torch.arange(size).to(like)
    distance = at[SIDE // 2 : size - SIDE // 2, None] - at
    widths = torch.tensor(WIDTHS).to(like)[:, None, None]
    windows = torch.exp(-(distance**2) / (2 * widths**2))
    return windows / windows.sum(2, keepdim=True)
