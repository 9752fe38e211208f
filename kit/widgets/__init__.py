"""Widgets for notebooks: move a slider, see a recording or a model answer.

Each is a thin shell: controls, a picture of fixed height, and a sentence that says what it shows.
They need nothing but the core widgets of ipywidgets 7.7 or 8. In a notebook that has no kernel,
such as one on a web site, the picture is shown as it was when the cell ran.
"""

from kit.widgets.explorer import Explorer
from kit.widgets.explorers import neuron_explorer, playground, trial_explorer
from kit.widgets.training import TrainingMonitor, training_monitor

__all__ = [
    "Explorer",
    "TrainingMonitor",
    "neuron_explorer",
    "playground",
    "training_monitor",
    "trial_explorer",
]
