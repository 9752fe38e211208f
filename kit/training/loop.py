"""The training loop."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from math import isfinite, sqrt
from operator import itemgetter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from kit.data.recordings import Batch, Dataset, require_dataset
from kit.evaluation.metrics import correlation
from kit.evaluation.scores import predict_unchecked
from kit.files import progress
from kit.machine import choose_threads, use_threads
from kit.models.model import Model
from kit.training.config import History, TrainConfig, require_train_config
from kit.training.distributed import (
    average_buffers,
    gather_states,
    make_fabric,
    on_rank_zero,
    require_fast_precision,
    seeded_by_rank,
    set_states,
    shard,
)
from kit.training.nonfinite import nonfinite_reason, require_model, require_trainable
from kit.training.resume import Checkpoint

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from tqdm import tqdm

RISE = 0.3  # share of a one-cycle training in which the rate rises
Callback = Callable[[History], bool | None]  # called after every step; True ends the training


@torch.inference_mode(False)
@torch.enable_grad()  # whatever the caller has switched off
def train(
    model: Model,
    data: Dataset,
    config: TrainConfig | None = None,
    checkpoint: str | Path | None = None,
    callback: Callback | None = None,
) -> History:
    """Train a model in place on the train tier of all mice in `data`. Returns its `History`.

    After every epoch the single-trial correlation on the validation tier decides whether the
    weights are the best so far; the model ends with the best. Ctrl-C just ends training.
    checkpoint: a file that keeps the state after every epoch. To continue, call again with the same
    arguments, and a model with the same first weights or the one that Ctrl-C left: the result is as
    if the training had never stopped. If it is finished, the call only loads its weights.
    callback: called with the history after every step; if it returns True, training ends as by
    Ctrl-C.
    On a busy machine fewer threads compute, chosen at the start and after slow epochs. Another
    number of threads changes the last digits of a step, and over many steps more. KIT_THREADS fixes
    the number, and a checkpoint keeps it.
    Under `torchrun` every process takes its share of each batch, and all end with the same weights;
    there Ctrl-C raises KeyboardInterrupt.
    Raises ValueError if model and data do not fit or the checkpoint is of another training, OSError
    if the checkpoint cannot be read or written, FloatingPointError if the loss is not finite.

    >>> data = kit.load("sample+").subset(64)
    >>> model = kit.cnn_baseline(data, channels=4)
    >>> history = kit.train(model, data, kit.TrainConfig.quick(epochs=1))
    >>> history.best_epoch, len(history.loss)
    (0, 1)
    """
    config = require_train_config(config)
    if not callable(callback or print):  # any function stands in for None
        raise ValueError(f"callback={callback!r} cannot be called; give a function of the history")
    require_trainable(model, data)
    fabric = make_fabric(model, config.device, config.precision)
    require_fast_precision(fabric, config.precision)
    # before `register_data` sets the biases, as it remembers the first weights
    state_file = Checkpoint(checkpoint, model, data, config, fabric)
    saved = on_rank_zero(fabric, state_file.read)
    model.register_data(data)
    trainer = Trainer(model, data, config, fabric, callback)
    with seeded_by_rank(config.seed, fabric):
        try:
            if saved:
                trainer.restore(saved)
            trainer.fit(state_file)
        except (KeyboardInterrupt, StopTraining):
            if fabric.world_size > 1:  # the processes may have come to different points
                raise KeyboardInterrupt from None
            trainer.history.stopped = "interrupted"
        finally:
            model.load_state_dict(trainer.best)
            model.eval()
    return trainer.history


@torch.inference_mode(False)
def transfer(model: Model, data: Dataset, config: TrainConfig | None = None) -> Model:
    """Train a model's core on new mice. Returns a new `Model` of the mice in `data`.

    First the core is frozen and only the readouts (with shifters and gains) of the new mice learn;
    then everything is trained at a tenth of the rate, and the better of the two is kept. `model`
    does not change. A shifter or gain for which the new mice withhold the inputs is left out; a
    core that takes behaviour, as input channels or otherwise, needs mice that have it.
    config: for both trainings; the default is short, with small batches.
    Ctrl-C ends both. Raises what `train` raises.

    >>> data = kit.load("sample+").subset(64)
    >>> model = kit.cnn_baseline(data, channels=4)
    >>> new = kit.transfer(model, data, kit.TrainConfig.quick(epochs=1))
    >>> list(new.readouts) == list(data), new is model
    (True, False)
    """
    config = require_train_config(config or TrainConfig.quick(batch_size=16))  # few images
    require_model(model)
    takes_state = getattr(model.core, "takes_state", False)
    parts = model.config.for_new_mice(require_dataset(data), takes_state)
    new = Model(deepcopy(model.core).cpu(), data.neurons, parts)
    new.core.requires_grad_(False)
    first = train(new, data, config)
    new.core.requires_grad_(True)
    if first.stopped == "interrupted":
        return new
    weights = deepcopy(new.state_dict())
    second = train(new, data, replace(config, lr=config.lr / 10))
    if max(second.correlation, default=0) < max(first.correlation):
        new.load_state_dict(weights)
    return new


class StopTraining(Exception):
    """Raised when the callback ends the training, which keeps the best weights."""


class Trainer:
    """A training in progress: the state that changes from step to step, and the steps."""

    def __init__(
        self,
        model: Model,
        data: Dataset,
        config: TrainConfig,
        fabric: "Fabric",
        callback: Callback | None = None,
    ) -> None:
        self.model, self.data, self.config, self.fabric = model, data, config, fabric
        self.callback = callback
        self.steps_per_epoch = sum(_steps_per_epoch(mouse, config) for mouse in data.values())
        lr = float(config.lr)
        self.wrapped, self.optimizer = fabric.setup(model, Adam(model.parameters(), lr=lr))
        self.trials = {mouse: len(recording.rows("train")) for mouse, recording in data.items()}
        steps = config.epochs * self.steps_per_epoch
        self.scheduler = None
        if config.one_cycle:
            self.scheduler = OneCycleLR(self.optimizer, lr, steps, pct_start=RISE)
        self.history, self.best = History(), deepcopy(model.state_dict())
        self.epochs_since_best = 0  # or since the last drop
        self.drops = 0  # how often the rate was multiplied by .3
        self.threads, self.title = torch.get_num_threads(), "training"
        self.choose_threads()

    def fit(self, state_file: Checkpoint) -> None:
        """Train to the end; save the state before the first epoch and after each."""
        if not self.history.stopped:
            self.save_state(state_file)  # a path that cannot be written fails before any work
        with progress(
            total=self.config.epochs * self.steps_per_epoch,
            desc=self.title,
            unit="step",
            initial=len(self.history.loss) * self.steps_per_epoch,
        ) as bar:
            while not self.history.stopped:
                with use_threads(self.threads):
                    self.epoch(bar)
                self.early_stopping_step()
                self.choose_threads()
                bar.set_description(self.title)
                self.save_state(state_file)

    def choose_threads(self) -> None:
        """Take the number of threads that is fastest just now: at the start, after slow epochs."""
        seconds = self.history.seconds
        due = not seconds or seconds[-1] > max(5, 2 * min(seconds[:-1], default=0))
        one_process = self.fabric.world_size == 1 and self.fabric.device.type == "cpu"
        if due and one_process:
            self.threads, speedup = choose_threads()
            busy = f" (the cores are busy: {self.threads} threads)" if speedup > 1.5 else ""
            self.title = f"training{busy}"

    def epoch(self, bar: "tqdm") -> None:
        """Train for one epoch, validate, and append both results to the history."""
        started, losses, rates = perf_counter(), [], []
        for loss, lr in self.steps():
            losses.append(loss)
            rates.append(lr)
            bar.update()
            if self.callback and self.callback(self.history):
                raise StopTraining
        losses = cast(Tensor, self.fabric.all_reduce(torch.stack(losses), reduce_op="sum"))
        loss = losses.mean().item()
        self.require_finite("loss", loss)
        average_buffers(self.model, self.fabric)
        score = on_rank_zero(self.fabric, lambda: validation_correlation(self.model, self.data))
        self.require_finite("validation correlation", score)
        self.history.add(loss, score, rates[-1], self.fabric.broadcast(perf_counter() - started))
        bar.set_postfix(loss=f"{loss:.3f}", correlation=f"{score:.3f}")

    def steps(self) -> Iterator[tuple[Tensor, float]]:
        """The steps of an epoch. Yields for each its mean loss, a scalar, and its learning rate."""
        self.wrapped.train()
        for mouse, batch in _batches(self.data, self.config, len(self.history.loss)):
            loss, mean_loss = self.loss(mouse, batch)
            self.fabric.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            lr = self.optimizer.param_groups[0]["lr"]
            if self.scheduler:
                self.scheduler.step()
            yield mean_loss, lr

    def loss(self, mouse: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss that a step descends, and the mean Poisson loss per neuron and trial.

        As in 2022, the loss is a sum over the batch, times sqrt(train trials / batch size). Each of
        several processes takes its share of the batch. DDP averages their gradients, so the loss is
        multiplied by their number to give the sum; the regularizer, the same in all, is not.
        """
        # the weight is 0 in a process that a small batch leaves without a share
        part, loss_weight = shard(batch, self.fabric.global_rank, self.fabric.world_size)
        predictions, responses = self.wrapped(part, mouse), cast(Tensor, part.responses)
        loss = poisson_loss(predictions, responses.to(predictions.device)) * loss_weight
        scale = sqrt(self.trials[mouse] / len(batch.images)) * self.fabric.world_size
        mean_loss = loss.detach() / (len(batch.images) * responses.shape[1])
        return loss * scale + self.model.regularizer(mouse), mean_loss

    def require_finite(self, name: str, value: float) -> None:
        """Raise FloatingPointError if a result of the present epoch is not finite."""
        if not isfinite(value):
            self.model.load_state_dict(self.best)  # finite weights
            epoch, config = len(self.history.loss), self.config
            batches = _batches(self.data, config, epoch)
            reason = nonfinite_reason(self.model, poisson_loss, batches, config.lr)
            raise FloatingPointError(f"the {name} became {value} in epoch {epoch + 1}, {reason}")

    def early_stopping_step(self) -> None:
        """Keep the weights if they are the best so far.

        After `patience` epochs without better ones, return to the best and lower the rate, or stop;
        epochs in which the rate still rises do not count. Stop after the last epoch.
        """
        config, history = self.config, self.history
        if not config.one_cycle or len(history.loss) >= RISE * config.epochs:
            self.epochs_since_best += 1
        if history.best_epoch == len(history.loss) - 1:
            self.epochs_since_best, self.best = 0, deepcopy(self.model.state_dict())
        elif self.epochs_since_best >= config.patience:
            if self.drops == config.lr_drops:
                history.stopped = f"no better for {config.patience} epochs"
            else:
                self.epochs_since_best, self.drops = 0, self.drops + 1
                self.model.load_state_dict(self.best)
                self.optimizer.param_groups[0]["lr"] *= 0.3
        if not history.stopped and len(history.loss) == config.epochs:
            history.stopped = f"all {config.epochs} epochs done"

    def save_state(self, state_file: Checkpoint) -> None:
        """Write all that `restore` needs, if the checkpoint has a path."""
        if state_file.path is None:
            return
        state = {
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "history": asdict(self.history),
            "drops": self.drops,
            "epochs_since_best": self.epochs_since_best,
            "threads": self.threads,
            "random": gather_states(self.fabric),
        }
        on_rank_zero(self.fabric, lambda: state_file.write(state))

    def restore(self, saved: dict) -> None:
        """Return to the state that `save_state` wrote."""
        self.history, self.best = History(**saved["history"]), saved["best"]
        if self.history.stopped:
            return
        self.epochs_since_best, self.drops = saved["epochs_since_best"], saved["drops"]
        saved_threads = saved.get("threads", self.threads)  # older checkpoints lack the number
        self.threads = min(saved_threads, torch.get_num_threads())
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scheduler:  # despite its name, last_epoch counts steps; the rate follows from it
            self.scheduler.last_epoch = len(self.history.loss) * self.steps_per_epoch
        self.fabric.strategy.precision.load_state_dict(saved["scaler"])
        set_states(saved["random"], self.fabric)


