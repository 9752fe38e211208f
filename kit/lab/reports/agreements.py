"""How far differently built twins of one mouse agree, and what their agreement is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kit.checks import brief, require_finite, require_result
from kit.data.simulation import Truth
from kit.evaluation.spread import FEWEST, Spread, measure_spread
from kit.lab import indices
from kit.lab.experiment import Neurons, Subject, require_settings
from kit.lab.stimuli import Gratings
from kit.lab.synthesis import ASCENT, AscentConfig
from kit.lab.tuning import measure_properties
from kit.models.predictor import Predictor


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far m twins agree on n neurons; prints as a table."""

    neurons: np.ndarray  # (n,) indices
    properties: dict[str, Spread]  # such as "spatial frequency": values (m, n), mean, interval, …
    images: np.ndarray  # (m, n, 1, H, W) most exciting images of every twin
    image_share: np.ndarray  # (m, n) a twin's mean response to the others' images / to its own
    true_image_share: np.ndarray | None = None  # (n,) the true cells' to the twins' / to their own

    def __getitem__(self, name: str) -> Spread:
        """One property, such as result["spatial frequency"]. KeyError if there is none."""
        return self.properties[name]

    def __str__(self) -> str:
        images = f"to the others' images {np.median(self.image_share):.2f} of that to its own"
        end = "An error that all twins share widens no interval: only a truth shows it."
        if self.true_image_share is not None:
            images += f"; true cells {np.median(self.true_image_share):.2f}"
            end = "Where far fewer than 90 % cover it, the twins share an error."
        head = "median width of the 90 % interval, correlation of two twins"
        lines = [f"{len(self.images)} twins, {len(self.neurons)} neurons: {head}"]
        lines += [f"{name:24} {spread}" for name, spread in self.properties.items()]
        return "\n".join([*lines, f"{'most exciting image':24} {images}", end])

    __repr__ = __str__


def agreement(
    models: Sequence[Predictor],
    truth: Truth | None = None,
    neurons: Neurons = None,
    grid: Gratings | None = None,
    ascent: AscentConfig | None = None,
) -> Agreement:
    """Compare what three or more twins of one mouse say of its neurons, neuron by neuron.

    models: of different architectures and seeds. A neuron's interval is the 90 % prediction
    interval of `measure_spread`: a further twin falls inside for nine neurons of ten, and so does
    the truth if it is no farther from the twins than they are from each other. With the `truth` of
    a sample mouse, the true cells are measured too and counted. Preferred orientations count from a
    mean gOSI of .2 on. Each model takes half as long as a `report_card`.
    Raises ValueError for fewer than three models, models of different mice, or one given twice.

    >>> twins = [kit.pretrained(f"sample+-{name}") for name in ("cnn", "plain-1", "ln")]
    >>> result = kit.lab.agreement(twins, kit.truth("sample+"), [3, 17, 40])
    >>> result["field centre: x"].width < 10  # pixels
    True
    """
    ascent = require_settings("ascent", ascent or ASCENT, AscentConfig)
    cells = None
    if truth is not None:
        require_result("truth", truth, "cells")
        cells = Subject(truth.cells)
    twins = _require_twins(models, cells)
    chosen = twins[0].choose(neurons)
    estimates = [measure_properties(twin, chosen, grid, ascent) for twin in twins]
    images = np.stack([each["most_exciting_image"] for each in estimates])
    shares = []
    for i, twin in enumerate(twins):
        shares.append(_image_share(twin, np.delete(images, i, 0), images[i], chosen))
    if cells is None:
        return Agreement(chosen, _spreads(estimates), images, np.stack(shares))
    true = measure_properties(cells, chosen, grid, ascent)
    true_share = _image_share(cells, images, true["most_exciting_image"], chosen)
    return Agreement(chosen, _spreads(estimates, true), images, np.stack(shares), true_share)


def _require_twins(models, cells):
    """A Subject for each model. Raises ValueError unless all are different twins of one mouse."""
    if not isinstance(models, list | tuple) or len(models) < FEWEST:
        given = len(models) if isinstance(models, list | tuple) else type(models).__name__
        raise ValueError(
            f"models holds {brief(given)}, too few for a spread; give a list of {FEWEST} or more, "
            "trained with other architectures or seeds"
        )
    first = cells or Subject(models[0])
    twins = [Subject(model, first.mouse) for model in models]
    images = first.screen.natural_noise(4, seed=0)
    for i, twin in enumerate(twins):
        twin.require_neurons_of(first, f"models[{i}]")
    responses = [
        require_finite(f"what models[{i}] predicts", twin.respond(images))
        for i, twin in enumerate(twins)
    ]
    for i, j in combinations(range(len(twins)), 2):
        if np.allclose(responses[i], responses[j], rtol=1e-5, atol=1e-7):
            raise ValueError(
                f"models[{i}] and models[{j}] predict the same, so their spread says nothing; "
                "give models that were trained with other architectures or seeds"
            )
    return twins


def _image_share(subject, images, own, neurons):
    """Mean response to images (k, n, 1, H, W) of k others / response to its own: (n,)."""
    responses = [subject.respond_to_own(of_one, neurons) for of_one in images]  # k of (n,)
    return indices.ratio(np.mean(responses, 0), subject.respond_to_own(own, neurons))


def _spreads(estimates, truth=None):
    """The lines of the table, from what was measured on every twin and on the true cells."""
    selective = np.mean([each["gosi"] for each in estimates], 0) >= indices.SELECTIVE

    def spread(value, unit="", counted=None):
        values = np.stack([value(each) for each in estimates]).astype(float)  # (m, n)
        true = None if truth is None else value(truth)
        return measure_spread(values, unit, counted, true)

    def degrees(each):
        return np.degrees(each["orientation"])

    return {
        "preferred orientation": spread(degrees, "degrees", selective),
        "orientation: gOSI": spread(lambda each: each["gosi"]),
        "spatial frequency": spread(lambda each: each["spatial_frequency"], "octaves"),
        "simple or complex: F1/F0": spread(lambda each: each["f1_f0"]),
        "size: suppression index": spread(lambda each: each["suppression"]),
        "field centre: x": spread(lambda each: each["center"][:, 0], "pixels"),
        "field centre: y": spread(lambda each: each["center"][:, 1], "pixels"),
    }
