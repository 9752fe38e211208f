"""The settings of a training, and its history."""

from dataclasses import dataclass, field, fields
from math import inf

from kit.report import suggest


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The default reaches a good score soonest."""

    epochs: int = 40         # upper bound; early stopping may end sooner
    lr: float = 9e-3         # Adam's highest rate
    batch_size: int = 32     # images a step; small batches mean more steps an epoch
    one_cycle: bool = True   # the rate rises, then falls to zero; else it drops on plateaus
    patience: int = 10       # epochs without a better correlation before a drop or the end
    lr_drops: int = 0        # how often the rate is multiplied by .3 before training ends
    seed: int = 42           # fixes the order of images and the readouts' samples
    device: str = "auto"     # "cpu", "cuda", "mps" or "auto"
    precision: str = "32-true"  # as Lightning Fabric names it; "bf16-mixed" on a recent GPU

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("lr_drops", 0)):
            if not isinstance(value := getattr(self, name), int) or value < least:
                raise ValueError(f"{name}={value!r} is not possible; give a whole number, "
                                 f"{least} or more")
        if not isinstance(self.lr, int | float) or not 0 < self.lr < inf:
            raise ValueError(f"lr={self.lr!r} is no learning rate; give a small positive number, "
                             "such as 0.009")
        if self.one_cycle and self.lr_drops:
            raise ValueError(f"lr_drops={self.lr_drops} has no effect in one cycle; give "
                             "one_cycle=False too")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed!r} is no seed; give a whole number from 0 to 2^63 - "
                             "1, such as 42")
        for name, known in (("device", ("auto", "cpu", "cuda", "mps")),
                            ("precision", ("32-true", "bf16-mixed", "16-mixed"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; give one of "
                                 f"{', '.join(known)}")

    @classmethod
    def sensorium2022(cls, **changes):
        """The recipe of the published baselines. changes: any field, to try one thing at a time."""
        return cls._of({"epochs": 200, "batch_size": 128, "one_cycle": False, "patience": 5,
                        "lr_drops": 3} | changes)

    @classmethod
    def quick(cls, **changes):
        """For notebooks: most of the score in half a minute on two cores."""
        return cls._of({"epochs": 12} | changes)

    @classmethod
    def _of(cls, settings):
        known = [each.name for each in fields(cls)]
        for name in settings:
            if name not in known:
                raise TypeError(f"TrainConfig has no setting {name!r}; {suggest(name, known)}"
                                f"settings are {', '.join(known)}")
        return cls(**settings)


@dataclass
class History:
    """What happened: lists with one entry an epoch."""

    loss: list = field(default_factory=list)         # mean Poisson loss a neuron and trial, train
    correlation: list = field(default_factory=list)  # single-trial, validation, mean over neurons
    lr: list = field(default_factory=list)           # rate of the epoch's last step
    seconds: list = field(default_factory=list)      # how long the epoch took
    best_epoch: int | None = None                    # whose weights the model has now, from 0
    stopped: str = ""                                # why training ended

    def add(self, loss, correlation, lr, seconds):
        """Enter one epoch."""
        self.loss.append(loss)
        self.correlation.append(correlation)
        self.lr.append(lr)
        self.seconds.append(seconds)
        self.best_epoch = max(range(len(self.loss)), key=self.correlation.__getitem__)

    def __repr__(self):
        best = ("no epoch finished" if self.best_epoch is None else
                f"best validation correlation {self.correlation[self.best_epoch]:.3f} "
                f"in epoch {self.best_epoch + 1}")
        return (f"{len(self.loss)} epochs in {sum(self.seconds):.0f} s, {best}; "
                f"stopped: {self.stopped}")
