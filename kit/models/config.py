"""The settings of a model."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kit.checks import SEEDS, check_settings, require_result
from kit.data.layout import BEHAVIOR

if TYPE_CHECKING:
    from kit.data.recordings import Dataset


@dataclass(frozen=True)
class ModelConfig:
    """Which parts a model has besides its core and readouts."""

    behavior_channels: bool = False  # each column of behaviour as an extra input image
    shifter: bool = False  # eye position moves all readout positions
    image_size: tuple[int, int] = (36, 64)  # height and width of the images
    seed: int = 42  # fixes the first weights of all but the core
    gain: bool = False  # behaviour scales each neuron's prediction
    minmax_behavior: bool = False  # scale behaviour to 0-1 by its range in the train tier
    behavior_names: tuple[str, ...] = BEHAVIOR  # the columns of behaviour, in their order

    def __post_init__(self) -> None:
        check_settings(self, image_size=(1, 1024), seed=SEEDS)

    @classmethod
    def of(cls, data: "Dataset", **changes: object) -> "ModelConfig":
        """The baseline for these data: behaviour channels and shifter if known. Then `changes`.

        The columns of behaviour are those of the first recording; a model takes no others.
        """
        require_result("data", data, "neurons")
        behavior = all(mouse.behavior is not None for mouse in data.values())
        eye = all(mouse.pupil_center is not None for mouse in data.values())
        config = cls(behavior, eye, data.image_size)
        if behavior:
            config = replace(config, behavior_names=next(iter(data.values())).behavior_names)
        return replace(config, **changes)

    def for_new_mice(self, data: "Dataset", core_takes_state: bool) -> "ModelConfig":
        """The same without the shifter and the gain for which these data withhold the inputs.

        If the core takes no behaviour, the gains are of the columns that these data have.
        """
        known = ModelConfig.of(data)
        fixed = self.behavior_channels or core_takes_state or not known.behavior_channels
        return replace(
            self,
            behavior_names=self.behavior_names if fixed else known.behavior_names,
            shifter=self.shifter and known.shifter,
            gain=self.gain and known.behavior_channels,
            minmax_behavior=self.minmax_behavior and known.behavior_channels,
        )

    @property
    def core_channels(self) -> int:
        """Channels of the images that the core takes."""
        return 1 + len(self.behavior_names) if self.behavior_channels else 1
