"""A training that runs in the background, with its curves and a stop button."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from copy import deepcopy
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from kit.data.recordings import Dataset
from kit.models.model import Model
from kit.training.config import History, TrainConfig, require_train_config
from kit.training.loop import train
from kit.widgets.explorer import Explorer
from kit.widgets.figures import TrainingFigure

THREAD = "kit-training"
_TRAINING: set = set()  # ids of the models that a monitor trains at present


def training_monitor(
    model: Model,
    data: Dataset,
    config: TrainConfig | None = None,
    checkpoint: str | Path | None = None,
) -> TrainingMonitor:
    """Start `kit.train` in the background, and return at once: growing curves and a stop button.

    A later cell gets the result: `log = await monitor`. The button works while that cell waits, in
    JupyterLab with ipykernel 7 or newer; elsewhere interrupt the cell, with the same effect. In a
    script, write `log = monitor.wait()`. It takes what `kit.train` takes. The result is the same
    each time unless something else draws torch's random numbers meanwhile, such as a new model.
    Raises ValueError if another monitor is training this model.

    >>> data = kit.load("sample+").subset(64)
    >>> model = kit.cnn_baseline(data, channels=4)
    >>> monitor = kit.widgets.training_monitor(model, data, kit.TrainConfig.quick(epochs=1))
    >>> len(monitor.wait().loss)
    1
    """
    return TrainingMonitor(model, data, require_train_config(config), checkpoint)


class TrainingMonitor(Explorer):
    """A training in a thread of its own."""

    keeps_picture = False  # the curves have only begun when it is shown

    def __init__(
        self, model: Model, data: Dataset, config: TrainConfig, checkpoint: str | Path | None = None
    ) -> None:
        if id(model) in _TRAINING:
            raise ValueError(
                "this model is being trained already; stop that training, or wait for "
                "it with monitor.wait()"
            )
        self.history = History()
        self._problem = None
        self._epochs = config.epochs
        self._stop = threading.Event()
        self._ended = False
        self.button = widgets.Button(
            description="Stop training", icon="stop", layout=widgets.Layout(width="190px")
        )
        self.button.on_click(lambda _: self.stop())
        super().__init__(TrainingFigure(config.epochs), {}, self._show_history)
        self.children = (self.button, *self.children[1:])
        _TRAINING.add(id(model))
        arguments = model, data, config, checkpoint
        self._thread = threading.Thread(target=self._run, args=arguments, name=THREAD, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the training after the present step. The model keeps its best weights."""
        self._stop.set()
        self.refresh()

    def wait(self) -> History:
        """Wait until the training ends, and return its `History`. Ctrl-C ends the training.

        Raises what `kit.train` raises.
        """
        while self._thread.is_alive():
            try:
                self._thread.join(0.2)
            except KeyboardInterrupt:
                self.stop()
        if self._problem:
            raise self._problem
        return self.history

    def __await__(self) -> Generator[Any, None, History]:
        """Like `wait`, but other parts of the notebook go on meanwhile."""
        return self._wait_in_turns().__await__()

    async def _wait_in_turns(self):
        while self._thread.is_alive():
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:  # so a kernel interrupts a cell that awaits
                self.stop()
        return self.wait()

    def _run(self, model, data, config, checkpoint):
        try:
            self.history = train(model, data, config, checkpoint, self._after_step)
        except Exception as problem:  # `wait` raises it
            self._problem = problem
        finally:
            _TRAINING.discard(id(model))
            self._ended = True
            self.refresh()

    def _after_step(self, history):
        if len(history.loss) > len(self.history.loss):
            self.history = deepcopy(history)
            self.refresh()
        return self._stop.is_set()

    def _show_history(self, values):
        history = self.history
        best = self.history.best_epoch
        self.button.disabled = self._ended or self._stop.is_set()
        if self.button.disabled:
            self.button.description = "Training has ended" if self._ended else "Stopping"
        self.figure.show_history(history)
        if self._problem:
            return f"The training failed: {self._problem}"
        if best is None and history.stopped:
            return f"The training has ended in its first epoch ({history.stopped})."
        if best is None:
            return f"The training has begun; its first epoch of up to {self._epochs} is running."
        state = f"it has ended ({history.stopped})" if history.stopped else "it goes on"
        return (
            f"Epoch {len(history.loss)} of up to {self._epochs}: best validation correlation "
            f"{history.correlation[best]:.3f} in epoch {best + 1}; {state}."
        )
