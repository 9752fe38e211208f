"""Tuning curves: the responses of every neuron as one property of the stimulus changes."""

from dataclasses import dataclass, field, replace

import numpy as np

from kit.checks import brief, require
from kit.files import progress
from kit.lab import indices
from kit.lab.experiment import BLOCK, Mouse, Neurons, State, Subject, blocks, require_settings
from kit.lab.fields import field_centers, receptive_fields
from kit.lab.stimuli import Gratings
from kit.lab.synthesis import AscentConfig, most_exciting_images
from kit.models.predictor import Predictor


@dataclass(frozen=True, eq=False)
class Tuning:
    """Tuning curves of N neurons at K values of one property."""

    quantity: str  # what was changed
    unit: str  # of values and preferred
    values: np.ndarray  # (K,)
    curves: np.ndarray  # (N, K) responses, in units of each neuron's std
    preferred: np.ndarray  # (N,)
    selectivity: np.ndarray  # (N,)
    index: str  # what selectivity is
    spread: np.ndarray | None = None  # (N, K) std over phases or images, if a curve is their mean
    measures: dict[str, np.ndarray] = field(default_factory=dict)  # further ones, name -> (N,)
    neurons: np.ndarray | None = None  # (N,) indices; None for all neurons of the mouse

    def row(self, neuron: int) -> int:
        """The row of a neuron in `curves`. Raises ValueError if it was not measured."""
        neurons = list(range(len(self.curves)) if self.neurons is None else self.neurons)
        if neuron not in neurons:
            allowed = f"0 to {neurons[-1]}" if self.neurons is None else list(map(int, neurons))
            raise ValueError(
                f"neuron {brief(neuron)} is not among the {len(neurons)} of this tuning; choose "
                f"one of {brief(allowed)}"
            )
        return neurons.index(neuron)

    def in_degrees(self, degrees_per_pixel: float) -> "Tuning":
        """The same in degrees of visual angle. Raises ValueError unless it is in pixels."""
        degrees_per_pixel = require("degrees_per_pixel", degrees_per_pixel, float, (1e-3, 100))
        factors = {"pixels": degrees_per_pixel, "cycles per pixel": 1 / degrees_per_pixel}
        if self.unit not in factors:
            raise ValueError(
                f"{self.quantity} is in {self.unit}; only sizes and frequencies can be in degrees"
            )
        values, preferred = (factors[self.unit] * axis for axis in (self.values, self.preferred))
        unit = self.unit.replace("pixel", "degree")
        return replace(self, unit=unit, values=values, preferred=preferred)

    def __repr__(self):
        low, median, high = np.percentile(self.selectivity, [25, 50, 75])
        neurons, count = self.curves.shape
        return (
            f"{self.quantity} tuning of {neurons} neurons at {count} values "
            f"from {self.values[0]:.3g} to {self.values[-1]:.3g} {self.unit}\n"
            f"{self.index}: median {median:.2f}, quartiles {low:.2f} to {high:.2f}"
        )


