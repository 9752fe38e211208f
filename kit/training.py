"""Training: settings, the loop, its history, and checkpoints from which it goes on.

On one device, or on as many as `torchrun` starts processes for, through Lightning Fabric.
"""

import os
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from heapq import merge
from math import inf, isfinite, sqrt
from operator import itemgetter
from time import perf_counter

import numpy as np
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from kit.catalog import meant
from kit.checkpoints import read_state, write_state
from kit.evaluation import score
from kit.files import progress
from kit.model import Model
from kit.processes import apart, average_buffers, by_first, gathered, generators, share, start
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
                raise TypeError(f"TrainConfig has no setting {name!r}; {meant(name, known)}"
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


def train(model, data, config=None, checkpoint=None):
    """Train a model in place on the train tier of all mice in `data`. Returns its `History`.

    After every epoch the single-trial correlation on the validation tier decides whether the
    weights are the best so far; the model ends with the best. Ctrl-C just ends training.
    checkpoint: a file where the state of the training is kept after every epoch. The same call
    goes on from there, to the same weights as without a break; once finished, it only reads them.
    Under `torchrun` every process takes its share of each batch, and all end with the same weights.
    Raises ValueError if model and data do not fit or the checkpoint is of another training, OSError
    if it cannot be written, FloatingPointError if the loss is not finite.
    """
    config = config or TrainConfig()
    if not isinstance(model, Model):
        raise ValueError(f"a Model is needed to train, not {type(model).__name__}; build one with "
                         "kit.cnn_baseline or kit.Model, and train each of an ensemble by itself")
    for recording in dataset(data).values():
        recording.rows("validation")  # refuses a recording that lacks it, before any work
    fabric = start(model, config.device, config.precision)
    model.check(data)
    kept = by_first(fabric, lambda: _kept(checkpoint, identity(model, data, config), fabric))
    model.meet(data)
    run = _Run(model, data, config, fabric)
    with apart(config.seed, fabric):
        try:
            run.restore(kept)
            run.go(checkpoint)
        except KeyboardInterrupt:
            if fabric.world_size > 1:  # the processes may have come to different points
                raise
            run.history.stopped = "interrupted"
        finally:
            model.load_state_dict(run.best)
            model.eval()
    return run.history


def transfer(model, data, config=None):
    """A trained core meets new mice. Returns a new `Model` of the mice in `data`, trained on them.

    First the core stays as it is and the mice's own parts learn; then all is tuned together, at a
    tenth of the rate. `model` is left alone. config: of both; by default short, in small steps.
    Raises what `train` raises.
    """
    config = config or TrainConfig.quick(batch_size=16)  # new mice have few images
    new = Model(deepcopy(model.core).cpu(), dataset(data).neurons, model.config)
    new.core.requires_grad_(False)
    first = train(new, data, config)
    kept = deepcopy(new.state_dict())
    new.core.requires_grad_(True)
    second = train(new, data, replace(config, lr=config.lr / 10))
    if max(second.correlation, default=-inf) < max(first.correlation, default=-inf):
        new.load_state_dict(kept)
    return new


class _Run:
    """A training under way: all that changes from step to step, and what is done with it."""

    def __init__(self, model, data, config, fabric):
        self.model, self.data, self.config, self.fabric = model, data, config, fabric
        lr = float(config.lr)
        self.wrapped, self.optimizer = fabric.setup(model, Adam(model.parameters(), lr=lr))
        self.trials = {mouse: len(recording.rows("train")) for mouse, recording in data.items()}
        self.steps = sum(_steps(recording, config) for recording in data.values())
        self.cycle = (OneCycleLR(self.optimizer, lr, config.epochs * self.steps)
                      if config.one_cycle else None)
        self.history, self.best = History(), deepcopy(model.state_dict())
        self.waited = self.drops = 0  # epochs without a better score, and drops of the rate

    def go(self, checkpoint):
        """Train to the end, from wherever it is; the state is kept before and after each epoch."""
        if not self.history.stopped:  # before the first too: a bad place is told before any work
            self.keep(checkpoint)
        with progress(total=self.config.epochs * self.steps, desc="training", unit="step",
                      initial=len(self.history.loss) * self.steps) as bar:
            while not self.history.stopped:
                self.epoch(bar)
                self.judge()
                self.keep(checkpoint)

    def epoch(self, bar):
        """One epoch of steps and its validation, entered in the history."""
        started, losses, number = perf_counter(), [], len(self.history.loss)
        self.wrapped.train()
        for mouse, batch in _batches(self.data, self.config, number):
            losses.append(self.backward(mouse, batch))
            self.optimizer.step()
            self.optimizer.zero_grad()
            lr = self.optimizer.param_groups[0]["lr"]
            if self.cycle:
                self.cycle.step()
            bar.update()
        loss = self.fabric.all_reduce(torch.stack(losses), reduce_op="sum").mean().item()
        correlation = self.validate() if isfinite(loss) else 0
        _refuse_not_finite(loss, correlation, number, self.config)
        self.history.add(loss, correlation, lr,
                         self.fabric.broadcast(perf_counter() - started))
        bar.set_postfix(loss=f"{loss:.3f}", correlation=f"{correlation:.3f}")

    def backward(self, mouse, batch):
        """Gradients of a batch, of which each process takes its share.

        Returns this process's part of the batch's mean loss a neuron and trial, a scalar.
        """
        # the sum over a batch, scaled as in 2022 against the penalty of the weights
        scale = sqrt(self.trials[mouse] / len(batch.images)) * self.fabric.world_size
        values = batch.responses.numel()
        batch, counts = share(batch, self.fabric.global_rank, self.fabric.world_size)
        batch = batch.to(self.fabric.device)
        loss = poisson_loss(self.wrapped(batch, mouse), batch.responses) * counts
        # several processes take the mean of their gradients: of penalties that is one penalty
        self.fabric.backward(loss * scale + self.model.penalty(mouse))
        return loss.detach() / values

    def validate(self):
        """Validation correlation: computed by the first process, known to all."""
        average_buffers(self.model, self.fabric)
        return by_first(self.fabric,
                        lambda: score(self.model, self.data, "validation").single_trial)

    def judge(self):
        """Keep the best weights; drop the rate, or end, where it has not been better for long."""
        config, history = self.config, self.history
        self.waited += 1
        if history.best_epoch == len(history.loss) - 1:
            self.waited, self.best = 0, deepcopy(self.model.state_dict())
        elif self.waited == config.patience and self.drops < config.lr_drops:
            self.waited, self.drops = 0, self.drops + 1
            self.model.load_state_dict(self.best)
            self.optimizer.param_groups[0]["lr"] *= 0.3
        elif self.waited == config.patience:
            history.stopped = f"no better for {config.patience} epochs"
        if not history.stopped and len(history.loss) == config.epochs:
            history.stopped = f"all {config.epochs} epochs done"

    def keep(self, path):
        """Write to `path`, whole or not at all, what is needed to go on from here."""
        if path is not None:
            random = [gathered(part.get_rng_state(), self.fabric)
                      for part in generators(self.fabric)]
            by_first(self.fabric, lambda: write_state(path, self.state() | {"random": random}))

    def state(self):
        """All that `restore` takes but the random numbers, of which each process has its own."""
        return {"identity": identity(self.model, self.data, self.config),
                "place": _place(self.fabric),
                "model": self.model.state_dict(), "best": self.best,
                "optimizer": self.optimizer.state_dict(),
                "cycle": self.cycle.state_dict() if self.cycle else {},
                "scaler": self.fabric.strategy.precision.state_dict(),
                "history": asdict(self.history), "waited": self.waited, "drops": self.drops}

    def restore(self, kept):
        """Go back to what `keep` wrote, if there is any."""
        if kept is None:
            return
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if self.cycle:
            self.cycle.load_state_dict(kept["cycle"])
        self.fabric.strategy.precision.load_state_dict(kept["scaler"])
        self.history, self.best = History(**kept["history"]), kept["best"]
        self.waited, self.drops = kept["waited"], kept["drops"]
        if not self.history.stopped:
            for part, states in zip(generators(self.fabric), kept["random"], strict=True):
                part.set_rng_state(states[self.fabric.global_rank].clone())


# ---- checkpoints ----

def identity(model, data, config):
    """What must be the same for a training to go on: a dict of names and values, plain words."""
    about = {**asdict(config), "mice": ", ".join(data), "model": model.config,
             "core": f"{type(model.core).__name__} {getattr(model.core, 'settings', '')}"}
    for mouse, recording in data.items():
        digest = sha256()
        for _, value in [("", recording.unit_ids), *sorted(recording.statistics.items())]:
            digest.update(np.ascontiguousarray(value))
        about[f"neurons of {mouse}"] = (f"{len(recording.unit_ids)} (ids and units "
                                        f"{digest.hexdigest()[:8]})")
        about[f"images of {mouse}"] = len(recording.rows("train"))
    about |= {f"shape of {name}": tuple(value.shape) for name, value in model.state_dict().items()}
    return {name: str(value) for name, value in about.items()}


def _place(fabric):
    """Where a training runs: random numbers depend on it."""
    return {"processes": str(fabric.world_size), "device": fabric.device.type}


def _kept(path, now, fabric):
    """What `_Run.keep` wrote to `path`, None if nothing yet.

    Raises ValueError if it is no checkpoint, damaged, or of another training.
    """
    if path is None or not os.path.lexists(path):
        return None
    kept = read_state(path)
    then = kept["identity"]
    if not kept["history"]["stopped"]:
        then, now = then | kept["place"], now | _place(fabric)
    for name in {**now, **then}:
        if then.get(name) != now.get(name):
            raise ValueError(f"the checkpoint {path} is of a training with {name}="
                             f"{then.get(name)}, this one has {name}={now.get(name)}; go on with "
                             "the same, or name another file")
    return kept


# ---- steps ----

def poisson_loss(predictions, responses):
    """Poisson loss of predictions (B, N), summed over trials and neurons: a scalar."""
    return (predictions - responses * torch.log(predictions + 1e-8)).sum()


def _batches(data, config, epoch):
    """(mouse, batch) for every step of an epoch, each mouse in its own random order.

    The mice take turns, those with more images more often, so that all are met until the end.
    """
    streams = (_stream(mouse, recording, config, epoch) for mouse, recording in data.items())
    return ((mouse, batch) for _, mouse, batch in merge(*streams, key=itemgetter(0)))


def _stream(mouse, recording, config, epoch):
    """(when in the epoch, from 0 to 1, mouse, batch) of one mouse."""
    steps = _steps(recording, config)
    batches = recording.batches("train", config.batch_size, (config.seed, epoch))
    for step, batch in zip(range(steps), batches, strict=False):  # a last one may not count
        yield (step + 0.5) / steps, mouse, batch


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
