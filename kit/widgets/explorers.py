"""Explorers of trials, of neurons, and of what a model answers."""

from copy import deepcopy

import ipywidgets as widgets
import numpy as np
from torch import nn

from kit.checks import brief, require_array, require_finite
from kit.data.layout import TIERS
from kit.data.recordings import Dataset, Recording, require_dataset
from kit.evaluation.metrics import correlation
from kit.evaluation.scores import predict
from kit.lab.controls import controls, respond
from kit.lab.experiment import Neurons, Subject
from kit.lab.fields import receptive_fields
from kit.lab.synthesis import AscentConfig, most_exciting_images
from kit.models.ensemble import Ensemble
from kit.models.model import Model
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
    figure, tiers = TrialFigure(recording), [tier for tier in TIERS if tier in recording.tiers]
    tier = widgets.Dropdown(options=tiers, value=tiers[0], description="tier")
    trial = slider("trial", "of its tier", 1, len(recording.rows(tiers[0])), 1, 1)
    tier.observe(lambda change: setattr(trial, "max", len(recording.rows(change["new"]))), "value")

    def show(values):
        rows = recording.rows(values["tier"])
        rows = rows[recording.image_ids[rows].argsort(kind="stable")]  # repeats side by side
        number = min(values["trial"], len(rows))
        row = rows[number - 1]
        figure.show_trial(row)
        return _describe_trial(
            recording, row, f"Trial {number} of {len(rows)} in the tier {values['tier']}"
        )

    return Explorer(figure, {"tier": tier, "trial": trial}, show)


def _recording(data, mouse):
    data = require_dataset(data)
    if not isinstance(mouse, str | None):
        raise ValueError(
            f"mouse={brief(mouse)} is not the id of a mouse; give a text such as "
            f"{next(iter(data))!r}"
        )
    return data.mouse if mouse is None else data[mouse]


def _describe_trial(recording: Recording, row: int, which: str) -> str:
    shown, repeats = recording.responses[row], recording.image_ids == recording.image_ids[row]
    parts = [f"{which}: image {recording.image_ids[row]}, shown {_times(repeats.sum())}"]
    if np.isnan(shown).all():
        parts.append("the responses are withheld")
    else:
        parts.append(
            f"{np.mean(shown > 0):.0%} of the neurons responded, mean {shown.mean():.2f} std"
        )
    if recording.behavior is not None:
        pupil, _, running = recording.behavior[row]
        parts.append(f"pupil {pupil:.1f} std, running {running:.1f} std")
    return "; ".join(parts) + "."


def _times(number):
    return "once" if number == 1 else f"{number} times"


def playground(
    model: nn.Module, mouse: str | None = None, coordinates: np.ndarray | None = None
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
    place, unit = _places(subject, coordinates, noise.shape[1])
    figure = PopulationFigure(place, screen.size, screen.limits, np.percentile(noise, 99.5), unit)

    def show(values):
        image, shown = respond(model, values, mouse)
        figure.show_responses(image, shown)
        best = shown.argmax()
        return (
            f"Grating of {values['orientation']} degrees and {values['frequency']:.2f} cycles "
            f"per pixel, radius {values['radius']}: the mean response of {len(shown):,} "
            f"neurons is {shown.mean():.2f} std; neuron {best} responds most, with "
            f"{shown[best]:.1f} std."
        )

    return Explorer(figure, sliders, show)


def _places(subject, coordinates, neurons):
    """The neurons' places in cortex (N, 2 or 3), and their unit."""
    if coordinates is None:
        member = subject.model.members[0] if isinstance(subject.model, Ensemble) else subject.model
        if not isinstance(member, Model):
            raise ValueError(
                f"a {type(member).__name__} does not say where its neurons are; give "
                "coordinates=data.mouse.coordinates"
            )
        return member.readouts[subject.mouse].cortical_positions.cpu().numpy(), "-1 to 1"
    coordinates = require_array("coordinates", coordinates, (neurons, 2), (neurons, 3))
    require_finite("coordinates", coordinates)
    return coordinates, "µm"


def neuron_explorer(
    model: nn.Module, data: Dataset, mouse: str | None = None, neurons: Neurons = None
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
    predictions = predict(model, data, "validation", mouse)  # (T, N)
    recorded = recording.responses[recording.rows("validation")]
    scores = correlation(predictions, recorded)  # (N,)
    if neurons is None:
        order = np.argsort(scores)[::-1]
        neurons = order[np.linspace(0, len(order) - 1, min(NEURONS, len(order))).astype(int)]
    chosen = Subject(model, recording.mouse).choose(neurons)
    images = most_exciting_images(model, chosen, recording.mouse, AscentConfig(steps=ASCENT_STEPS))
    figure = NeuronFigure(
        recording.coordinates,
        chosen,
        receptive_fields(model, chosen, recording.mouse),
        images.images[:, 0],
        predictions[:, chosen],
        recorded[:, chosen],
    )
    names = [(f"{neuron}", int(neuron)) for neuron in chosen]
    choice = widgets.SelectionSlider(
        options=names, description="neuron", value=names[0][1], layout=widgets.Layout(width="465px")
    )

    def show(values):
        neuron = values["neuron"]
        figure.show_neuron(chosen.tolist().index(neuron), scores[neuron])
        rank = int((scores > scores[neuron]).sum()) + 1
        return (
            f"Neuron {neuron}: on {len(recorded)} validation trials its single-trial "
            f"correlation is {scores[neuron]:.2f}, rank {rank} of {len(scores)} neurons."
        )

    return Explorer(figure, {"neuron": choice}, show)
