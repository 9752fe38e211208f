"""A core with divisive normalisation (Heeger 1992; Burg et al. 2021), then convolutional layers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from kit.checks import require_int
from kit.models.layers import init_filters, roughness, separable

SIDE = 13  # of the first layer's filters, in pixels
WIDTHS = (4.0, 7.0, 11.0)  # std of the Gaussian windows that measure contrast, in pixels


class NormalizationCore(nn.Module):
    """Images to features: squared filters, divided by the contrast around them, and what follows.

        squared[c] = sign(filter[c] * image) (filter[c] * image)^2
        divided[c] = squared[c] / (constant[c] + sum over k of share[c, k] * contrast[k])
        halves     = batch_norm(relu(divided), relu(-divided))
        features   = halves, and what `layers` depth-separable 7x7 layers make of them

    contrast[k] is the local variance of the pixels in a Gaussian window. Each filter learns its own
    mixture of windows, so what lies beyond the filter can suppress it.
    (B, in_channels, H, W) -> (B, 3 * channels, H - 12, W - 12); the first input is the image.
    """

    windows: Tensor

    def __init__(self, channels: int = 32, in_channels: int = 1, layers: int = 2) -> None:
        super().__init__()
        self.settings = {
            "channels": require_int("channels", channels, 1, 1024),
            "in_channels": require_int("in_channels", in_channels, 1, 1024),
            "layers": require_int("layers", layers, 1, 64),
        }
        self.label = f"divisive normalisation, then {layers} convolutional layers"
        self.filters = nn.Conv2d(in_channels, channels, SIDE, bias=False)
        self.log_constant = nn.Parameter(torch.full((channels,), -2.0))
        self.window_logits = nn.Parameter(torch.zeros(channels, len(WIDTHS)))
        self.register_buffer("windows", _gaussians())
        self.norm = nn.BatchNorm2d(2 * channels, momentum=0.9)
        self.layers = nn.Sequential()
        for i in range(layers):
            self.layers.extend(separable(channels if i else 2 * channels, channels))
            self.layers.append(nn.BatchNorm2d(channels, momentum=0.9))
            self.layers.append(nn.ELU(inplace=True))
        init_filters(self)

    def forward(self, images: Tensor) -> Tensor:
        filtered = self.filters(images).contiguous(memory_format=torch.channels_last)
        shares = self.window_logits.softmax(1)[:, :, None, None]  # (channels, windows, 1, 1)
        pool = conv2d(self.contrast(images[:, :1]), shares, self.log_constant.exp())
        divided = filtered * filtered.abs() / pool
        halves = self.norm(torch.cat([divided, -divided], 1).relu())
        return torch.cat([halves, self.layers(halves)], 1)

    def contrast(self, images: Tensor) -> Tensor:
        """Local variance of images (B, 1, H, W) in each window: (B, windows, H - 12, W - 12)."""
        inside = self._blur(torch.ones_like(images[:1]))  # the share of a window within the image
        mean, square = (self._blur(values) / inside for values in (images, images**2))
        edge = SIDE // 2
        variance = (square - mean**2).clamp(min=0)[:, :, edge:-edge, edge:-edge]
        return variance.contiguous(memory_format=torch.channels_last)

    def _blur(self, images):
        """Images (B, 1, H, W) through each window, with 0 around them: (B, windows, H, W)."""
        count, size = self.windows.shape
        columns = conv2d(images, self.windows[:, None, :, None], padding=(size // 2, 0))
        return conv2d(columns, self.windows[:, None, None], padding=(0, size // 2), groups=count)

    def regularizer(self) -> Tensor:
        """Roughness of the filters, as of a `ConvCore`."""
        return roughness(self.filters.weight)


def _gaussians():
    """Gaussian windows in one dimension, each of sum 1: (windows, pixels)."""
    widths = torch.tensor(WIDTHS)[:, None]
    reach = round(2 * max(WIDTHS))
    windows = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * widths**2))
    return windows / windows.sum(1, keepdim=True)
