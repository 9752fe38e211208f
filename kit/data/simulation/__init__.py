"""Simulated mice with a known truth, written in the official layout on first use.

They are a small model of V1. Cells are Gabor filters, simple or complex, divided by the contrast
around them. Pupil and running change their gain, and their fields move with the eye. The noise is
sparse and Gamma-like. The truth is kept beside the recording, and only `truth` opens it.
"""

from kit.data.simulation.cells import Cells
from kit.data.simulation.mice import (
    MICE,
    NAMES,
    VERSION,
    Mouse,
    Truth,
    fetch,
    is_simulated,
    simulate,
    truth,
)

__all__ = [
    "MICE",
    "NAMES",
    "VERSION",
    "Cells",
    "Mouse",
    "Truth",
    "fetch",
    "is_simulated",
    "simulate",
    "truth",
]
