"""Comparisons of recordings and weights with those that a model remembers."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from kit.data.recordings import Recording


def recording_statistics(recording: "Recording") -> dict[str, np.ndarray]:
    """Name -> ids of the neurons, and the means and stds that standardised the recording."""
    return {"unit_ids": recording.unit_ids.copy(), **recording.statistics}


def require_same_places(mouse: str, ours: Tensor, theirs: Tensor) -> None:
    """Raise ValueError if a model's neurons (N, 2) are not at the recording's places in cortex.

    By correlation, as another program may have scaled them; neurons without places may be any.
    """
    ours, theirs = ours.float().numpy().ravel(), theirs.numpy().ravel()
    if ours.any() and theirs.any() and np.corrcoef(ours, theirs)[0, 1] < 0.9:
        raise ValueError(
            f"this model has the neurons of mouse {mouse} at other places in cortex "
            "than the recording, perhaps another mouse's; build the model from "
            "data.neurons"
        )


def require_same_statistics(mouse: str, ours: dict, recording: "Recording") -> None:
    """Raise ValueError if a model was trained with other ids or units of a recording."""
    theirs = recording_statistics(recording)
    name = different_statistic(ours, theirs)
    if name:
        one, two = first_values(ours[name]), first_values(theirs.get(name))
        raise ValueError(
            f"this model was trained with {name} {one} of mouse {mouse}, the "
            f"recording has {two}; open the recording it was trained on, or train a "
            "new model"
        )


def different_statistic(one: dict, two: dict) -> str | None:
    """The first name in `one` with other ids or statistics than in `two`."""
    for name, value in one.items():
        if not same_statistics(name, value, two.get(name)):
            return name
    return None


def same_statistics(name: str, value: np.ndarray, other: np.ndarray | None) -> bool:
    """Whether unit ids or statistics are of the same neurons in the same units."""
    if other is None or value.shape != other.shape:
        return False
    return np.allclose(value, other, rtol=0 if name == "unit_ids" else 1e-4)


def first_values(value: np.ndarray | None) -> str:
    """The first three values of an array, for an error message."""
    if value is None:
        return "none"
    return "[" + ", ".join(f"{v:.5g}" for v in value.ravel()[:3]) + ", …]"


def shapes(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Name -> shape and type of each tensor, to compare and to print."""
    return {name: f"{tuple(value.shape)} {value.dtype}" for name, value in tensors.items()}
