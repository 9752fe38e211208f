"""A twin's report card: what it says of every neuron, held against the simulated cells."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kit.data.simulation import Truth
from kit.evaluation import metrics
from kit.lab import indices
from kit.lab.experiment import Neurons, Subject, given
from kit.lab.fields import field_centers, receptive_fields
from kit.lab.stimuli import Gratings
from kit.lab.synthesis import AscentConfig, most_exciting_images, project
from kit.lab.tuning import (
    BestGratings,
    frequency_curves,
    orientation_curves,
    phase_curves,
    show_gratings,
    size_curves,
)

SELECTIVE = 0.2  # gOSI from which a preferred orientation means something
SUPPRESSED = 0.1  # suppression index from which a cell counts as suppressed
ASCENT = AscentConfig(steps=60)  # further steps change the images hardly


@dataclass(frozen=True)
class Row:
    """One line of a report card."""

    what: str  # the property
    twin: float | None  # the twin's median over neurons
    truth: float | None  # the same of the true cells
    value: float | None  # how the two compare; None if there are too few neurons
    measure: str  # in which way; {} stands for the value


@dataclass(frozen=True, eq=False)
class ReportCard:
    """A twin's estimates and the same measured on the true cells; prints as a table."""

    neurons: np.ndarray  # (n,) indices
    twin: dict[str, np.ndarray]  # name -> (n, …), see `measure`
    truth: dict[str, np.ndarray]  # the same of the true cells
    rows: tuple[Row, ...]

    def __getitem__(self, what: str) -> float | None:
        """The value of a line, such as card["spatial frequency"]. KeyError if there is none."""
        for row in self.rows:
            if row.what == what:
                return row.value
        raise KeyError(
            f"there is no line {what!r}; there are {', '.join(row.what for row in self.rows)}"
        )

    def __str__(self) -> str:
        lines = [
            f"{len(self.neurons)} neurons: medians of the twin and of the true cells",
            f"{'':24} {'twin':>6} {'truth':>6}",
        ]
        for row in self.rows:
            twin, truth = [
                "–" if value is None else f"{value:.3f}" for value in (row.twin, row.truth)
            ]
            compared = "too few neurons" if row.value is None else row.measure.format(row.value)
            lines.append(f"{row.what:24} {twin:>6} {truth:>6}   {compared}")
        return "\n".join(lines)

    __repr__ = __str__


def report_card(
    model: nn.Module,
    truth: Truth,
    neurons: Neurons = None,
    grid: Gratings | None = None,
    ascent: AscentConfig | None = None,
) -> ReportCard:
    """Compare a twin of a sample mouse with the true cells, neuron by neuron.

    The same functions measure both. Fields, sizes and most exciting images take one or two minutes
    for 600 neurons; choose some with `neurons`. Raises ValueError if the model predicts other
    neurons than `truth` holds.

    >>> twin, truth = kit.pretrained("sample+-cnn"), kit.truth("sample+")
    >>> card = kit.lab.report_card(twin, truth, neurons=[3, 17, 40])
    >>> card["preferred orientation"] < 20  # degrees
    True
    """
    if not isinstance(truth, Truth):
        raise ValueError(
            f"the truth behind a sample mouse is needed, not a {type(truth).__name__};"
            ' give kit.truth("sample+")'
        )
    cells, grid = truth.cells, given("grid", grid, Gratings)
    ascent = given("ascent", ascent or ASCENT, AscentConfig)
    subject = Subject(model, cells.mouse)
    chosen, known = subject.choose(neurons), len(truth.orientation)
    if subject.image_size != cells.image_size:
        raise ValueError(
            f"the model takes {subject.image_size} images, the cells see "
            f"{cells.image_size}; give a model of that size"
        )
    if subject.neurons != known:
        raise ValueError(
            f"the model predicts {subject.neurons} neurons of mouse {cells.mouse}, "
            f"which has {known}; give a model that was trained on "
            f"kit.load({cells.mouse!r})"
        )
    twin = measure(subject, chosen, grid, ascent)
    true = measure(Subject(cells), chosen, grid, ascent)
    for measured in (twin, true):
        images = measured["most_exciting_image"]
        measured["filter_correlation"] = filter_correlation(images, truth, chosen)
        measured["response_share"] = response_share(images, truth, chosen, ascent.contrast)
    return ReportCard(chosen, twin, true, tuple(compare(twin, true)))


