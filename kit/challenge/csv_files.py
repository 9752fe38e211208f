"""Write the official CSV files."""

from pathlib import Path

import numpy as np
import orjson

from kit.checks import require, require_array, require_finite, require_path, require_result
from kit.data.recordings import Recording
from kit.files import atomic_write


def write_rows(
    path: str | Path, recording: Recording, tier: str, values: np.ndarray, column: str
) -> None:
    """Write one official CSV file: a row for each trial of a tier, its lists in brackets.

    values: (T, N) for the tier's trials; column: "prediction" or "responses".
    Raises ValueError for anything else, and if a value is not finite.
    """
    path = require_path("path", path)
    require("column", column, str, ("prediction", "responses"))
    require_result("recording", recording, "unit_ids", "data.mouse")
    neuron_cell = orjson.dumps(recording.unit_ids.tolist()).decode()
    trials = recording.trial_ids[recording.rows(tier)]
    shape = len(trials), len(recording.unit_ids)
    values = require_finite("values", require_array("values", values, shape))
    rows = zip(trials, image_texts(recording, tier), np.ascontiguousarray(values), strict=True)
    with atomic_write(path) as part, part.open("w", encoding="ascii", newline="") as file:
        file.write(f"trial_indices,image_ids,{column},neuron_ids\n")
        for trial, image, numbers in rows:
            value_cell = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode()
            file.write(f'{trial},{image},"{value_cell}","{neuron_cell}"\n')


def image_texts(recording: Recording, tier: str) -> list[str]:
    """The image ids of a tier's trials as the files have them: 7 if a recording has 7.0."""
    images = recording.image_ids[recording.rows(tier)]
    # in a text, such as v1.0, every letter counts
    ending = ".0" if images.dtype.kind == "f" else ""
    return [str(image).removesuffix(ending) for image in images]
