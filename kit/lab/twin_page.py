"""A model as one HTML page to play with."""

from pathlib import Path

import numpy as np

from kit.lab.controls import controls
from kit.lab.experiment import Mouse, State, Subject
from kit.models.layers import ConvCore
from kit.models.model import Model
from kit.models.predictor import Predictor
from kit.pages.twin import write_page


def page(model: Predictor, path: str | Path, mouse: Mouse = None) -> Path:
    """Write a model as one HTML page to play with: gratings and states in, responses out.

    model: a `kit.Model` with the core of the baselines. The page holds its weights (about 150 kB,
    3 MB for a published model). Returns the path. Raises ValueError for another model, and OSError
    if the path cannot be written.

    >>> twin = kit.pretrained("sample+-cnn")
    >>> kit.lab.page(twin, "twin.html").name  # open it in a browser
    'twin.html'
    """
    if type(model) is not Model or type(model.core) is not ConvCore:  # nor what may differ from it
        raise ValueError(
            f"a page cannot compute this {type(model).__name__}; give a kit.Model with a "
            'kit.layers.ConvCore, such as kit.pretrained("sample+-cnn"), or a member of an ensemble'
        )
    subject = Subject(model, mouse)
    screen = {"pixels": subject.screen.pixel_statistics, "top": colour_top(subject)}
    return write_page(path, model, subject.mouse, controls(model, mouse), vars(State()), screen)


def colour_top(subject: Subject) -> float:
    """The response at which the colours end: 1 in 200 responses to twelve gratings is higher."""
    angles, frequencies = np.meshgrid(np.arange(4) * np.pi / 4, [0.04, 0.08, 0.16])
    images = subject.screen.grating(angles.ravel(), frequencies.ravel())
    responses = subject.respond(images)  # (12, N)
    if not np.isfinite(responses).all():
        raise ValueError(
            "some predictions of this model are not finite numbers; train it again, at a lower rate"
        )
    return max(0.5, float(np.ceil(2 * np.percentile(responses, 99.5)) / 2))
