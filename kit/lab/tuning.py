"""Tuning curves: the responses of every neuron as one property of the stimulus changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from torch import nn

from kit.checks import brief, require
from kit.files import progress
from kit.lab import indices
from kit.lab.experiment import BLOCK, Neurons, State, Subject, given
from kit.lab.fields import field_centers, receptive_fields
from kit.lab.stimuli import Gratings


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
        neurons = range(len(self.curves)) if self.neurons is None else self.neurons.tolist()
        if not isinstance(neuron, int | np.integer) or neuron not in neurons:
            raise ValueError(
                f"neuron {brief(neuron)} is not among the {len(neurons)} whose "
                f"{self.quantity} tuning was measured; choose one of {neurons[0]} to "
                f"{neurons[-1]}"
            )
        return list(neurons).index(neuron)

    def in_degrees(self, degrees_per_pixel: float) -> Tuning:
        """The same with pixels as degrees of visual angle; ValueError if there are no pixels."""
        degrees_per_pixel = require("degrees_per_pixel", degrees_per_pixel, float, (1e-3, 100))
        factors = {"pixels": degrees_per_pixel, "cycles per pixel": 1 / degrees_per_pixel}
        if self.unit not in factors:
            raise ValueError(
                f"{self.quantity} is in {self.unit}; only what is in pixels can be "
                "given in degrees: sizes and spatial frequencies"
            )
        factor, unit = factors[self.unit], self.unit.replace("pixel", "degree")
        return replace(
            self, unit=unit, values=self.values * factor, preferred=self.preferred * factor
        )

    def __repr__(self):
        low, middle, high = np.percentile(self.selectivity, [25, 50, 75])
        neurons, count = self.curves.shape
        return (
            f"{self.quantity} tuning of {neurons} neurons at {count} values from "
            f"{self.values[0]:.3g} to {self.values[-1]:.3g} {self.unit}\n"
            f"{self.index}: median {middle:.2f}, quartiles {low:.2f} to {high:.2f}"
        )


# ---- full-field gratings ----


def grating_responses(
    model: nn.Module,
    mouse: str | None = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> np.ndarray:
    """Responses to full-field gratings: (orientations, frequencies, phases, N)."""
    return show_gratings(Subject(model, mouse, state), given("grid", grid, Gratings))


def show_gratings(subject: Subject, grid: Gratings) -> np.ndarray:
    """Responses to full-field gratings: (orientations, frequencies, phases, N)."""
    angles, frequencies, phases = np.meshgrid(
        grid.angles, grid.frequencies, grid.phase_angles, indexing="ij"
    )
    images = subject.screen.grating(
        angles.ravel(), frequencies.ravel(), phases.ravel(), grid.contrast
    )
    return subject.respond(images).reshape(*angles.shape, -1)


@dataclass(frozen=True, eq=False)
class BestGratings:
    """The grating of each neuron's highest response; orientation and frequency by mean of phases.

    All are indices (N,) into the grid.
    """

    orientation: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray

    @classmethod
    def of(cls, shown: np.ndarray) -> BestGratings:
        """From responses (orientations, frequencies, phases, N)."""
        means = shown.mean(2)  # (orientations, frequencies, N)
        best = means.reshape(-1, means.shape[-1]).argmax(0)
        orientation, frequency = np.unravel_index(best, means.shape[:2])
        phase = shown[orientation, frequency, :, np.arange(len(best))].argmax(1)
        return cls(orientation, frequency, phase)

    def parameters(self, grid: Gratings, neurons: np.ndarray) -> tuple:
        """Orientation, frequency and phase of chosen neurons' best gratings, three arrays (n,)."""
        return (
            grid.angles[self.orientation[neurons]],
            np.asarray(grid.frequencies)[self.frequency[neurons]],
            grid.phase_angles[self.phase[neurons]],
        )