def measure(
    subject: Subject, neurons: np.ndarray, grid: Gratings, ascent: AscentConfig
) -> dict[str, np.ndarray]:
    """All that a report card says of chosen neurons, of a twin or of the cells: name -> (n, …)."""
    model, mouse = subject.model, subject.mouse
    shown = show_gratings(subject, grid)
    orientation, phase = orientation_curves(shown, grid), phase_curves(shown, grid)
    fields = receptive_fields(model, neurons, mouse)
    centers = field_centers(fields)
    gratings = BestGratings.of(shown).parameters(grid, neurons)
    size = size_curves(subject, neurons, gratings, centers, grid)
    return {
        "orientation": orientation.preferred[neurons],  # radians
        "gosi": orientation.selectivity[neurons],
        "spatial_frequency": frequency_curves(shown, grid).preferred[neurons],  # cycles/pixel
        "f1_f0": phase.selectivity[neurons],
        "suppression": size.selectivity,
        "field": fields,  # (n, H, W)
        "center": centers,  # (n, 2) pixels
        "most_exciting_image": most_exciting_images(model, neurons, mouse, ascent).images,
    }


def filter_correlation(images: np.ndarray, truth: Truth, neurons: np.ndarray) -> np.ndarray:
    """Correlation (n,) of each image (n, 1, H, W) with the true filter of its neuron.

    Of a complex cell: with the best sum of its two filters, so that the phase does not matter.
    """
    even, odd = (unit_rows(filters[neurons]) for filters in truth.cells.filters())
    image = unit_rows(images - images.mean((1, 2, 3), keepdims=True))
    odd = unit_rows(odd - (odd * even).sum(1, keepdims=True) * even)  # at a right angle to even
    simple = (image * even).sum(1)
    return np.where(truth.is_complex[neurons], np.hypot(simple, (image * odd).sum(1)), simple)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Each entry of values (n, …) as one row of norm 1."""
    rows = values.reshape(len(values), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def response_share(
    images: np.ndarray, truth: Truth, neurons: np.ndarray, contrast: float
) -> np.ndarray:
    """True response of each cell to its image, as a share of that to its own filter: (n,).

    The filter is shown as an image of the same contrast and range.
    """
    filters = torch.from_numpy(truth.cells.filters()[0][neurons, None]).float()
    cells = Subject(truth.cells)
    own = project(filters, contrast, cells.screen)
    pairs = np.arange(len(neurons)), neurons
    return cells.respond(images)[pairs] / cells.respond(own)[pairs]


def compare(twin: dict, truth: dict) -> list[Row]:
    """The lines of a report card, from what was measured on the twin and on the true cells."""

    def row(what, name, value, measure):
        return Row(what, median(twin[name]), median(truth[name]), value, measure)

    def correlation(name, change=np.asarray):
        if len(twin[name]) < 3:
            return None
        return float(
            metrics.correlation(change(twin[name])[:, None], change(truth[name])[:, None])[0]
        )

    def agreement(name, threshold):
        return float(100 * np.mean((twin[name] >= threshold) == (truth[name] >= threshold)))

    def median(values):
        return float(np.median(values)) if len(values) else None

    turned = np.degrees(indices.orientation_difference(twin["orientation"], truth["orientation"]))
    selective = truth["gosi"] >= SELECTIVE
    distance = np.hypot(*(twin["center"] - truth["center"]).T)
    image, share = twin["filter_correlation"], twin["response_share"]
    return [
        Row(
            "preferred orientation",
            None,
            None,
            median(turned[selective]),
            f"{{:.1f}} degrees apart (median, {selective.sum()} neurons of gOSI >= {SELECTIVE})",
        ),
        row("orientation: gOSI", "gosi", correlation("gosi"), "r = {:.2f}"),
        row(
            "spatial frequency",
            "spatial_frequency",
            correlation("spatial_frequency", np.log),
            "r = {:.2f} of the logs; cycles per pixel",
        ),
        row(
            "simple or complex: F1/F0",
            "f1_f0",
            agreement("f1_f0", 1),
            "{:.0f} % on the same side of 1",
        ),
        row("size: suppression index", "suppression", correlation("suppression"), "r = {:.2f}"),
        row(
            "suppressed by size",
            "suppression",
            agreement("suppression", SUPPRESSED),
            f"{{:.0f}} % on the same side of {SUPPRESSED}",
        ),
        Row("field centre", None, None, median(distance), "{:.2f} pixels apart (median)"),
        row(
            "most exciting image",
            "filter_correlation",
            median(image),
            "r = {:.2f} with the true filter (median)",
        ),
        row(
            "true response to it",
            "response_share",
            median(share),
            "{:.2f} of that to the cell's own filter (median)",
        ),
    ]
