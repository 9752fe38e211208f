"""Comparisons of recordings and weights with what a model remembers."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from kit.data.recordings import Recording


def recording_statistics(recording: "Recording") -> dict[str, np.ndarray]:
    """Name -> ids of the neurons, and the means and stds that standardised the recording."""
    return {"unit_ids": recording.unit_ids.copy(), **recording.statistics}


def different_statistic(statistics_a: dict, statistics_b: dict) -> str | None:
    """The first name in `statistics_a` with other ids or other units in `statistics_b`."""
    for name, values_a in statistics_a.items():
        values_b = statistics_b.get(name, np.nan)  # nan is equal to nothing
        tolerance = 0 if name == "unit_ids" else 1e-4
        same_shape = np.shape(values_a) == np.shape(values_b)
        if not same_shape or not np.allclose(values_a, values_b, rtol=tolerance):
            return name
    return None


def same_neurons(positions_a: Tensor, positions_b: Tensor) -> bool:
    """Whether neurons (N, 2) are as many, and at the same places in cortex.

    By correlation, as another program may have scaled them; neurons without places may be any.
    """
    if positions_a.shape != positions_b.shape:
        return False
    if not positions_a.any() or not positions_b.any():
        return True
    both = torch.stack([positions_a.flatten(), positions_b.flatten()])  # (2, 2N)
    return not torch.corrcoef(both)[0, 1] < 0.9


def shapes(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Name -> shape and type of each tensor, to compare and to print."""
    return {name: f"{tuple(value.shape)} {value.dtype}" for name, value in tensors.items()}
