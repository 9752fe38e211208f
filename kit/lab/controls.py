"""The controls of the playground: what a grating and the animal's state can be set to."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import nn

from kit.lab.experiment import State, Subject
from kit.lab.stimuli import NATURAL_CONTRAST, Screen


class Control(NamedTuple):
    """One quantity that a visitor can move."""

    name: str
    label: str
    unit: str
    low: float
    high: float
    step: float
    start: float


def controls(model: nn.Module, mouse: str | None = None) -> tuple[Control, ...]:
    """The controls of a model's playground. State that it does not take has none.

    Raises ValueError if it has no such mouse.
    """
    subject, typical = Subject(model, mouse), State()
    screen = subject.screen
    half_height, half_width = (pixels // 2 for pixels in screen.size)
    highest = np.floor(screen.max_contrast * 20) / 20
    stimulus = (
        Control("orientation", "orientation", "degrees", 0, 180, 5, 45),
        Control("frequency", "spatial frequency", "cycles/pixel", 0.02, 0.2, 0.01, 0.06),
        Control("radius", "radius", "pixels", 1, max(half_width, half_height) + 8, 1, half_height),
        Control("x", "position, right", "pixels", -half_width, half_width, 1, 0),
        Control("y", "position, down", "pixels", -half_height, half_height, 1, 0),
        Control(
            "contrast", "contrast", "RMS, std", 0, highest, 0.05, min(NATURAL_CONTRAST, highest)
        ),
    )
    behavior = (
        Control("pupil", "pupil size", "std", 2, 6, 0.25, typical.pupil),
        Control("running", "running speed", "std", 0, 3, 0.25, typical.running),
    )
    eye = (
        Control("eye_x", "eye position, x", "z-scored", -2, 2, 0.25, typical.eye_x),
        Control("eye_y", "eye position, y", "z-scored", -2, 2, 0.25, typical.eye_y),
    )
    shown = stimulus
    if "behavior" in subject.takes:
        shown += behavior
    if "pupil_center" in subject.takes:
        shown += eye
    return shown


def draw(screen: Screen, values: Mapping[str, float]) -> np.ndarray:
    """The grating (1, 1, H, W) for the values of the controls, bright at the centre of its disc."""
    angle, x, y = np.radians(values["orientation"]), values["x"], values["y"]
    across = np.cos(angle) * x + np.sin(angle) * y  # from the middle of the image to the centre
    phase = -2 * np.pi * values["frequency"] * across
    return screen.grating(
        angle, values["frequency"], phase, values["contrast"], (x, y), values["radius"]
    )


def respond(
    model: nn.Module, values: Mapping[str, float], mouse: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The stimulus (H, W) for the values of the controls, and all responses to it (N,)."""
    state = State(**{name: values[name] for name in State.__dataclass_fields__ if name in values})
    subject = Subject(model, mouse, state)
    image = draw(subject.screen, values)
    return image[0, 0], subject.respond(image)[0]
