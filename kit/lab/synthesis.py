"""Most exciting images: gradient ascent on the pixels for one neuron each."""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from kit.checks import SEEDS, check_settings
from kit.files import progress
from kit.lab.experiment import Neurons, State, Subject, settings_or_default
from kit.lab.stimuli import Screen

TOGETHER = 50  # neurons that are done at once
STARTS = 64  # noise images to begin with; each neuron takes the one it likes best


@dataclass(frozen=True)
class AscentConfig:
    """How most exciting images are made, after Walker et al. (Nature Neuroscience 2019).

    Raises ValueError for values that are not possible.
    """

    steps: int = 200  # of gradient ascent; most neurons are done after 50
    lr: float = 0.5  # length of the first step, as a share of the image's; falls to 0
    contrast: float = 0.25  # RMS over the whole image, before clipping; a norm of 12 for 36 x 64
    blur: float = 1.5  # std of the Gaussian that smooths the gradient, pixels
    seed: int = 0  # of the noise to begin with

    def __post_init__(self) -> None:
        check_settings(
            self, steps=(1, inf), lr=(1e-6, 100), contrast=(1e-6, 10), blur=(0, 100), seed=SEEDS
        )


@dataclass(frozen=True, eq=False)
class MostExcitingImages:
    """Images that a model predicts to excite n neurons most, at a fixed contrast."""

    images: np.ndarray  # (n, 1, H, W) z-scored
    activations: np.ndarray  # (n, steps) predicted response after every step
    neurons: np.ndarray  # (n,) indices
    natural_best: np.ndarray | None = None  # (n,) highest predicted response to a natural image

    @property
    def contrast(self) -> np.ndarray:
        """(n,) RMS contrast, in std of the recording's pixels; clipping lowers that asked for."""
        return self.images.std((1, 2, 3))

    @property
    def extrapolates(self) -> np.ndarray:
        """(n,) bool: whether the response exceeds that to the best natural image.

        Raises ValueError if no natural images were given.
        """
        if self.natural_best is None:
            raise ValueError(
                "there are no natural images to compare with; give some: "
                "most_exciting_images(..., natural=data.mouse.images)"
            )
        return self.activations[:, -1] > self.natural_best

    def __repr__(self):
        last = self.activations[:, -1]
        lines = [
            f"most exciting images of {len(last)} neurons: RMS contrast "
            f"{np.median(self.contrast):.2f} (median), pixels from 0 to 255",
            f"predicted response: {np.median(last):.2f} (median)",
        ]
        if self.natural_best is None:
            lines.append("not compared with natural images (natural=None)")
        else:
            beyond = self.extrapolates.sum()
            responding = self.natural_best > 0
            ratio = last[responding] / self.natural_best[responding]
            if len(ratio):
                lines[1] += (
                    f", {np.median(ratio):.2f} times that to the best natural image (median)"
                )
            lines.append(f"above every natural image: {beyond} of {len(last)}")
            if beyond:
                lines[-1] += ", an extrapolation, which only an experiment can confirm"
        silent = (last <= 0) if self.natural_best is None else self.natural_best <= 0
        if silent.any():
            lines.append(f"never respond: {silent.sum()} of {len(last)}, which no ratio counts")
        return "\n".join(lines)


def most_exciting_images(
    model: nn.Module,
    neurons: Neurons = None,
    mouse: str | None = None,
    config: AscentConfig | None = None,
    natural: np.ndarray | None = None,
    state: State | None = None,
) -> MostExcitingImages:
    """The image that excites each chosen neuron most, by gradient ascent from noise.

    Each step adds the blurred gradient, then restores mean and contrast and clips to pixels 0-255.
    Without the blur the result is noise. neurons: indices; all by default. natural: images
    (m, 1, H, W), z-scored, such as a recording's, to compare the predicted responses with.
    Raises ValueError for unknown neurons.

    >>> twin = kit.pretrained("sample+-cnn")
    >>> found = kit.lab.most_exciting_images(twin, [3, 17], config=kit.lab.AscentConfig(steps=20))
    >>> found.images.shape, found.activations.shape
    ((2, 1, 36, 64), (2, 20))
    """
    subject, config = (
        Subject(model, mouse, state),
        settings_or_default("config", config, AscentConfig),
    )
    chosen, screen = subject.choose(neurons), subject.screen
    best = None if natural is None else _best_response(subject, natural, chosen)
    images, activations = [], []
    bar = progress(total=config.steps * len(chosen), desc="ascent")
    with subject.differentiable() as respond, bar:
        noise = torch.from_numpy(screen.white_noise(STARTS, config.seed)).to(subject.device)
        noise = project(noise, config.contrast, screen)
        favourite = subject.respond(noise)[:, chosen].argmax(0)  # (n,)
        for start in range(0, len(chosen), TOGETHER):
            block = slice(start, start + TOGETHER)
            image, activation = _ascend(
                respond, noise[favourite[block]], chosen[block], config, screen, bar
            )
            images.append(image.cpu().numpy())
            activations.append(activation.cpu().numpy())
    return MostExcitingImages(np.concatenate(images), np.concatenate(activations), chosen, best)


def _ascend(respond, image, neurons, config, screen, bar):
    """Images (n, 1, H, W), one for each neuron, and the responses (n, steps) after every step."""
    neurons = torch.from_numpy(neurons).to(image.device)[:, None]
    activations = []
    for step in range(config.steps):
        image = image.detach().requires_grad_()
        response = respond(image).gather(1, neurons)[:, 0]  # (n,)
        (gradient,) = torch.autograd.grad(response.sum(), image)
        gradient = blurred(gradient, config.blur)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20)
        length = config.lr * config.contrast * (1 - step / config.steps)
        image = project(image.detach() + length * gradient / size, config.contrast, screen)
        activations.append(response.detach())
        bar.update(len(image))
    with torch.no_grad():
        activations.append(respond(image).gather(1, neurons)[:, 0])
    return image, torch.stack(activations[1:], 1)


def project(images: Tensor, contrast: float, screen: Screen) -> Tensor:
    """Images (n, 1, H, W) of mean 0 and this RMS contrast, then clipped to black and white."""
    images = images - images.mean((1, 2, 3), keepdim=True)
    std = images.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20)
    return (images * (contrast / std)).clamp(*screen.limits)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (n, 1, H, W) smoothed by a Gaussian of standard deviation sigma, in pixels."""
    if sigma == 0:
        return images
    reach = int(np.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    images = conv2d(images, weights.view(1, 1, -1, 1), padding=(reach, 0))
    return conv2d(images, weights.view(1, 1, 1, -1), padding=(0, reach))


def _best_response(subject, images, neurons):
    """The highest response (n,) of each neuron to any of the images, in blocks to save memory."""
    subject.require_images(images)
    best = np.full(len(neurons), -np.inf)
    for start in range(0, len(images), 512):
        shown = subject.respond(images[start : start + 512])[:, neurons]
        best = np.maximum(best, shown.max(0))
    return best