def orientation_tuning(
    model: nn.Module,
    mouse: str | None = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> Tuning:
    """Orientation tuning to full-field gratings, at the best frequency, mean over phases.

    Orientations are radians of the direction across the stripes, as in `kit.truth`. `preferred` is
    the angle of the circular mean, `selectivity` the gOSI; `measures` has the "OSI".

    >>> tuning = kit.lab.orientation_tuning(kit.pretrained("sample+-cnn"))
    >>> tuning.curves.shape, tuning.preferred.shape
    ((600, 12), (600,))
    """
    grid = given("grid", grid, Gratings)
    return orientation_curves(grating_responses(model, mouse, grid, state), grid)


def orientation_curves(shown: np.ndarray, grid: Gratings) -> Tuning:
    """Orientation tuning from responses (orientations, frequencies, phases, N)."""
    rows = np.arange(shown.shape[-1])
    by_phase = shown[:, BestGratings.of(shown).frequency, :, rows]  # (N, orientations, phases)
    curves = by_phase.mean(2)
    return Tuning(
        "orientation",
        "radians",
        grid.angles,
        curves,
        indices.preferred_orientation(curves, grid.angles),
        indices.gosi(curves, grid.angles),
        "gOSI",
        spread=by_phase.std(2),
        measures={"OSI": indices.osi(curves, grid.angles)},
    )


def spatial_frequency_tuning(
    model: nn.Module,
    mouse: str | None = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> Tuning:
    """Spatial-frequency tuning at the best orientation, mean over phases.

    `preferred` is in cycles per pixel, between the grid's frequencies by a parabola through the
    peak; `selectivity` is (highest - lowest) / (highest + lowest) response.
    """
    grid = given("grid", grid, Gratings)
    return frequency_curves(grating_responses(model, mouse, grid, state), grid)


def frequency_curves(shown: np.ndarray, grid: Gratings) -> Tuning:
    """Spatial-frequency tuning from responses (orientations, frequencies, phases, N)."""
    rows, frequencies = np.arange(shown.shape[-1]), np.asarray(grid.frequencies)
    by_phase = shown[BestGratings.of(shown).orientation, :, :, rows]  # (N, frequencies, phases)
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


def phase_tuning(
    model: nn.Module,
    mouse: str | None = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> Tuning:
    """Phase tuning at the best orientation and frequency; it tells simple from complex cells.

    `preferred` is in radians at the middle of the image; `selectivity` is F1/F0: above 1 a cell is
    simple.
    """
    grid = given("grid", grid, Gratings)
    return phase_curves(grating_responses(model, mouse, grid, state), grid)


def phase_curves(shown: np.ndarray, grid: Gratings) -> Tuning:
    """Phase tuning from responses (orientations, frequencies, phases, N)."""
    best, rows = BestGratings.of(shown), np.arange(shown.shape[-1])
    curves = shown[best.orientation, best.frequency, :, rows]  # (N, phases)
    return Tuning(
        "phase",
        "radians",
        grid.phase_angles,
        curves,
        indices.preferred_phase(curves),
        indices.f1_f0(curves),
        "F1/F0",
    )


# ---- each neuron's own grating ----


def contrast_tuning(
    model: nn.Module,
    mouse: str | None = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> Tuning:
    """Contrast tuning with each neuron's best full-field grating, phase included.

    `preferred` is the contrast of the highest response, `selectivity` (highest - lowest) / (highest
    + lowest). `measures` has the Naka-Rushton fit: "c50", "exponent", "r_max", "baseline".
    """
    subject, grid = Subject(model, mouse, state), given("grid", grid, Gratings)
    contrasts = np.asarray(grid.contrasts)
    best = BestGratings.of(show_gratings(subject, grid))
    gratings, which = np.unique(
        np.stack([best.orientation, best.frequency, best.phase]), axis=1, return_inverse=True
    )  # each grating is shown once for all neurons
    which = which.ravel()
    curves = np.empty((len(which), len(contrasts)), np.float32)
    for i, (orientation, frequency, phase) in enumerate(progress(gratings.T, desc="contrasts")):
        images = subject.screen.grating(
            grid.angles[orientation],
            grid.frequencies[frequency],
            grid.phase_angles[phase],
            contrasts,
        )
        mine = which == i
        curves[mine] = subject.respond(images)[:, mine].T
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
    model: nn.Module,
    mouse: str | None = None,
    neurons: Neurons = None,
    grid: Gratings | None = None,
    state: State | None = None,
) -> Tuning:
    """Size tuning with discs of each neuron's best grating around the centre of its field.

    The field comes from `receptive_fields`. Each neuron has its own images, so thousands of
    neurons take minutes: choose some with `neurons`. values: radii in pixels. `preferred` is the
    smallest with 95 % of the peak, `selectivity` the suppression index: suppressed from .1 on.
    """
    subject, grid = Subject(model, mouse, state), given("grid", grid, Gratings)
    neurons = subject.choose(neurons)
    best = BestGratings.of(show_gratings(subject, grid))
    centers = field_centers(receptive_fields(model, neurons, mouse, state=state))
    return size_curves(subject, neurons, best.parameters(grid, neurons), centers, grid)


def size_curves(
    subject: Subject, neurons: np.ndarray, gratings: tuple, centers: np.ndarray, grid: Gratings
) -> Tuning:
    """Size tuning of chosen neurons with known gratings and centres (n, 2), in pixels."""
    radii = np.asarray(grid.radii)
    curves = np.empty((len(neurons), len(radii)), np.float32)
    together = max(1, BLOCK // len(radii))  # neurons that share a block of images
    for start in progress(range(0, len(neurons), together), desc="sizes", unit="block"):
        block = slice(start, start + together)
        count = len(neurons[block])
        own = [np.repeat(values[block], len(radii)) for values in gratings]
        images = subject.screen.grating(
            *own,
            grid.contrast,
            np.repeat(centers[block], len(radii), axis=0),
            np.tile(radii, count),
        )
        shown = subject.respond(images).reshape(count, len(radii), -1)
        curves[block] = shown[np.arange(count), :, neurons[block]]
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
