"""Simulated mice whose truth is known, written in the official layout on first use.

A small model of V1: Gabor cells, simple and complex, divided by the contrast around them, whose
gain follows pupil and running and whose fields move with the eye, seen through sparse, Gamma-like
noise. The truth lies beside the recording; only `truth` opens it.
"""

from kit.data.simulation.cells import Cells
from kit.data.simulation.mice import MICE, NAMES, VERSION, Mouse, Truth, path, truth

__all__ = ["MICE", "NAMES", "VERSION", "Cells", "Mouse", "Truth", "path", "truth"]
