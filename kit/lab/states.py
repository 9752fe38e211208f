"""Tuning to the state of the animal: pupil, running, position of the eye."""

import numpy as np

from kit.checks import require
from kit.lab import indices
from kit.lab.experiment import QUANTITIES, Mouse, State, Subject
from kit.lab.tuning import Tuning
from kit.models.predictor import Predictor


def state_tuning(
    model: Predictor,
    quantity: str,
    mouse: Mouse = None,
    images: np.ndarray | None = None,
    state: State | None = None,
) -> Tuning:
    """Mean response over images as one quantity of the animal's state changes, the rest typical.

    quantity: one of `State`. images: (n, 1, H, W), z-scored; by default 64 of natural noise.
    `selectivity` is `indices.modulation`. Raises ValueError if the model lacks the quantity.
    """
    subject = Subject(model, mouse, state)
    require("quantity", quantity, str, tuple(QUANTITIES))
    _, unit, limits = QUANTITIES[quantity]
    if quantity not in subject.takes:
        raise ValueError(
            f"this model does not take {quantity}, so its responses do not depend on it; use a "
            'model of a Sensorium+ mouse, such as kit.pretrained("sensorium+-cnn")'
        )
    if images is None:
        images = subject.screen.natural_noise(64, seed=0)
    subject.require_images(images)
    values = np.linspace(*limits, 9)
    means, spread = [], []
    for value in values:
        changed = Subject(model, mouse, subject.state.changed(quantity, value))
        responses = changed.respond(images)  # (n, N)
        means.append(responses.mean(0))
        spread.append(responses.std(0))
    curves = np.stack(means, 1)  # (N, K)
    return Tuning(
        quantity,
        unit,
        values,
        curves,
        values[curves.argmax(1)],
        indices.modulation(curves),
        "modulation",
        spread=np.stack(spread, 1),
    )
