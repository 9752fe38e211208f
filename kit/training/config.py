"""The settings of a training, and its history."""

from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from kit.checks import SEEDS, brief, check_settings


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training. The default reaches a good score soonest.

    Raises ValueError for a value that is not possible.

    >>> config = kit.TrainConfig.quick(epochs=3, seed=7)
    >>> config.epochs, config.seed, config.batch_size
    (3, 7, 32)
    """

    epochs: int = 40  # upper bound; early stopping may end sooner
    lr: float = 9e-3  # Adam's highest rate
    batch_size: int = 32  # images per step; small batches mean more steps per epoch
    one_cycle: bool = True  # the rate rises, then falls to zero; else it drops on plateaus
    patience: int = 10  # epochs without a better correlation before a drop or the end
    lr_drops: int = 0  # how often the rate is multiplied by .3 before training ends
    seed: int = 42  # fixes the order of images and the readouts' samples
    device: str = "auto"  # "cpu", "cuda", "mps" or "auto"
    precision: str = "32-true"  # as Lightning Fabric names it; "bf16-mixed" on a recent GPU

    def __post_init__(self) -> None:
        check_settings(
            self,
            epochs=(1, inf),
            lr=(1e-9, inf),
            batch_size=(1, inf),
            patience=(1, inf),
            lr_drops=(0, inf),
            seed=SEEDS,
            device=("auto", "cpu", "cuda", "mps"),
            precision=("32-true", "bf16-mixed", "16-mixed"),
        )
        if self.one_cycle and self.lr_drops:
            raise ValueError(f"lr_drops={self.lr_drops} has no effect without one_cycle=False")

    @classmethod
    def sensorium2022(cls, **changes: object) -> "TrainConfig":
        """The recipe of the published baselines. changes: any field, to try one thing at a time."""
        recipe = cls(epochs=200, batch_size=128, one_cycle=False, patience=5, lr_drops=3)
        return replace(recipe, **changes)

    @classmethod
    def strong(cls, **changes: object) -> "TrainConfig":
        """For `kit.strong_baseline`, twice the time of a CNN's default. changes: any field."""
        return replace(cls(epochs=16), **changes)

    @classmethod
    def quick(cls, **changes: object) -> "TrainConfig":
        """For notebooks: most of the score in half a minute on two cores. changes: any field."""
        return replace(cls(epochs=12), **changes)


@dataclass
class History:
    """The course of a training: lists with one entry per epoch."""

    loss: list[float] = field(default_factory=list)  # train, mean a neuron and trial
    correlation: list[float] = field(default_factory=list)  # validation, mean over neurons
    lr: list[float] = field(default_factory=list)  # rate of the epoch's last step
    seconds: list[float] = field(default_factory=list)  # how long the epoch took
    best_epoch: int | None = None  # from 0; the model has its weights
    stopped: str = ""  # why training ended

    def add(self, loss: float, correlation: float, lr: float, seconds: float) -> None:
        """Append one epoch."""
        self.loss.append(loss)
        self.correlation.append(correlation)
        self.lr.append(lr)
        self.seconds.append(seconds)
        self.best_epoch = int(np.argmax(self.correlation))

    def __repr__(self) -> str:
        best = "no epoch finished"
        if self.best_epoch is not None:
            correlation = self.correlation[self.best_epoch]
            best = f"best validation correlation {correlation:.3f} in epoch {self.best_epoch + 1}"
        seconds = sum(self.seconds)
        return f"{len(self.loss)} epochs in {seconds:.0f} s, {best}; stopped: {self.stopped}"


def require_train_config(config: TrainConfig | None) -> TrainConfig:
    """`config`, or the default for None. Raises ValueError for anything else."""
    if not isinstance(config, TrainConfig | None):
        raise ValueError(f"config={brief(config)} is not a TrainConfig; give kit.TrainConfig(...)")
    return config or TrainConfig()
