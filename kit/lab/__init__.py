"""The model as a laboratory: in-silico experiments, and a report card that says how true they are.

In: any `Model`, ensemble or the cells of a simulated mouse. Out: tuning curves, receptive fields
and most exciting images of every neuron, and a page to play with. Images are z-scored, lengths in
pixels, angles in radians, responses in units of each neuron's std.
"""

from kit.lab.experiment import State, responses, screen_of
from kit.lab.fields import (
    field_centers,
    receptive_fields,
    sparse_noise_fields,
    spike_triggered_averages,
)
from kit.lab.reports.agreements import Agreement, agreement
from kit.lab.reports.planning import DataNeeded, LearningCurve, data_needed
from kit.lab.reports.report_cards import ReportCard, report_card
from kit.lab.states import state_tuning
from kit.lab.stimuli import Gratings, Screen, set_contrast
from kit.lab.synthesis import AscentConfig, MostExcitingImages, most_exciting_images
from kit.lab.tuning import (
    Tuning,
    contrast_tuning,
    grating_responses,
    orientation_tuning,
    phase_tuning,
    size_tuning,
    spatial_frequency_tuning,
)
from kit.lab.twin_page import page

__all__ = [
    "Agreement",
    "AscentConfig",
    "DataNeeded",
    "Gratings",
    "LearningCurve",
    "MostExcitingImages",
    "ReportCard",
    "Screen",
    "State",
    "Tuning",
    "agreement",
    "contrast_tuning",
    "data_needed",
    "field_centers",
    "grating_responses",
    "most_exciting_images",
    "orientation_tuning",
    "page",
    "phase_tuning",
    "receptive_fields",
    "report_card",
    "responses",
    "screen_of",
    "set_contrast",
    "size_tuning",
    "sparse_noise_fields",
    "spatial_frequency_tuning",
    "spike_triggered_averages",
    "state_tuning",
]
