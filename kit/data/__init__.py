"""From a name to batches.

`load` takes a name, a mouse's id or the path of a recording in the official layout. It returns a
`Dataset`, which maps each mouse to its `Recording`. A recording gives `Batch`es of standardised
tensors. `truth` gives the `Truth` behind a simulated mouse. `write_recording` writes arrays of your
own, a `RecordingArrays`, as a recording that `load` opens.
"""

from kit.data import simulation
from kit.data.loading import load
from kit.data.recordings import Batch, Dataset, Recording
from kit.data.simulation import Truth, is_simulated, truth
from kit.data.writing import RecordingArrays, write_recording

__all__ = [
    "Batch",
    "Dataset",
    "Recording",
    "RecordingArrays",
    "Truth",
    "is_simulated",
    "load",
    "simulation",
    "truth",
    "write_recording",
]
