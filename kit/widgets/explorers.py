"""Explorers of trials, of neurons, and of what a model answers."""

from copy import deepcopy

import ipywidgets as widgets
import numpy as np

from kit.checks import one_line, require, require_array, require_finite
from kit.data.layout import TIERS
from kit.data.recordings import Dataset, require_dataset
from kit.evaluation.metrics import correlation
from kit.evaluation.scores import predict
from kit.lab.controls import controls, respond
from kit.lab.experiment import Neurons, Subject
from kit.lab.fields import receptive_fields
from kit.lab.synthesis import AscentConfig, most_exciting_images
from kit.models.ensemble import Ensemble
from kit.models.model import Model
from kit.models.predictor import Predictor
from kit.widgets.explorer import Explorer, slider
from kit.widgets.figures import NeuronFigure, PopulationFigure, TrialFigure

NEURONS = 24  # that the neuron explorer shows by default
ASCENT_STEPS = 40  # for their most exciting images: nearly as good as 200


def trial_explorer(data: Dataset, mouse: str | None = None) -> Explorer:
    """Go through the trials of a recording: image, responses, behaviour and eye position.

    Repeats of an image stand side by side.
    Raises ValueError if there are several mice and none is named.

    >>> explorer = kit.widgets.trial_explorer(kit.load("sample+"))
    >>> explorer.controls["trial"].value = 3
    """
    recording = _recording(data, mouse)
    figure = TrialFigure(recording)
    tiers = [name for name in TIERS if name in recording.tiers]
    tier = widgets.Dropdown(options=tiers, description="tier")
    trial = slider("trial", "of its tier", 1, 1, 1, 1)
    widgets.dlink((tier, "value"), (trial, "max"), lambda name: len(recording.rows(name)))

    def show(values):
        rows = recording.rows(values["tier"])
        rows = rows[recording.image_ids[rows].argsort(kind="stable")]  # repeats side by side
        number = min(values["trial"], len(rows))
        figure.show_trial(rows[number - 1])
        return (
            f"Trial {number} of {len(rows)} in the tier {values['tier']}: "
            f"{_describe_trial(recording, rows[number - 1])}."
        )

    return Explorer(figure, {"tier": tier, "trial": trial}, show)


def _recording(data, mouse):
    data = require_dataset(data)
    mouse = require("mouse", mouse, str | None)
    return data.mouse if mouse is None else data[mouse]


def _describe_trial(recording, row):
    responses = recording.responses[row]
    image = recording.image_ids[row]
    repeats = np.count_nonzero(recording.image_ids == image)
    text = f"image {image}, shown {'once' if repeats == 1 else f'{repeats} times'}; "
    if np.isnan(responses).all():
        text += "the responses are withheld"
    else:
        share = np.mean(responses > 0)
        text += f"{share:.0%} of the neurons responded, mean {responses.mean():.2f} std"
    if recording.behavior is not None:
        values = dict(zip(recording.behavior_names, recording.behavior[row], strict=True))
        values.pop("pupil_change", None)  # hard to imagine
        states = [f"{one_line(name, 40)} {value:.1f} std" for name, value in values.items()]
        text += f"; {', '.join(states)}"
    return text


def playground(
    model: Predictor, mouse: str | None = None, coordinates: np.ndarray | None = None
) -> Explorer:
    """Move a grating and the animal's state, and see every neuron answer.

    model: a `Model`, an ensemble, or the cells of a simulated mouse; the widget keeps a copy.
    coordinates: (N, 2 or 3) of the neurons in µm, such as `data.mouse.coordinates`; else those that
    the model has, scaled to -1 to 1. Raises ValueError if there are none, or no such mouse.

    >>> explorer = kit.widgets.playground(kit.pretrained("sample+-cnn"))
    >>> explorer.controls["orientation"].value = 90
    """
    sliders = {control.name: slider(*control[1:]) for control in controls(model, mouse)}
    model = deepcopy(model)
    subject = Subject(model, mouse)
    screen = subject.screen
    noise = subject.respond(screen.natural_noise(32, seed=0))
    positions, unit = _positions(subject, coordinates, noise.shape[1])
    top = np.percentile(noise, 99.5)
    figure = PopulationFigure(positions, screen.size, screen.limits, top, unit)

    def show(values):
        image, responses = respond(model, values, mouse)
        figure.show_responses(image, responses)
        return (
            f"Grating of {values['orientation']} degrees and {values['frequency']:.2f} cycles "
            f"per pixel, radius {values['radius']}: the mean response of {len(responses):,} "
            f"neurons is {responses.mean():.2f} std; neuron {responses.argmax()} responds most, "
            f"with {responses.max():.1f} std."
        )

    return Explorer(figure, sliders, show)


def _positions(subject, coordinates, neurons):
    """The neurons' positions in cortex (N, 2 or 3), and their unit."""
    if coordinates is not None:
        coordinates = require_array("coordinates", coordinates, (neurons, 2), (neurons, 3))
        return require_finite("coordinates", coordinates), "µm"
    model = getattr(subject.model, "models", [subject.model])[0]  # of an ensemble the first
    if not isinstance(model, Model):
        raise ValueError(
            f"a {type(model).__name__} does not say where its neurons are; give "
            "coordinates=data.mouse.coordinates"
        )
    return model.readouts[subject.mouse].cortical_positions.cpu().numpy(), "-1 to 1"


def neuron_explorer(
    model: Model | Ensemble, data: Dataset, mouse: str | None = None, neurons: Neurons = None
) -> Explorer:
    """Go through neurons: place, receptive field, most exciting image, and how well predicted.

    neurons: indices; by default 24 from the best predicted to the worst. Their fields and images
    are computed first, which takes seconds. Predictions are of the validation tier.
    Raises ValueError if the data do not fit the model, or for unknown neurons.

    >>> data = kit.load("sample+")
    >>> explorer = kit.widgets.neuron_explorer(kit.pretrained("sample+-cnn"), data, neurons=[3, 17])
    >>> explorer.controls["neuron"].value = 17
    """
    recording = _recording(data, mouse)
    recorded = recording.responses[recording.rows("validation")]
    responses = np.stack([predict(model, data, "validation", mouse), recorded])  # (2, T, N)
    scores = correlation(*responses)  # (N,)
    if neurons is None:
        count = min(NEURONS, len(scores))
        neurons = scores.argsort()[::-1][np.linspace(0, len(scores) - 1, count).astype(int)]
    neurons = Subject(model, recording.mouse).choose(neurons)
    settings = AscentConfig(steps=ASCENT_STEPS)
    images = most_exciting_images(model, neurons, recording.mouse, settings).images[:, 0]
    fields = receptive_fields(model, neurons, recording.mouse)  # (n, H, W)
    figure = NeuronFigure(recording.coordinates, fields.shape[1:])
    choice = widgets.SelectionSlider(
        options=neurons.tolist(), description="neuron", layout=widgets.Layout(width="465px")
    )

    def show(values):
        neuron = values["neuron"]
        i = neurons.tolist().index(neuron)
        score = scores[neuron]
        position = recording.coordinates[neuron]
        pair = responses[:, :, neuron]
        figure.show_neuron(position, fields[i], images[i], pair, score)
        return (
            f"Neuron {neuron}: on {len(recorded)} validation trials its single-trial "
            f"correlation is {score:.2f}, rank {1 + np.count_nonzero(scores > score)} of "
            f"{len(scores)} neurons."
        )

    return Explorer(figure, {"neuron": choice}, show)
