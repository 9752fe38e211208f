"""The training loop."""

from copy import deepcopy
from dataclasses import asdict, replace
from heapq import merge
from math import inf, isfinite, sqrt
from operator import itemgetter
from time import perf_counter

import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from kit.data.recordings import require_dataset
from kit.evaluation.scores import score
from kit.files import progress
from kit.models.model import Model
from kit.training.config import History, TrainConfig
from kit.training.distributed import (
    average_buffers,
    gather_states,
    make_fabric,
    on_rank_zero,
    rng_modules,
    seeded_by_rank,
    shard,
)
from kit.training.resume import _kept, _place, identity, write_state


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
    for recording in require_dataset(data).values():
        recording.rows("validation")  # refuses a recording that lacks it, before any work
    fabric = make_fabric(model, config.device, config.precision)
    model.validate_data(data)
    kept = on_rank_zero(fabric, lambda: _kept(checkpoint, identity(model, data, config), fabric))
    model.register_data(data)
    trainer = Trainer(model, data, config, fabric)
    with seeded_by_rank(config.seed, fabric):
        try:
            trainer.restore(kept)
            trainer.fit(checkpoint)
        except KeyboardInterrupt:
            if fabric.world_size > 1:  # the processes may have come to different points
                raise
            trainer.history.stopped = "interrupted"
        finally:
            model.load_state_dict(trainer.best)
            model.eval()
    return trainer.history


def transfer(model, data, config=None):
    """A trained core meets new mice. Returns a new `Model` of the mice in `data`, trained on them.

    First the core stays as it is and the mice's own parts learn; then all is tuned together, at a
    tenth of the rate. `model` is left alone. config: of both; by default short, in small steps.
    Raises what `train` raises.
    """
    config = config or TrainConfig.quick(batch_size=16)  # new mice have few images
    new = Model(deepcopy(model.core).cpu(), require_dataset(data).neurons, model.config)
    new.core.requires_grad_(False)
    first = train(new, data, config)
    kept = deepcopy(new.state_dict())
    new.core.requires_grad_(True)
    second = train(new, data, replace(config, lr=config.lr / 10))
    if max(second.correlation, default=-inf) < max(first.correlation, default=-inf):
        new.load_state_dict(kept)
    return new


class Trainer:
    """A training under way: all that changes from step to step, and what is done with it."""

    def __init__(self, model, data, config, fabric):
        self.model, self.data, self.config, self.fabric = model, data, config, fabric
        lr = float(config.lr)
        self.wrapped, self.optimizer = fabric.setup(model, Adam(model.parameters(), lr=lr))
        self.trials = {mouse: len(recording.rows("train")) for mouse, recording in data.items()}
        self.steps = sum(_steps_per_epoch(recording, config) for recording in data.values())
        self.cycle = (OneCycleLR(self.optimizer, lr, config.epochs * self.steps)
                      if config.one_cycle else None)
        self.history, self.best = History(), deepcopy(model.state_dict())
        self.epochs_since_best = self.drops = 0  # epochs without a better score, and drops of the rate

    def fit(self, checkpoint):
        """Train to the end, from wherever it is; the state is kept before and after each epoch."""
        if not self.history.stopped:  # before the first too: a bad place is told before any work
            self.save_state(checkpoint)
        with progress(total=self.config.epochs * self.steps, desc="training", unit="step",
                      initial=len(self.history.loss) * self.steps) as bar:
            while not self.history.stopped:
                self.epoch(bar)
                self.early_stopping_step()
                self.save_state(checkpoint)

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
        batch, counts = shard(batch, self.fabric.global_rank, self.fabric.world_size)
        batch = batch.to(self.fabric.device)
        loss = poisson_loss(self.wrapped(batch, mouse), batch.responses) * counts
        # several processes take the mean of their gradients: of penalties that is one penalty
        self.fabric.backward(loss * scale + self.model.regularizer(mouse))
        return loss.detach() / values

    def validate(self):
        """Validation correlation: computed by the first process, known to all."""
        average_buffers(self.model, self.fabric)
        return on_rank_zero(self.fabric,
                        lambda: score(self.model, self.data, "validation").single_trial)

    def early_stopping_step(self):
        """Keep the best weights; drop the rate, or end, where it has not been better for long."""
        config, history = self.config, self.history
        self.epochs_since_best += 1
        if history.best_epoch == len(history.loss) - 1:
            self.epochs_since_best, self.best = 0, deepcopy(self.model.state_dict())
        elif self.epochs_since_best == config.patience and self.drops < config.lr_drops:
            self.epochs_since_best, self.drops = 0, self.drops + 1
            self.model.load_state_dict(self.best)
            self.optimizer.param_groups[0]["lr"] *= 0.3
        elif self.epochs_since_best == config.patience:
            history.stopped = f"no better for {config.patience} epochs"
        if not history.stopped and len(history.loss) == config.epochs:
            history.stopped = f"all {config.epochs} epochs done"

    def save_state(self, path):
        """Write to `path`, whole or not at all, what is needed to go on from here."""
        if path is not None:
            random = [gather_states(part.get_rng_state(), self.fabric)
                      for part in rng_modules(self.fabric)]
            on_rank_zero(self.fabric, lambda: write_state(path, self.state() | {"random": random}))

    def state(self):
        """All that `restore` takes but the random numbers, of which each process has its own."""
        return {"identity": identity(self.model, self.data, self.config),
                "place": _place(self.fabric),
                "model": self.model.state_dict(), "best": self.best,
                "optimizer": self.optimizer.state_dict(),
                "cycle": self.cycle.state_dict() if self.cycle else {},
                "scaler": self.fabric.strategy.precision.state_dict(),
                "history": asdict(self.history), "epochs_since_best": self.epochs_since_best, "drops": self.drops}

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
        self.epochs_since_best, self.drops = kept["epochs_since_best"], kept["drops"]
        if not self.history.stopped:
            for part, states in zip(rng_modules(self.fabric), kept["random"], strict=True):
                part.set_rng_state(states[self.fabric.global_rank].clone())


def poisson_loss(predictions, responses):
    """Poisson loss of predictions (B, N), summed over trials and neurons: a scalar."""
    return (predictions - responses * torch.log(predictions + 1e-8)).sum()


def _batches(data, config, epoch):
    """(mouse, batch) for every step of an epoch, each mouse in its own random order.

    The mice take turns, those with more images more often, so that all are met until the end.
    """
    streams = (_mouse_batches(mouse, recording, config, epoch) for mouse, recording in data.items())
    return ((mouse, batch) for _, mouse, batch in merge(*streams, key=itemgetter(0)))


def _mouse_batches(mouse, recording, config, epoch):
    """(when in the epoch, from 0 to 1, mouse, batch) of one mouse."""
    steps = _steps_per_epoch(recording, config)
    batches = recording.batches("train", config.batch_size, (config.seed, epoch))
    for step, batch in zip(range(steps), batches, strict=False):  # a last one may not count
        yield (step + 0.5) / steps, mouse, batch


def _steps_per_epoch(recording, config):
    """Batches an epoch. A last one under half the size is left out, for the batch norm's sake."""
    full, rest = divmod(len(recording.rows("train")), config.batch_size)
    return full + (not full or 2 * rest >= config.batch_size)


def _refuse_not_finite(loss, correlation, epoch, config):
    if not (isfinite(loss) and isfinite(correlation)):
        what = "validation correlation" if isfinite(loss) else "loss"
        raise FloatingPointError(
            f"the {what} became nan in epoch {epoch + 1}, most likely because the learning rate "
            f"lr={config.lr} is too high; build the model again and try lr={config.lr / 3:.1g}")
