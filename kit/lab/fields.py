"""Receptive fields of a model's neurons, by gradients, by spots of light, and by noise."""

import numpy as np
import torch
from torch import nn

from kit.checks import require_array, require_int
from kit.data.recordings import Batch
from kit.files import progress
from kit.lab.experiment import BLOCK, Neurons, State, Subject

MAX_IMAGES = 256  # half a gigabyte with a core of 16 channels
IMAGES = 16  # at which gradients are taken: with twice as many, fields hardly change


def receptive_fields(
    model: nn.Module,
    neurons: Neurons = None,
    mouse: str | None = None,
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
    fields = np.empty((len(chosen), *images.shape[-2:]), np.float32)
    with subject.differentiable() as respond:
        pixels = Batch.typical(images).images.to(subject.device, copy=True)
        pixels.requires_grad_()  # (m, 1, H, W)
        totals = respond(pixels).sum(0)  # (N,)
        for i, neuron in enumerate(progress(chosen, desc="receptive fields", unit="neuron")):
            (gradient,) = torch.autograd.grad(totals[neuron], pixels, retain_graph=True)
            fields[i] = principal_component(gradient[:, 0].double().cpu().numpy())
    return fields


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
    height, width = energy.shape[1:]
    total = energy.sum((1, 2))
    total[total == 0] = 1
    x = energy.sum(1) @ (np.arange(width) - (width - 1) / 2) / total
    y = energy.sum(2) @ (np.arange(height) - (height - 1) / 2) / total
    return np.stack([x, y], 1)


def sparse_noise_fields(
    model: nn.Module,
    neurons: Neurons = None,
    mouse: str | None = None,
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
    height, width = screen.size
    require_int("spot", spot, 1, min(height, width))
    value = min(-screen.limits[0], screen.limits[1])
    rest = subject.respond(screen.blank())[0, chosen]
    maps = np.empty((2, len(chosen), height * width), np.float32)
    places = np.arange(height * width)
    for start in progress(range(0, len(places), BLOCK), desc="sparse noise", unit="block"):
        block = places[start : start + BLOCK]
        spots = np.zeros((len(block), 1, height, width), np.float32)
        for image, place in zip(spots[:, 0], block, strict=True):
            y, x = divmod(place, width)
            first_y, first_x = max(y - spot // 2, 0), max(x - spot // 2, 0)
            image[first_y : y - spot // 2 + spot, first_x : x - spot // 2 + spot] = value
        for sign, polarity in enumerate((spots, -spots)):
            shown = subject.respond(polarity)[:, chosen] - rest
            maps[sign][:, block] = shown.T
    on, off = maps.reshape(2, len(chosen), height, width)
    return on, off


def spike_triggered_averages(
    model: nn.Module,
    neurons: Neurons = None,
    mouse: str | None = None,
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
    weighted = np.zeros((len(chosen), *screen.size))
    plain, total = np.zeros(screen.size), np.zeros(len(chosen))
    starts = range(0, images, BLOCK)
    seeds = np.random.SeedSequence(seed).spawn(len(starts))
    for start, block_seed in zip(progress(starts, desc="noise", unit="block"), seeds, strict=True):
        noise = screen.white_noise(min(BLOCK, images - start), block_seed)
        shown = subject.respond(noise)[:, chosen]  # (b, n)
        weighted += np.tensordot(shown.T, noise[:, 0], 1)
        plain += noise[:, 0].sum(0)
        total += shown.sum(0)
    mean = total[:, None, None] / images
    return (weighted - mean * plain) / np.where(total > 0, total, 1)[:, None, None]
