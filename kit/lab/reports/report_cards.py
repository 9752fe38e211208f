"""A twin's report card: what it says of every neuron, held against the simulated cells."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from kit.checks import require_result
from kit.data.simulation import Truth
from kit.data.simulation.cells import unit_rows
from kit.evaluation import metrics
from kit.lab import indices
from kit.lab.experiment import Neurons, Subject, require_settings
from kit.lab.indices import SELECTIVE
from kit.lab.stimuli import Gratings
from kit.lab.synthesis import ASCENT, AscentConfig, project
from kit.lab.tuning import measure_properties
from kit.models.predictor import Predictor

SUPPRESSED = 0.1  # from this index on a cell is (Cavanaugh et al., J Neurophysiol 2002)


class Row(NamedTuple):
    """One line of a report card."""

    what: str  # the property
    value: float | None  # how twin and truth compare; None if there are too few neurons
    words: str  # for the value, which stands at {}
    quantity: str | None = None  # the medians of this one stand before them


@dataclass(frozen=True, eq=False)
class ReportCard:
    """A twin's estimates and the same measured on the true cells; prints as a table."""

    neurons: np.ndarray  # (n,) indices
    twin: dict[str, np.ndarray]  # name -> (n, …): all that `_measure` returns
    truth: dict[str, np.ndarray]  # the same of the true cells
    rows: tuple[Row, ...]

    def __getitem__(self, what: str) -> float | None:
        """The value of a line, such as card["spatial frequency"]. KeyError if there is none."""
        return {row.what: row.value for row in self.rows}[what]

    def __str__(self) -> str:
        lines = [
            f"{len(self.neurons)} neurons: medians of the twin and of the true cells",
            f"{'':24} {'twin':>6} {'truth':>6}",
        ]
        for what, value, words, quantity in self.rows:
            twin = truth = "–"
            if quantity:
                twin = f"{np.median(self.twin[quantity]):.3f}"
                truth = f"{np.median(self.truth[quantity]):.3f}"
            compared = "too few neurons" if value is None else words.format(value)
            lines.append(f"{what:24} {twin:>6} {truth:>6}   {compared}")
        return "\n".join(lines)

    __repr__ = __str__


def report_card(
    model: Predictor,
    truth: Truth,
    neurons: Neurons = None,
    grid: Gratings | None = None,
    ascent: AscentConfig | None = None,
) -> ReportCard:
    """Compare a twin of a sample mouse with the true cells, neuron by neuron.

    The same functions measure both; one or two minutes for 600 neurons, fewer for chosen ones.
    Raises ValueError if the model predicts other neurons than `truth` holds.

    >>> card = kit.lab.report_card(kit.pretrained("sample+-cnn"), kit.truth("sample+"), [3, 17, 40])
    >>> card["preferred orientation"] < 20  # degrees
    True
    """
    require_result("truth", truth, "cells")
    cells, ascent = Subject(truth.cells), require_settings("ascent", ascent or ASCENT, AscentConfig)
    subject = Subject(model, cells.mouse)
    subject.require_neurons_of(cells)
    chosen = subject.choose(neurons)
    twin = _measure(subject, truth, chosen, grid, ascent)
    true = _measure(cells, truth, chosen, grid, ascent)
    return ReportCard(chosen, twin, true, _compare(twin, true))


def _measure(subject, truth, neurons, grid, ascent):
    """All that a report card says of chosen neurons, of a twin or of the cells: name -> (n, …)."""
    properties = measure_properties(subject, neurons, grid, ascent)
    images = properties["most_exciting_image"]
    return {
        **properties,
        "filter_correlation": _filter_correlation(images, truth, neurons),
        "response_share": _response_share(images, truth, neurons, ascent.contrast),
    }


def _filter_correlation(images, truth, neurons):
    """Correlation (n,) of images (n, 1, H, W) with true filters, at a complex cell's best phase."""
    filters = unit_rows(truth.cells.matching_filters(images, neurons))
    return (unit_rows(images - images.mean((1, 2, 3), keepdims=True)) * filters).sum(1)


def _response_share(images, truth, neurons, contrast):
    """True response of each cell to its image / to its filter at the same contrast: (n,)."""
    cells = Subject(truth.cells)
    filters = torch.from_numpy(truth.cells.filters()[0][neurons, None]).float()
    filters = project(filters, contrast, cells.screen)
    return cells.respond_to_own(images, neurons) / cells.respond_to_own(filters, neurons)


def _compare(twin, truth):
    """The lines of a report card, from what was measured on the twin and on the true cells."""
    turned = np.degrees(indices.orientation_difference(twin["orientation"], truth["orientation"]))
    turned = turned[truth["gosi"] >= SELECTIVE]
    distance = np.hypot(*(twin["center"] - truth["center"]).T)

    def correlation(what, quantity, scale=np.asarray, words="r = {:.2f}"):
        pair = (scale(estimates[quantity])[:, None] for estimates in (twin, truth))
        value = float(metrics.correlation(*pair)[0]) if len(distance) > 2 else None
        return Row(what, value, words, quantity)

    def agreement(what, quantity, threshold):
        same = (twin[quantity] >= threshold) == (truth[quantity] >= threshold)
        words = f"{{:.0f}} % on the same side of {threshold}"
        return Row(what, float(100 * np.mean(same)), words, quantity)

    alike, shares = twin["filter_correlation"], twin["response_share"]
    words = f"{{:.1f}} degrees apart (median, {len(turned)} neurons of gOSI >= {SELECTIVE})"
    logs = "r = {:.2f} of the logs; cycles per pixel"
    image = "r = {:.2f} with the true filter (median)"
    share = "{:.2f} of that to the cell's own filter (median share)"
    return (
        Row("preferred orientation", _median(turned), words),
        correlation("orientation: gOSI", "gosi"),
        correlation("spatial frequency", "spatial_frequency", np.log, logs),
        agreement("simple or complex: F1/F0", "f1_f0", 1),
        correlation("size: suppression index", "suppression"),
        agreement("suppressed by size", "suppression", SUPPRESSED),
        Row("field centre", _median(distance), "{:.2f} pixels apart (median)"),
        Row("most exciting image", _median(alike), image, "filter_correlation"),
        Row("true response to it", _median(shares), share),
    )


def _median(values):
    return float(np.median(values)) if len(values) else None
