"""Receptive fields of a model's neurons, by gradients, by spots of light, and by noise."""

import numpy as np
import torch

from kit.checks import require_array, require_int
from kit.data.recordings import Batch
from kit.files import progress
from kit.lab.experiment import BLOCK, Mouse, Neurons, State, Subject, blocks
from kit.lab.stimuli import from_middle
from kit.models.predictor import Predictor

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

    The first principal component of the response's gradients at several images, in response per
    z-scored pixel: the image that, when added, changes the responses most. For a linear neuron it
    is the filter, for a complex cell one of the filters that it combines. images: (m, 1, H, W),
    z-scored; by default 16 of natural noise. At grey many neurons have no gradient.

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
            f"gradients at {len(images)} images need too much memory; give {MAX_IMAGES} at most"
        )
    fields = []
    with subject.differentiable() as respond:
        pixels = Batch.typical(images).images.to(subject.device, copy=True)
        pixels.requires_grad_()  # (m, 1, H, W)
        totals = respond(pixels).sum(0)  # (N,)
        for neuron in progress(chosen, desc="receptive fields", unit="neuron"):
            (gradient,) = torch.autograd.grad(totals[neuron], pixels, retain_graph=True)
            fields.append(_principal_component(gradient[:, 0].double().cpu().numpy()))
    return np.array(fields, np.float32)


def _principal_component(gradients):
    """The first principal component (H, W) of gradients (m, H, W), about zero, with their sign."""
    flat = gradients.reshape(len(gradients), -1)  # (m, H * W)
    _, vectors = np.linalg.eigh(flat @ flat.T)  # by rising variance
    component = vectors[:, -1] @ flat
    sign = -1 if component @ flat.sum(0) < 0 else 1
    component = sign * component / np.sqrt(len(flat))  # the root mean square along it
    return component.reshape(gradients.shape[1:])


def field_centers(fields: np.ndarray) -> np.ndarray:
    """The centre of mass (n, 2) of squared fields (n, H, W): x, y in pixels from the middle."""
    energy = require_array("fields", fields, ("n", "H", "W")).astype(float) ** 2
    _, height, width = energy.shape
    total = energy.sum((1, 2))
    total[total == 0] = 1  # a field of zeros has the centre 0, 0
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
    spot: side of the square in pixels; its brightness is the highest in both directions.
    """
    subject = Subject(model, mouse, state)
    chosen, screen = subject.choose(neurons), subject.screen
    require_int("spot", spot, 1, min(screen.size))
    x, y = np.meshgrid(from_middle(screen.size[1]), from_middle(screen.size[0]))
    centers = np.stack([x.ravel(), y.ravel()], 1)  # of all pixels, row by row
    black, white = screen.limits
    grey = subject.respond(screen.blank())[0, chosen]
    on, off = [], []
    for block in blocks(len(centers), BLOCK, "sparse noise"):
        spots = screen.bar(0, spot, min(-black, white), centers[block], spot)
        on.append(subject.respond(spots)[:, chosen] - grey)
        off.append(subject.respond(-spots)[:, chosen] - grey)
    on, off = np.concatenate(on).T, np.concatenate(off).T  # (n, H * W)
    return on.reshape(-1, *screen.size), off.reshape(-1, *screen.size)


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
    Network 2001). It finds the filter of a simple cell, and nothing of a complex one.
    """
    subject = Subject(model, mouse, state)
    chosen, screen = subject.choose(neurons), subject.screen
    require_int("images", images, 2)
    weighted, plain = np.zeros((len(chosen), *screen.size)), np.zeros(screen.size)
    total, seeds = np.zeros(len(chosen)), np.random.SeedSequence(seed)
    for block in blocks(images, BLOCK, "noise"):
        noise = screen.white_noise(block.stop - block.start, seeds.spawn(1)[0])[:, 0]  # (b, H, W)
        responses = subject.respond(noise)[:, chosen]  # (b, n)
        weighted += np.tensordot(responses.T, noise, 1)
        plain += noise.sum(0)
        total += responses.sum(0)
    total = total[:, None, None]
    return (weighted - total / images * plain) / np.where(total > 0, total, 1)
