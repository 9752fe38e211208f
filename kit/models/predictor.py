"""The interface of a model."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from kit.data.batches import Batch


class Predictor(Protocol):
    """All that the laboratory and the widgets need: a `Model`, an `Ensemble`, simulated `Cells`.

    It may also have `typical_behavior(mouse)`, if it takes other columns of behaviour than the
    official three.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""

    @property
    def state_inputs(self) -> Mapping[str, str]:
        """Field of a batch -> its name, for all that predictions depend on besides the images."""

    def __call__(self, batch: Batch, mouse: str | None = None) -> Tensor:
        """The responses (B, N) of a mouse."""

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The id of a mouse that it predicts; None stands for the only one."""

    def image_statistics(self, mouse: str) -> tuple[float, float] | None:
        """Mean and std of the raw pixels of a mouse's recording; None if it is not known."""