def validation_correlation(model: Model, data: Dataset) -> float:
    """`kit.score(model, data, "validation").single_trial`, without checking the data again."""
    per_neuron = []
    for recording in data.values():
        predictions = predict_unchecked(model, recording, "validation")  # (T, N)
        responses = recording.responses[recording.rows("validation")]  # (T, N)
        per_neuron.append(correlation(predictions, responses))
    return float(np.concatenate(per_neuron).mean())


def poisson_loss(predictions: Tensor, responses: Tensor) -> Tensor:
    """Poisson loss of predictions (B, N), summed over trials and neurons: a scalar."""
    return (predictions - responses * torch.log(predictions + 1e-8)).sum()


def _batches(data, config, epoch):
    """Yield (mouse, batch) for every step of an epoch, the images of a mouse in random order.

    Mice alternate in proportion to their numbers of batches, so all run out together.
    """
    streams, turns = {}, []  # turns: when a step is due, from 0 to 1 over the epoch, and its mouse
    for mouse, recording in data.items():
        streams[mouse] = recording.batches("train", config.batch_size, (config.seed, epoch))
        steps = _steps_per_epoch(recording, config)
        turns += [((step + 0.5) / steps, mouse) for step in range(steps)]
    for _, mouse in sorted(turns, key=itemgetter(0)):  # those due together stay in the mice's order
        yield mouse, next(streams[mouse])


def _steps_per_epoch(recording, config):
    """Batches per epoch. A last one under half the size is left out: too few for batch norm."""
    full, rest = divmod(len(recording.rows("train")), config.batch_size)
    return full + 1 if full == 0 or 2 * rest >= config.batch_size else full