class FullField:
    """Responses to all full-field gratings of a grid; each neuron's best, averaged over phases."""

    def __init__(self, subject: Subject, grid: Gratings | None) -> None:
        self.subject = subject
        self.grid = grid = require_settings("grid", grid, Gratings)
        self.gratings = grid.combinations  # (3, orientations, frequencies, phases)
        images = subject.screen.grating(*self.gratings.reshape(3, -1), grid.contrast)
        responses = subject.respond(images).T
        self.responses = responses.reshape(-1, *self.gratings.shape[1:])  # (N, as above)
        means = self.responses.mean(3)  # (N, orientations, frequencies)
        self.neurons = np.arange(len(means))
        best = means.reshape(len(means), -1).argmax(1)
        self.orientation, self.frequency = divmod(best, len(grid.frequencies))  # (N,) in the grid

    @property
    def best(self) -> np.ndarray:
        """Orientation, frequency and phase of each neuron's best grating: (3, N)."""
        phase = self.responses[self.neurons, self.orientation, self.frequency].argmax(1)
        return self.gratings[:, self.orientation, self.frequency, phase]

    def orientation_tuning(self) -> Tuning:
        """Orientation tuning at the best frequency, mean over phases."""
        angles = self.grid.angles
        by_phase = self.responses[self.neurons, :, self.frequency]  # (N, orientations, phases)
        curves = by_phase.mean(2)
        return Tuning(
            "orientation",
            "radians",
            angles,
            curves,
            indices.preferred_orientation(curves, angles),
            indices.gosi(curves, angles),
            "gOSI",
            spread=by_phase.std(2),
            measures={"OSI": indices.osi(curves, angles)},
        )

    def frequency_tuning(self) -> Tuning:
        """Spatial-frequency tuning at the best orientation, mean over phases."""
        frequencies = np.asarray(self.grid.frequencies)
        by_phase = self.responses[self.neurons, self.orientation]  # (N, frequencies, phases)
        curves = by_phase.mean(2)
        return Tuning(
            "spatial frequency",
            "cycles per pixel",
            frequencies,
            curves,
            indices.interpolated_peak(curves, frequencies),
            indices.modulation(curves),
            "modulation",
            spread=by_phase.std(2),
        )

    def phase_tuning(self) -> Tuning:
        """Phase tuning at the best orientation and frequency."""
        curves = self.responses[self.neurons, self.orientation, self.frequency]  # (N, phases)
        return Tuning(
            "phase",
            "radians",
            self.grid.phase_angles,
            curves,
            indices.preferred_phase(curves),
            indices.f1_f0(curves),
            "F1/F0",
        )

    def size_tuning(self, neurons: np.ndarray, centers: np.ndarray) -> Tuning:
        """Size tuning of n neurons with their best gratings around centers (n, 2), in pixels."""
        radii, gratings = np.asarray(self.grid.radii), self.best[:, neurons]
        curves = np.empty((len(neurons), len(radii)), np.float32)
        together = max(1, BLOCK // len(radii))  # neurons that share a block of images
        for rows in blocks(len(neurons), together, "sizes"):
            block = neurons[rows]
            images = self.subject.screen.grating(
                *np.repeat(gratings[:, rows], len(radii), axis=1),
                self.grid.contrast,
                np.repeat(centers[rows], len(radii), axis=0),
                np.tile(radii, len(block)),
            )
            responses = self.subject.respond(images).reshape(len(block), len(radii), -1)
            curves[rows] = responses[range(len(block)), :, block]  # to a neuron's own gratings
        return Tuning(
            "size",
            "pixels",
            radii,
            curves,
            indices.preferred_size(curves, radii),
            indices.suppression_index(curves),
            "suppression index",
            neurons=neurons,
        )


def measure_properties(
    subject: Subject, neurons: np.ndarray, grid: Gratings | None, ascent: AscentConfig
) -> dict[str, np.ndarray]:
    """The properties of chosen neurons (n,) on which twins and true cells are compared: (n, …)."""
    model, mouse, state = subject.model, subject.mouse, subject.state
    full_field = FullField(subject, grid)
    orientation = full_field.orientation_tuning()
    fields = receptive_fields(model, neurons, mouse, state=state)
    centers = field_centers(fields)
    images = most_exciting_images(model, neurons, mouse, ascent, state=state).images
    return {
        "orientation": orientation.preferred[neurons],  # radians
        "gosi": orientation.selectivity[neurons],
        "spatial_frequency": full_field.frequency_tuning().preferred[neurons],  # cycles/pixel
        "f1_f0": full_field.phase_tuning().selectivity[neurons],
        "suppression": full_field.size_tuning(neurons, centers).selectivity,
        "field": fields,  # (n, H, W)
        "center": centers,  # (n, 2) pixels
        "most_exciting_image": images,  # (n, 1, H, W)
    }


def grating_responses(
    model: Predictor, mouse: Mouse = None, grid: Gratings | None = None, state: State | None = None
) -> np.ndarray:
    """Responses to full-field gratings: (orientations, frequencies, phases, N)."""
    return np.moveaxis(FullField(Subject(model, mouse, state), grid).responses, 0, 3)


def orientation_tuning(
    model: Predictor, mouse: Mouse = None, grid: Gratings | None = None, state: State | None = None
) -> Tuning:
    """Orientation tuning to full-field gratings, at the best frequency, mean over phases.

    Orientations are radians of the direction across the stripes, as in `kit.truth`. `preferred` is
    the angle of the circular mean, `selectivity` the gOSI; `measures` has the "OSI".

    >>> tuning = kit.lab.orientation_tuning(kit.pretrained("sample+-cnn"))
    >>> tuning.curves.shape, tuning.preferred.shape
    ((600, 12), (600,))
    """
    return FullField(Subject(model, mouse, state), grid).orientation_tuning()


def spatial_frequency_tuning(
    model: Predictor, mouse: Mouse = None, grid: Gratings | None = None, state: State | None = None
) -> Tuning:
    """Spatial-frequency tuning at the best orientation, mean over phases; cycles per pixel.

    `preferred` is the top of a parabola through the peak and its two neighbours, `selectivity` is
    `indices.modulation`.
    """
    return FullField(Subject(model, mouse, state), grid).frequency_tuning()


def phase_tuning(
    model: Predictor, mouse: Mouse = None, grid: Gratings | None = None, state: State | None = None
) -> Tuning:
    """Phase tuning at the best orientation and frequency.

    `preferred` is the phase at the middle of the image, in radians; `selectivity` is F1/F0: above 1
    a cell is simple, below it complex.
    """
    return FullField(Subject(model, mouse, state), grid).phase_tuning()


def contrast_tuning(
    model: Predictor, mouse: Mouse = None, grid: Gratings | None = None, state: State | None = None
) -> Tuning:
    """Contrast tuning with each neuron's best full-field grating, phase included.

    `preferred` is the contrast of the highest response, `selectivity` is `indices.modulation`;
    `measures` has the Naka-Rushton fit: "c50", "exponent", "r_max", "baseline".
    """
    subject = Subject(model, mouse, state)
    full_field = FullField(subject, grid)
    best, contrasts = full_field.best.T, np.asarray(full_field.grid.contrasts)
    curves = np.empty((len(best), len(contrasts)), np.float32)
    for grating in progress(np.unique(best, axis=0), desc="contrasts"):
        neurons = (best == grating).all(1)
        responses = subject.respond(subject.screen.grating(*grating, contrasts))
        curves[neurons] = responses[:, neurons].T
    return Tuning(
        "contrast",
        "RMS, in std of all pixels",
        contrasts,
        curves,
        contrasts[curves.argmax(1)],
        indices.modulation(curves),
        "modulation",
        measures=indices.naka_rushton(contrasts, curves),
    )


def size_tuning(
    model: Predictor,
    mouse: Mouse = None,
    neurons: Neurons = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> Tuning:
    """Size tuning with discs of each neuron's best grating around its receptive field's centre.

    Thousands of neurons take minutes: choose some. `values` are radii in pixels. `preferred` is the
    smallest radius with 95 % of the peak response, `selectivity` is the suppression index: a neuron
    counts as suppressed from .1 on.
    """
    subject = Subject(model, mouse, state)
    chosen = subject.choose(neurons)
    centers = field_centers(receptive_fields(model, chosen, mouse, state=state))
    return FullField(subject, grid).size_tuning(chosen, centers)
