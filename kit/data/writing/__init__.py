"""From your own arrays to a recording in the official layout.

`RecordingArrays` says which arrays there are, with the shape and unit of each; `write_recording`
checks them, decides what they leave open, writes the file and reports what it decided.
"""

from kit.data.writing.arrays import RecordingArrays
from kit.data.writing.recording import write_recording

__all__ = ["RecordingArrays", "write_recording"]
