"""How a model is asked: its responses to any images in a state of the animal, and their slopes."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from kit.data.recordings import TYPICAL_BEHAVIOR, Batch, require_z_scored
from kit.files import progress
from kit.lab.stimuli import PIXEL_STATISTICS, Screen
from kit.models.layers import eval_mode
from kit.report import brief, check_settings, suggest
from kit.threads import fastest_threads

Neurons = Sequence | np.ndarray | slice | int | None  # indices, not unit ids; None: all

BLOCK = 64  # images shown at a time: more leave the cache and take more memory


@dataclass(frozen=True)
class State:
    """What the animal does while it sees the images. The default is a typical state.

    Zero would not be neutral: behaviour is divided by its std but not centred. Raises ValueError
    for what is not a number from -20 to 20, such as a pupil in pixels.
    """

    pupil: float = TYPICAL_BEHAVIOR[0]         # size, in its std over the recording; mean about 4
    pupil_change: float = TYPICAL_BEHAVIOR[1]  # in its std
    running: float = TYPICAL_BEHAVIOR[2]       # speed, in its std
    eye_x: float = 0                           # position of the eye, z-scored
    eye_y: float = 0

    def __post_init__(self) -> None:
        check_settings(self, **dict.fromkeys(vars(self), (-20, 20)))  # no animal goes beyond 20 std

    def batch(self, images: np.ndarray | Tensor) -> Batch:
        """Images (B, 1, H, W), z-scored, as the animal sees them in this state."""
        batch = Batch.typical(images)
        behavior = batch.behavior.new_tensor([self.pupil, self.pupil_change, self.running])
        eye = batch.behavior.new_tensor([self.eye_x, self.eye_y])
        return batch._replace(behavior=behavior.expand(len(batch.images), -1),
                              pupil_center=eye.expand(len(batch.images), -1))

    def changed(self, quantity: str, value: float) -> "State":
        """The same state but for one quantity, such as "running". ValueError for another name."""
        if not isinstance(quantity, str) or quantity not in self.__dataclass_fields__:
            names = list(self.__dataclass_fields__)
            raise ValueError(f"a state has no {brief(repr(quantity))}; {suggest(quantity, names)}"
                             f"it has {', '.join(names)}")
        return replace(self, **{quantity: value})


def responses(model: nn.Module, images: np.ndarray | Tensor, mouse: str | None = None,
              state: State | None = None) -> np.ndarray:
    """The responses of every neuron to images of your own: (n, N), in units of its std.

    model: a `Model`, an ensemble, or the cells of a simulated mouse. images: (n, 1, H, W) or
    (n, H, W), z-scored. Raises ValueError for images of another size and for an unknown mouse.

    >>> twin = kit.pretrained("sample+-cnn")
    >>> kit.lab.responses(twin, kit.lab.screen_of(twin).grating(0, [0.05, 0.1])).shape
    (2, 600)
    """
    mouse, state = resolve(model, mouse), given("state", state, State)
    require_images(model, images)
    blocks, starts = [], range(0, len(images), BLOCK)
    if len(starts) > 8:  # short ones are part of something that has a bar
        starts = progress(starts, desc="showing images", unit="block")
    with eval_mode(model), torch.inference_mode(), fastest_threads():
        for start in starts:
            batch = state.batch(images[start:start + BLOCK])
            blocks.append(model(batch, mouse).float().cpu().numpy())
    return np.concatenate(blocks)  # (n, N)


def resolve(model: nn.Module, mouse: str | None) -> str:
    """The id of the mouse to ask. Raises ValueError if it has no such mouse, or is not a model.

    A module of your own, called with a batch and a mouse, may have any mouse.
    """
    if not isinstance(mouse, str | None):
        raise ValueError(f"mouse={brief(mouse)} is not the id of a mouse; give a text such as "
                         '"27204-5-13", and chosen neurons as neurons=[...]')
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model is needed, not a {type(model).__name__}; give a kit.Model, an "
                         'ensemble, or the cells of a simulated mouse, kit.truth("sample+").cells')
    return model.resolve_mouse(mouse) if hasattr(model, "resolve_mouse") else mouse


def image_size(model: nn.Module) -> tuple[int, int]:
    """Height and width of the images that a model takes; 36 x 64 if it does not say."""
    return tuple(getattr(model, "image_size", (36, 64)))


def require_images(model: nn.Module, images: np.ndarray | Tensor) -> None:
    """Raise ValueError unless images (n, 1, H, W) or (n, H, W) are z-scored and fit the model.

    Warns of photographs from 0 to 1.
    """
    shape = tuple(np.shape(images)) if isinstance(images, np.ndarray | Tensor) else ()
    if len(shape) < 3 or not shape[0] or shape[-2:] != image_size(model):
        raise ValueError(f"this model takes images (n, 1, H, W) of {image_size(model)} pixels, "
                         f"these are {shape or type(images).__name__}; draw them on "
                         "kit.lab.screen_of(model)")
    lowest, highest = np.inf, -np.inf
    for start in range(0, len(images), 512):  # in blocks, to save memory
        low, high = require_z_scored(images[start:start + 512])
        lowest, highest = min(low, lowest), max(high, highest)
    if lowest >= 0 and 0.5 < highest <= 1 and _looks_like_photographs(images):
        warnings.warn("all pixels of these images lie from 0 to 1, where z-scored ones lie around "
                      "0; for pixels from 0 to 1 use (255 * images - 113.5) / 64.6, the "
                      "benchmark's mean and std", stacklevel=3)


def _looks_like_photographs(images):
    """Whether images vary and hardly any pixel is exactly 0, the grey around a stimulus."""
    images = np.asarray(images.detach().cpu() if isinstance(images, Tensor) else images)
    return images.std() > 0.05 and images.mean() > 0.2 and np.mean(images == 0) < 0.1


def screen_of(model: nn.Module, mouse: str | None = None,
              degrees_per_pixel: float | None = None) -> Screen:
    """The screen on which a model's images are shown, with the statistics of its recording.

    Raises ValueError if it has no such mouse. Models that do not know the statistics, such as the
    published ones, get those of the benchmark, and so do recordings with pixels of another range
    than 0-255: in z-scored units black and white are then about what they are in natural images.
    """
    mouse, size, member = resolve(model, mouse), image_size(model), first_member(model)
    if hasattr(member, "pixel_statistics"):  # simulated cells
        mean, std = map(float, member.pixel_statistics)
        return Screen(size, (mean, std), degrees_per_pixel)
    known = getattr(member, "data_statistics", {}).get(mouse, {})
    screen = Screen(size, degrees_per_pixel=degrees_per_pixel)
    pixels = tuple(float(known.get(f"images_{name}", 0)) for name in ("mean", "std"))
    low, high = PIXEL_STATISTICS
    if low <= min(pixels) <= max(pixels) <= high:
        return replace(screen, pixel_statistics=pixels)
    return screen


def first_member(model: nn.Module) -> nn.Module:
    """The first member of an ensemble, whose data and inputs are those of all; else the model."""
    return model.members[0] if hasattr(model, "members") else model


def given(name: str, settings: object, kind: type) -> object:
    """The settings, or their default if they are None. ValueError if they are of another kind."""
    if settings is None:
        return kind()
    if not isinstance(settings, kind):
        raise ValueError(f"{name}={brief(settings)} is not a {kind.__name__}; give "
                         f"kit.lab.{kind.__name__}(...), or leave it out")
    return settings


def count_neurons(model: nn.Module, mouse: str, state: State | None = None) -> int:
    """How many neurons of a mouse a model predicts, found by showing it one grey image."""
    return responses(model, np.zeros((1, *image_size(model))), mouse, state).shape[1]


def choose(model: nn.Module, mouse: str, neurons: Neurons,
           state: State | None = None) -> np.ndarray:
    """The indices (n,) of chosen neurons; None chooses all. Raises ValueError for unknown ones."""
    count = count_neurons(model, mouse, state)
    if isinstance(neurons, tuple):
        neurons = list(neurons)
    try:
        chosen = np.atleast_1d(np.arange(count)[slice(None) if neurons is None else neurons])
    except (IndexError, TypeError, ValueError):
        chosen = np.array([])
    if chosen.ndim == 1 and len(chosen):
        return chosen
    raise ValueError(f"neurons={brief(neurons)} are not neurons of mouse {mouse}; give one or "
                     f"more whole numbers from 0 to {count - 1}, or leave it out for all; of unit "
                     "ids, np.flatnonzero(np.isin(recording.unit_ids, ids))")


def differentiable(model: nn.Module, mouse: str, state: State) -> Callable[[Tensor], Tensor]:
    """A function of images (B, 1, H, W) to responses (B, N) that leaves the model untouched.

    Only the images have a gradient: that of the weights, which nobody needs here, costs time.
    """
    tensors = {name: value.detach() for name, value in model.named_parameters()}
    tensors |= dict(model.named_buffers())
    return lambda images: functional_call(model, tensors, (state.batch(images), mouse))


@contextmanager
def gradients(model: nn.Module) -> Iterator[None]:
    """Within the block gradients are computed, whatever the caller has switched off."""
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad(), fastest_threads():
        yield


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's tensors."""
    tensors = model.state_dict().values()
    return next(iter(tensors)).device if tensors else torch.device("cpu")
