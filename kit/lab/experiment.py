"""The subject of an experiment: a model as one mouse in one state, and its responses to images."""

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, enable_grad, inference_mode, nn
from torch.func import functional_call

from kit.checks import brief, check_settings, require
from kit.data.batches import TYPICAL_BEHAVIOR, Batch, typical_behavior
from kit.data.layout import BEHAVIOR
from kit.files import progress
from kit.lab.stimuli import Screen
from kit.machine import fastest_threads
from kit.models.layers import eval_mode
from kit.models.predictor import Predictor

Neurons = Sequence | np.ndarray | slice | int | None  # indices, not unit ids; None: all
Mouse = str | None  # the id of a mouse; None: the only one of a model
Settings = TypeVar("Settings")

BLOCK = 64  # images shown at a time: more leave the cache and take more memory

QUANTITIES = {  # of a state: label, unit, range in most trials
    "pupil": ("pupil size", "std", (2, 6)),
    "pupil_change": ("change of the pupil", "std", (-2, 2)),
    "running": ("running speed", "std", (0, 3)),
    "eye_x": ("eye position, x", "z-scored", (-2, 2)),
    "eye_y": ("eye position, y", "z-scored", (-2, 2)),
}


@dataclass(frozen=True)
class State:
    """The state of the animal while it sees the images, by default a typical one.

    Zero would not be neutral: behaviour is divided by its std but not centred. A model takes those
    that it has columns for; its columns of other names keep their mean over the recording. Raises
    ValueError beyond 20 std, such as for a pupil in pixels.
    """

    pupil: float = TYPICAL_BEHAVIOR[0]  # size, in its std over the recording; mean about 4
    pupil_change: float = TYPICAL_BEHAVIOR[1]  # in its std
    running: float = TYPICAL_BEHAVIOR[2]  # speed, in its std
    eye_x: float = 0  # position of the eye, z-scored
    eye_y: float = 0

    def __post_init__(self) -> None:
        check_settings(self, **dict.fromkeys(QUANTITIES, (-20, 20)))

    def batch(
        self, images: np.ndarray | Tensor, behavior: Mapping[str, float] | None = None
    ) -> Batch:
        """Images (B, 1, H, W), z-scored, as the animal sees them in this state.

        behavior: name -> typical value of each column that a model takes; else the official three.
        """
        columns = dict(typical_behavior() if behavior is None else behavior)
        for name in columns.keys() & set(BEHAVIOR):
            columns[name] = getattr(self, name)
        batch = Batch.typical(images, columns)
        eye = batch.images.new_tensor([[self.eye_x, self.eye_y]])
        return batch._replace(pupil_center=eye.expand(len(batch.images), -1))

    def changed(self, quantity: str, value: float) -> "State":
        """The same state but for one quantity, such as "running". ValueError for another name."""
        quantity = require("quantity", quantity, str, tuple(QUANTITIES))
        return replace(self, **{quantity: value})


