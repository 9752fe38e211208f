"""The controls of the playground: what a grating and the animal's state can be set to."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kit.lab.experiment import QUANTITIES, Mouse, State, Subject
from kit.lab.stimuli import NATURAL_CONTRAST, Screen, across
from kit.models.predictor import Predictor


class Control(NamedTuple):
    """One quantity that a visitor can move."""

    name: str
    label: str
    unit: str
    low: float
    high: float
    step: float
    start: float


def controls(model: Predictor, mouse: Mouse = None) -> tuple[Control, ...]:
    """The controls of a model's playground; none of a state that it does not take."""
    subject = Subject(model, mouse)
    half_height, half_width = (pixels // 2 for pixels in subject.image_size)
    highest = np.floor(subject.screen.max_contrast * 20) / 20
    start = min(NATURAL_CONTRAST, highest)
    return (
        Control("orientation", "orientation", "degrees", 0, 180, 5, 45),
        Control("frequency", "spatial frequency", "cycles/pixel", 0.02, 0.2, 0.01, 0.06),
        Control("radius", "radius", "pixels", 1, max(subject.image_size) // 2 + 8, 1, half_height),
        Control("x", "position, right", "pixels", -half_width, half_width, 1, 0),
        Control("y", "position, down", "pixels", -half_height, half_height, 1, 0),
        Control("contrast", "contrast", "RMS, std", 0, highest, 0.05, start),
        *(
            Control(name, label, unit, *limits, 0.25, getattr(State, name))
            for name, (label, unit, limits) in QUANTITIES.items()
            if name in subject.takes and name != "pupil_change"
        ),
    )


def draw(screen: Screen, values: Mapping[str, float]) -> np.ndarray:
    """The grating (1, 1, H, W) for the values of the controls, bright at the centre of its disc."""
    names = ("orientation", "frequency", "radius", "x", "y", "contrast")
    orientation, frequency, radius, x, y, contrast = (values[name] for name in names)
    angle = np.radians(orientation)
    phase = -2 * np.pi * frequency * across(angle, x, y)
    return screen.grating(angle, frequency, phase, contrast, (x, y), radius)


def respond(
    model: Predictor, values: Mapping[str, float], mouse: Mouse = None
) -> tuple[np.ndarray, np.ndarray]:
    """The stimulus (H, W) for the values of the controls, and all responses to it (N,)."""
    state = State(**{name: values[name] for name in QUANTITIES if name in values})
    subject = Subject(model, mouse, state)
    image = draw(subject.screen, values)
    return image[0, 0], subject.respond(image)[0]
