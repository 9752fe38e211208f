"""Batches: some trials of a mouse, or images of your own, as tensors in the kit's units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kit.checks import brief, require_finite
from kit.data.layout import BEHAVIOR

TYPICAL_BEHAVIOR = (4, 0, 0.5)  # pupil size, its change, running speed, each in its std


def typical_behavior(
    names: Iterable[str] = BEHAVIOR, average: np.ndarray | None = None
) -> dict[str, float]:
    """Name -> a typical value, in its std, for columns of behaviour.

    average: (K,) the mean of each column over a recording, for those columns that are none of the
    official three; without it they are 0.
    """
    names = list(names)
    means = np.zeros(len(names)) if average is None else average
    official = dict(zip(BEHAVIOR, TYPICAL_BEHAVIOR, strict=True))
    return {name: official.get(name, float(mean)) for name, mean in zip(names, means, strict=True)}


class Batch(NamedTuple):
    """Some trials of one mouse, as tensors; B trials, N neurons."""

    images: Tensor  # (B, 1, H, W) z-scored pixels
    responses: Tensor | None = None  # (B, N) each neuron divided by its std; None if withheld
    behavior: Tensor | None = None  # (B, 3) pupil size, its change, running, in std; or (B, K)
    pupil_center: Tensor | None = None  # (B, 2) eye position, z-scored

    def to(self, device: str | torch.device | Tensor) -> Batch:
        """The same batch on another device, or of a tensor's device and type, as torch does."""
        return Batch._make(None if value is None else value.to(device) for value in self)

    def part(self, rows: slice) -> Batch:
        """Some of the trials."""
        return Batch._make(None if value is None else value[rows] for value in self)

    @classmethod
    def typical(
        cls, images: np.ndarray | Tensor, behavior: Mapping[str, float] | None = None
    ) -> Batch:
        """Images of your own as a mouse in a typical state sees them, its eye at its mean position.

        images: array or tensor, (B, 1, H, W) or (B, H, W), z-scored. Behaviour is (4, 0, .5) for
        every image: a pupil of four times its std that does not change, and a little running. Zeros
        would not be neutral: behaviour is divided by its std but not centred, so they mean a pupil
        of size 0, which no model has seen in training. Models of images alone ignore it.
        behavior: name -> value, for a model that takes other columns of behaviour: those of
        `model.typical_behavior()`, where columns of other names have their mean.
        Raises ValueError for images of another shape, and if they cannot be z-scored.

        >>> batch = kit.Batch.typical(np.zeros((5, 36, 64)))
        >>> batch.images.shape, batch.behavior[0]
        (torch.Size([5, 1, 36, 64]), tensor([4.0000, 0.0000, 0.5000]))
        """
        images = _as_tensor(images)
        if images.ndim == 3:
            images = images[:, None]  # (B, 1, H, W)
        if images.ndim != 4 or images.shape[1] != 1:
            raise ValueError(
                f"images of shape {tuple(images.shape)} are not (B, 1, H, W); give one image as "
                "images[None]"
            )
        require_z_scored(images)
        images = images.float()
        values = list((typical_behavior() if behavior is None else behavior).values())
        state = images.new_tensor([values]).expand(len(images), -1)  # (B, K)
        return cls(images, None, state, images.new_zeros(len(images), 2))


def require_z_scored(images: np.ndarray | Tensor) -> tuple[float, float]:
    """The lowest and highest pixel. Raises ValueError if images (…) cannot be z-scored.

    Integers and NaN cannot be. Raw pixels are never negative and reach 255. z-scored ones lie
    around 0; no pixel of an image of 2,304 can lie further from the mean than 48 std.
    """
    images = _as_tensor(images).detach()
    low = high = 0.0
    if images.numel() and not images.is_meta:
        low, high = (float(value) for value in images.aminmax())  # NaN if any pixel is
        require_finite("images", np.array([low, high]))
    if not images.is_floating_point() or not -50 <= low <= high <= (50 if low < 0 else 10):
        raise ValueError(
            f"images of {images.dtype} are not z-scored; for pixels from 0 to 255 use (images - "
            f"113.5) / 64.6, the benchmark's mean and std; these run from {low:.6g} to {high:.6g}"
        )
    return low, high


def _as_tensor(images):
    """A tensor of images; an array may be read-only or flipped, so it is copied."""
    if isinstance(images, Tensor):
        return images
    array = np.array(images, order="C")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"images={brief(images)} are not numbers; give an array (B, 1, H, W)")
    return torch.from_numpy(array)
