"""From a name to batches.

In: a name, a mouse's id or a path to a recording in the official layout. Out: a `Dataset`, which
maps each mouse to its `Recording`; a recording hands out `Batch`es of standardised tensors. For the
simulated mice there is the `Truth` behind each recording too.
"""

from kit.data import simulation
from kit.data.loading import load
from kit.data.recordings import Batch, Dataset, Recording
from kit.data.simulation import Truth, truth

__all__ = ["Batch", "Dataset", "Recording", "Truth", "load", "simulation", "truth"]
