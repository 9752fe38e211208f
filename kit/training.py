"""Training: settings, the loop, its history. One device unless asked, through Lightning Fabric."""

from copy import deepcopy
from dataclasses import dataclass, field
from itertools import repeat, zip_longest
from math import inf, isfinite, sqrt
from time import perf_counter

import torch
from lightning_fabric import Fabric
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from kit.evaluation import score
from kit.files import progress
from kit.recordings import dataset


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
        if not 0 < self.lr < inf:
            raise ValueError(f"lr={self.lr!r} is no learning rate; give a small positive number, "
                             "such as 0.009")
        if self.one_cycle and self.lr_drops:
            raise ValueError(f"lr_drops={self.lr_drops} has no effect in one cycle; give "
                             "one_cycle=False too")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r} is no seed; give a whole number, 0 or more")
        for name, known in (("device", ("auto", "cpu", "cuda", "mps")),
                            ("precision", ("32-true", "bf16-mixed", "16-mixed"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; give one of "
                                 f"{', '.join(known)}")

    @classmethod
    def sensorium2022(cls, **changes):
        """The recipe of the published baselines. changes: any field, to try one thing at a time."""
        return cls(**{"epochs": 200, "batch_size": 128, "one_cycle": False, "patience": 5,
                      "lr_drops": 3} | changes)

    @classmethod
    def quick(cls, **changes):
        """For notebooks: most of the score in half a minute on two cores."""
        return cls(**{"epochs": 12} | changes)


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


def train(model, data, config=None):
    """Train a model in place on the train tier of all mice in `data`. Returns its `History`.

    After every epoch the single-trial correlation on the validation tier decides whether the
    weights are the best so far; the model ends with the best. Ctrl-C just ends training.
    Raises ValueError if model and data do not fit, FloatingPointError if the loss is not finite.
    """
    config = config or TrainConfig()
    for recording in dataset(data).values():
        recording.rows("validation")  # refuses a recording that lacks it, before any work
    try:
        fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
    except (RuntimeError, ValueError) as problem:
        raise ValueError(f"device={config.device!r} is not to be had here ({problem}); use "
                         "device=\"auto\"") from None
    model.meet(data)
    wrapped, optimizer = fabric.setup(model, Adam(model.parameters(), lr=config.lr))
    trials = {mouse: len(recording.rows("train")) for mouse, recording in data.items()}
    steps = sum(_steps(recording, config) for recording in data.values())
    cycle = OneCycleLR(optimizer, config.lr, config.epochs * steps) if config.one_cycle else None
    history, weights, waited, drops = History(), deepcopy(model.state_dict()), 0, 0
    bar = progress(total=config.epochs * steps, desc="training", unit="step")
    with bar, torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []):
        torch.manual_seed(config.seed)  # forked: the global random state stays as it was
        try:
            for epoch in range(config.epochs):
                started, losses = perf_counter(), []
                wrapped.train()
                for mouse, batch in _batches(data, config, epoch):
                    batch = batch.to(fabric.device)
                    loss = poisson_loss(wrapped(batch, mouse), batch.responses)
                    losses.append(loss.detach() / batch.responses.numel())
                    # the sum over a batch, scaled as in 2022 against the penalty of the weights
                    scale = sqrt(trials[mouse] / len(batch.images))
                    fabric.backward(loss * scale + model.penalty(mouse))
                    optimizer.step()
                    optimizer.zero_grad()
                    lr = optimizer.param_groups[0]["lr"]
                    if cycle:
                        cycle.step()
                    bar.update()
                loss = torch.stack(losses).mean().item()
                correlation = score(model, data, "validation").single_trial if isfinite(loss) else 0
                _refuse_not_finite(loss, correlation, epoch, config)
                history.add(loss, correlation, lr, perf_counter() - started)
                bar.set_postfix(loss=f"{loss:.3f}", correlation=f"{correlation:.3f}")
                waited += 1
                if history.best_epoch == epoch:
                    waited, weights = 0, deepcopy(model.state_dict())
                elif waited == config.patience and drops < config.lr_drops:
                    waited, drops = 0, drops + 1
                    model.load_state_dict(weights)
                    optimizer.param_groups[0]["lr"] *= 0.3
                elif waited == config.patience:
                    history.stopped = f"no better for {config.patience} epochs"
                    break
            else:
                history.stopped = f"all {config.epochs} epochs done"
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        finally:
            model.load_state_dict(weights)
            model.eval()
    return history


def poisson_loss(predictions, responses):
    """Poisson loss of predictions (B, N), summed over trials and neurons: a scalar."""
    return (predictions - responses * torch.log(predictions + 1e-8)).sum()


def _batches(data, config, epoch):
    """(mouse, batch) for every step of an epoch, the mice in turn, each in its own random order."""
    streams = [zip(repeat(mouse, _steps(recording, config)),
                   recording.batches("train", config.batch_size, (config.seed, epoch)),
                   strict=False)  # a last batch that does not count is left out
               for mouse, recording in data.items()]
    return (step for turn in zip_longest(*streams) for step in turn if step is not None)


def _steps(recording, config):
    """Batches an epoch. A last one under half the size is left out, for the batch norm's sake."""
    full, rest = divmod(len(recording.rows("train")), config.batch_size)
    return full + (not full or 2 * rest >= config.batch_size)


def _refuse_not_finite(loss, correlation, epoch, config):
    if not (isfinite(loss) and isfinite(correlation)):
        what = "validation correlation" if isfinite(loss) else "loss"
        raise FloatingPointError(
            f"the {what} became nan in epoch {epoch + 1}, most likely because the learning rate "
            f"lr={config.lr} is too high; build the model again and try lr={config.lr / 3:.1g}")
