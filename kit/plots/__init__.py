"""One function per figure: each takes data and an axis (or makes one) and returns the axis."""

from kit.plots.curves import (
    data_needed,
    ladder,
    learning_curve,
    pulls,
    reference_line,
    score_bars,
    score_histogram,
    score_intervals,
    score_spread,
    training_curve,
)
from kit.plots.drawings import model_drawing, tiers_drawing
from kit.plots.laboratory import (
    agreement,
    mean_tuning,
    neuron_report,
    orientation_map,
    report_card,
    tuning_curves,
)
from kit.plots.pictures import (
    cortical_map,
    filters,
    images,
    images_with_responses,
    positions,
    readout_drawing,
    stimuli,
)
from kit.plots.responses import binned_mean, mean_responses, raster, repeats, traces
from kit.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILION

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "SKY",
    "VERMILION",
    "agreement",
    "binned_mean",
    "cortical_map",
    "data_needed",
    "filters",
    "images",
    "images_with_responses",
    "ladder",
    "learning_curve",
    "mean_responses",
    "mean_tuning",
    "model_drawing",
    "neuron_report",
    "orientation_map",
    "positions",
    "pulls",
    "raster",
    "readout_drawing",
    "reference_line",
    "repeats",
    "report_card",
    "score_bars",
    "score_histogram",
    "score_intervals",
    "score_spread",
    "stimuli",
    "tiers_drawing",
    "traces",
    "training_curve",
    "tuning_curves",
]
