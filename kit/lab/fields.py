"""Receptive fields of a model's neurons, by gradients, by spots of light, and by noise."""

import numpy as np
import torch

from kit.checks import require_array, require_int
from kit.data.recordings import Batch
from kit.files import progress
from kit.lab.experiment import BLOCK, Mouse, Neurons, State, Subject, blocks
from kit.lab.stimuli import from_middle
from kit.models.model import Predictor

MAX_IMAGES = 256  # half a gigabyte with a core of 16 channels
IMAGES = 16  # at which gradients are taken: with twice as many, fields hardly change


def receptive_fields(
    model: Predictor,
    neurons: Neurons = None,
    mouse: Mouse = None,
    images: np.ndarray | None = None,
    state: State | None = None,
) -> np.ndarray:
    """The receptive field of each chosen neuron, from gradients: (n, H, W).

    The gradient of the response with respect to the pixels is taken at several images, and the
    field is their first principal component, in response per z-scored pixel: the image that, when
    added, changes the responses most. For a linear neuron it is the filter. A complex cell has no
    filter of one sign; its field is one of the filters that it combines. (At a grey image alone
    many neurons have no gradient, because their response is at its minimum there.)

    neurons: indices; all by default. images: (m, 1, H, W), z-scored; by default 16 of noise with
    the spectrum of natural images. Raises ValueError for unknown neurons and images of another
    size.

    >>> kit.lab.receptive_fields(kit.pretrained("sample+-cnn"), [3, 17]).shape
    (2, 36, 64)
    """
    subject = Subject(model, mouse, state)
    chosen = subject.choose(neurons)
    if images is None:
        images = subject.screen.natural_noise(IMAGES, seed=0)
    subject.require_images(images)
    if len(images) > MAX_IMAGES:
        raise ValueError(
            f"gradients at {len(images)} images need too much memory; give at most "
            f"{MAX_IMAGES}; {IMAGES} are nearly as good"
        )
    fields = []
    with subject.differentiable() as respond:
        pixels = Batch.typical(images).images.to(subject.device, copy=True)
        pixels.requires_grad_()  # (m, 1, H, W)
        totals = respond(pixels).sum(0)  # (N,)
        for neuron in progress(chosen, desc="receptive fields", unit="neuron"):
            (gradient,) = torch.autograd.grad(totals[neuron], pixels, retain_graph=True)
            field = principal_component(gradient[:, 0].double().cpu().numpy())
            fields.append(field.astype(np.float32))
    return np.stack(fields)


def principal_component(gradients: np.ndarray) -> np.ndarray:
    """The first principal component of gradients (m, H, W), about zero: (H, W).

    It has the sign of the mean gradient; its norm is the gradients' root mean square along it.
    """
    flat = gradients.reshape(len(gradients), -1)  # (m, H * W)
    _, vectors = np.linalg.eigh(flat @ flat.T)  # by rising variance
    component = vectors[:, -1] @ flat
    sign = -1 if component @ flat.sum(0) < 0 else 1
    return (sign * component / np.sqrt(len(flat))).reshape(gradients.shape[1:])


def field_centers(fields: np.ndarray) -> np.ndarray:
    """The centre of mass of each squared field: (n, 2) x, y in pixels from the image's centre.

    fields: (n, H, W). A field of zeros has the centre 0, 0.
    """
    energy = require_array("fields", fields, ("n", "H", "W")).astype(float) ** 2
    _, height, width = energy.shape
    total = energy.sum((1, 2))
    total[total == 0] = 1
    x = energy.sum(1) @ from_middle(width) / total
    y = energy.sum(2) @ from_middle(height) / total
    return np.stack([x, y], 1)


def sparse_noise_fields(
    model: Predictor,
    neurons: Neurons = None,
    mouse: Mouse = None,
    spot: int = 3,
    state: State | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Responses to one bright or dark spot at a time, less the response to grey: ON and OFF maps.

    Each is (n, H, W), the response to a spot around that pixel (Jones and Palmer, J Neurophysiol
    1987). ON - OFF is the field of a simple cell; a complex cell responds to both alike.
    spot: side of the square in pixels. As bright as the screen allows in both directions.
    """
    subject = Subject(model, mouse, state)
    chosen, screen = subject.choose(neurons), subject.screen
    require_int("spot", spot, 1, min(screen.size))
    black, white = screen.limits
    brightness = np.float32(min(-black, white))
    grey_image = screen.blank()
    grey = subject.respond(grey_image)[0, chosen]
    pixels = np.arange(grey_image.size)
    on, off = np.empty((2, len(chosen), len(pixels)), np.float32)
    for block in blocks(len(pixels), BLOCK, "sparse noise"):
        spots = brightness * _spots(pixels[block], spot, screen.size)
        on[:, block] = (subject.respond(spots)[:, chosen] - grey).T
        off[:, block] = (subject.respond(-spots)[:, chosen] - grey).T
    return on.reshape(-1, *screen.size), off.reshape(-1, *screen.size)


def _spots(pixels, side, size):
    """Squares around pixels (b,) of images of this size, counted row by row: (b, 1, H, W) bool."""
    rows, columns = np.indices(size)
    y, x = np.unravel_index(pixels[:, None, None, None], size)  # (b, 1, 1, 1)
    down, right = rows - y + side // 2, columns - x + side // 2  # in the square
    return (down >= 0) & (down < side) & (right >= 0) & (right < side)


def spike_triggered_averages(
    model: Predictor,
    neurons: Neurons = None,
    mouse: Mouse = None,
    images: int = 4096,
    seed: int = 0,
    state: State | None = None,
) -> np.ndarray:
    """The mean of white noise, weighted by each neuron's response to it: (n, H, W), z-scored.

    The weight is the response less its mean; the divisor is the sum of the responses (Chichilnisky,
    Network 2001). It finds the filter of a simple cell, and nothing of a complex one. Few images
    leave much noise; gradients, which a brain does not give, need far fewer.
    """
    subject = Subject(model, mouse, state)
    chosen, screen = subject.choose(neurons), subject.screen
    require_int("images", images, 2)
    weighted, plain = np.zeros((len(chosen), *screen.size)), np.zeros(screen.size)
    total = np.zeros(len(chosen))
    seeds = iter(np.random.SeedSequence(seed).spawn(-(-images // BLOCK)))
    for block in blocks(images, BLOCK, "noise"):
        noise = screen.white_noise(block.stop - block.start, next(seeds))[:, 0]  # (b, H, W)
        responses = subject.respond(noise)[:, chosen]  # (b, n)
        weighted += np.tensordot(responses.T, noise, 1)
        plain += noise.sum(0)
        total += responses.sum(0)
    divisor = np.where(total > 0, total, 1)[:, None, None]
    return (weighted - np.multiply.outer(total / images, plain)) / divisor