class Subject:
    """The subject of an experiment: one mouse of a model, in one state.

    model: a `Model`, an ensemble, the cells of a simulated mouse, or a module of your own, called
    with a batch and a mouse; it may lack all else that `models.predictor.Predictor` lists. mouse:
    its id; None for the only one. state: a typical one by default. Raises ValueError if the model
    is none or has no such mouse.
    """

    def __init__(self, model: Predictor, mouse: Mouse = None, state: State | None = None) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(
                f"a model is needed, not a {type(model).__name__}; give a kit.Model, an ensemble "
                "or the cells of a kit.truth"
            )
        mouse = require("mouse", mouse, Mouse)
        self.model, self.state = model, require_settings("state", state, State)
        self.mouse = getattr(model, "resolve_mouse", lambda mouse: mouse)(mouse)
        self.image_size = tuple(getattr(model, "image_size", (36, 64)))
        takes = tuple(getattr(model, "state_inputs", ("behavior", "pupil_center")))
        typical: Any = getattr(model, "typical_behavior", lambda mouse: typical_behavior())
        self.behavior = typical(self.mouse)  # name -> typical value of the model's columns
        quantities = set(BEHAVIOR) & set(self.behavior) if "behavior" in takes else set()
        if "pupil_center" in takes:
            quantities |= {"eye_x", "eye_y"}
        self.takes = tuple(name for name in QUANTITIES if name in quantities)  # of a `State`

    @cached_property
    def neurons(self) -> int:
        """The number of neurons that the model predicts, by its responses to a grey image."""
        return self.respond(self.screen.blank()).shape[1]

    @cached_property
    def screen(self) -> Screen:
        """The screen with the mean and std of the recording's pixels, or else the benchmark's."""
        statistics: Any = getattr(self.model, "image_statistics", lambda mouse: None)(self.mouse)
        try:
            return Screen(self.image_size, statistics)
        except ValueError:  # unknown, or of another range than 0-255
            return Screen(self.image_size)

    def require_images(self, images: np.ndarray | Tensor) -> None:
        """Raise ValueError unless images (n, 1, H, W) or (n, H, W) fit the model and are z-scored.

        Warns of photographs from 0 to 1, in which 0, the grey around a stimulus, is rare.
        """
        shape = tuple(getattr(images, "shape", ()))
        if len(shape) < 3 or not shape[0] or shape[-2:] != self.image_size:
            raise ValueError(
                f"this model takes images (n, 1, H, W) of {self.image_size} pixels, these are "
                f"{shape or type(images).__name__}; draw them on kit.lab.screen_of(model)"
            )
        pixels = Batch.typical(images).images
        if 0 <= pixels.min() < pixels.max() <= 1 and pixels.median() > 0:
            warnings.warn(
                "all pixels of these images lie from 0 to 1, where z-scored ones lie around 0; use "
                "(255 * images - 113.5) / 64.6, the benchmark's mean and std",
                stacklevel=3,
            )

    def respond(self, images: np.ndarray | Tensor) -> np.ndarray:
        """The responses (n, N) to images (n, 1, H, W) or (n, H, W) that fit the model."""
        bar = "showing images" if len(images) > 8 * BLOCK else None  # short ones are part of a bar
        responses = []
        with eval_mode(self.model), inference_mode(), fastest_threads():
            for block in blocks(len(images), BLOCK, bar):
                batch = self.state.batch(images[block], self.behavior)
                responses.append(self.model(batch, self.mouse).float().cpu().numpy())
        return np.concatenate(responses)

    def respond_to_own(self, images: np.ndarray | Tensor, neurons: np.ndarray) -> np.ndarray:
        """The response (n,) of each of n neurons to its own of the images (n, 1, H, W)."""
        return self.respond(images)[range(len(neurons)), neurons]

    def choose(self, neurons: Neurons) -> np.ndarray:
        """The indices (n,) of chosen neurons; None chooses all. ValueError for unknown ones."""
        if isinstance(neurons, tuple):
            neurons = list(neurons)
        every = np.arange(self.neurons)
        try:
            chosen = np.atleast_1d(every[slice(None) if neurons is None else neurons])
        except (IndexError, TypeError, ValueError):
            chosen = every[:0]
        if chosen.ndim > 1 or not len(chosen):
            raise ValueError(
                f"neurons={brief(neurons)} are not neurons of mouse {self.mouse}; give one or more "
                f"whole numbers from 0 to {len(every) - 1}; of unit ids, "
                "np.flatnonzero(np.isin(recording.unit_ids, ids))"
            )
        return chosen

    def require_neurons_of(self, other: "Subject", name: str = "the model") -> None:
        """Raise ValueError unless it takes the images and predicts the neurons of the other."""
        if (self.image_size, self.neurons) != (other.image_size, other.neurons):
            others = f"mouse {other.mouse}" if other.mouse else "the first model"
            raise ValueError(
                f"{name} takes {self.image_size} images and predicts {self.neurons} neurons, "
                f"{others} has {other.image_size} and {other.neurons}; give a model that was "
                "trained on the same recording"
            )

    @contextmanager
    def differentiable(self) -> Generator[Callable[[Tensor], Tensor]]:
        """A function of images (B, 1, H, W) to responses (B, N) that leaves the model untouched."""
        tensors = {name: value.detach() for name, value in self.model.named_parameters()}
        tensors |= dict(self.model.named_buffers())  # without gradients, which would cost time

        def respond(images):
            batch = self.state.batch(images, self.behavior)
            return functional_call(self.model, tensors, (batch, self.mouse))

        with eval_mode(self.model), fastest_threads(), inference_mode(False), enable_grad():
            yield respond

    @property
    def device(self) -> torch.device:
        """The device of the model's tensors."""
        return next(iter(self.model.state_dict().values()), torch.empty(0)).device


def responses(
    model: Predictor, images: np.ndarray | Tensor, mouse: Mouse = None, state: State | None = None
) -> np.ndarray:
    """The responses (n, N) to z-scored images (n, 1, H, W) or (n, H, W), in each neuron's std.

    >>> twin = kit.pretrained("sample+-cnn")
    >>> kit.lab.responses(twin, kit.lab.screen_of(twin).grating(0, [0.05, 0.1])).shape
    (2, 600)
    """
    subject = Subject(model, mouse, state)
    subject.require_images(images)
    return subject.respond(images)


def screen_of(
    model: Predictor, mouse: Mouse = None, degrees_per_pixel: float | None = None
) -> Screen:
    """The screen on which a model's images are shown, see `Subject.screen`."""
    return replace(Subject(model, mouse).screen, degrees_per_pixel=degrees_per_pixel)


def blocks(count: int, size: int, bar: str | None = None) -> Iterator[slice]:
    """Slices of at most `size` of `count` rows, with a progress bar if it has a name."""
    starts = range(0, count, size)
    for start in progress(starts, desc=bar, unit="block") if bar else starts:
        yield slice(start, min(start + size, count))


def require_settings(name: str, settings: object, kind: type[Settings]) -> Settings:
    """The settings, or their default if they are None. ValueError if they are of another kind."""
    if settings is None:
        return kind()
    if not isinstance(settings, kind):
        needed = kind.__name__
        raise ValueError(f"{name}={brief(settings)} is not a {needed}; give kit.lab.{needed}(...)")
    return settings
