"""Most exciting images: gradient ascent on the pixels for one neuron each."""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from kit.checks import SEEDS, check_settings
from kit.files import progress
from kit.lab.experiment import Mouse, Neurons, State, Subject, blocks, require_settings
from kit.lab.stimuli import Screen
from kit.models.predictor import Predictor

TOGETHER = 50  # neurons that are done at once
STARTS = 64  # noise images to begin with; each neuron takes the one it likes best


@dataclass(frozen=True)
class AscentConfig:
    """Settings of the ascent to best images, after Walker et al. (Nature Neuroscience 2019)."""

    steps: int = 200  # of gradient ascent; most neurons are done after 50
    lr: float = 0.5  # length of the first step, as a share of the image's; falls to 0
    contrast: float = 0.25  # RMS over the whole image, before clipping; a norm of 12 for 36 x 64
    blur: float = 1.5  # std of the Gaussian that smooths the gradient, pixels
    seed: int = 0  # of the noise to begin with

    def __post_init__(self) -> None:
        check_settings(
            self, steps=(1, inf), lr=(1e-6, 100), contrast=(1e-6, 10), blur=(0, 100), seed=SEEDS
        )


ASCENT = AscentConfig(steps=60)  # for thousands of neurons: further steps hardly change the images


@dataclass(frozen=True, eq=False)
class MostExcitingImages:
    """Images that a model predicts to excite n neurons most, at a fixed contrast."""

    images: np.ndarray  # (n, 1, H, W) z-scored
    activations: np.ndarray  # (n, steps) predicted response after every step
    neurons: np.ndarray  # (n,) indices
    natural_best: np.ndarray | None = None  # (n,) highest predicted response to a natural image

    @property
    def contrast(self) -> np.ndarray:
        """(n,) RMS contrast, in std of the recording's pixels; clipping lowers it."""
        return self.images.std((1, 2, 3))

    @property
    def extrapolates(self) -> np.ndarray:
        """(n,) bool: whether the response exceeds the highest to natural images, if given."""
        if self.natural_best is None:
            raise ValueError(
                "no natural images to compare with; give some to most_exciting_images(natural=...)"
            )
        return self.activations[:, -1] > self.natural_best

    def __repr__(self):
        last, natural = self.activations[:, -1], self.natural_best
        count = len(last)
        text = (
            f"most exciting images of {count} neurons: RMS contrast {np.median(self.contrast):.2f} "
            f"(median), pixels from 0 to 255\npredicted response: {np.median(last):.2f} (median)"
        )
        responding = (last if natural is None else natural) > 0
        if natural is None:
            text += "\nnot compared with natural images (natural=None)"
        else:
            if responding.any():
                ratio = np.median(last[responding] / natural[responding])
                text += f", {ratio:.2f} times that to the best natural image (median)"
            beyond = self.extrapolates.sum()
            text += f"\nabove every natural image: {beyond} of {count}"
            if beyond:
                text += ", an extrapolation, which only an experiment can confirm"
        silent = count - responding.sum()
        if silent:
            text += f"\nnever respond: {silent} of {count}, which no ratio counts"
        return text


def most_exciting_images(
    model: Predictor,
    neurons: Neurons = None,
    mouse: Mouse = None,
    config: AscentConfig | None = None,
    natural: np.ndarray | None = None,
    state: State | None = None,
) -> MostExcitingImages:
    """The image that excites each chosen neuron most, by gradient ascent from noise.

    Each step adds the blurred gradient, then restores mean and contrast and clips to pixels 0-255.
    neurons: indices; all by default. natural: images (m, 1, H, W), z-scored, to compare the
    predicted responses with. Raises ValueError for unknown neurons.

    >>> twin, quick = kit.pretrained("sample+-cnn"), kit.lab.AscentConfig(steps=20)
    >>> kit.lab.most_exciting_images(twin, [3, 17], config=quick).images.shape
    (2, 1, 36, 64)
    """
    subject = Subject(model, mouse, state)
    config = require_settings("config", config, AscentConfig)
    chosen, screen = subject.choose(neurons), subject.screen
    best = None
    if natural is not None:
        subject.require_images(natural)
        best = subject.respond(natural)[:, chosen].max(0).astype(float)
    bar = progress(total=config.steps * len(chosen), desc="ascent")
    with subject.differentiable() as respond, bar:
        noise = torch.from_numpy(screen.white_noise(STARTS, config.seed)).to(subject.device)
        noise = project(noise, config.contrast, screen)
        favourites = subject.respond(noise)[:, chosen].argmax(0)  # (n,)
        ascents = [
            _ascend(respond, noise[favourites[block]], chosen[block], config, screen, bar)
            for block in blocks(len(chosen), TOGETHER)
        ]
    images, activations = map(np.concatenate, zip(*ascents, strict=True))
    return MostExcitingImages(images, activations, chosen, best)


def _ascend(respond, images, neurons, config, screen, bar):
    """Images (n, 1, H, W), one for each neuron, and the responses (n, steps) after every step."""
    activations = []
    rows = range(len(neurons))
    response = respond(images.requires_grad_())[rows, neurons]  # (n,)
    for step in range(config.steps):
        (gradient,) = torch.autograd.grad(response.sum(), images)
        gradient = _blurred(gradient, config.blur)
        length = config.lr * config.contrast * (1 - step / config.steps)
        images = images.detach() + length * gradient / _rms(gradient)
        images = project(images, config.contrast, screen)
        response = respond(images.requires_grad_())[rows, neurons]
        activations.append(response.detach())
        bar.update(len(images))
    return images.detach().cpu().numpy(), torch.stack(activations, 1).cpu().numpy()


def project(images: Tensor, contrast: float, screen: Screen) -> Tensor:
    """Images (n, 1, H, W) of mean 0 and this RMS contrast, then clipped to black and white."""
    images = images - images.mean((1, 2, 3), keepdim=True)
    return (images * (contrast / _rms(images))).clamp(*screen.limits)


def _rms(images):
    """The root mean square of each image (n, 1, H, W), never quite 0: (n, 1, 1, 1)."""
    return images.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20)


def _blurred(images, sigma):
    """Images (n, 1, H, W) smoothed by a Gaussian of standard deviation sigma, in pixels."""
    if sigma == 0:
        return images
    reach = int(np.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1).to(images)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    images = conv2d(images, weights.view(1, 1, -1, 1), padding="same")
    return conv2d(images, weights.view(1, 1, 1, -1), padding="same")
