"""Parameters with which a notebook runs every line in seconds. By its number or name."""

import os
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

PARAMETERS = {
    "00": {"channels": 8, "epochs": 2},
    "01": {"mouse": "sample", "trials": 40},  # withholds what can be withheld
    "02": {"seeds": 3, "resamples": 2000},
    "03": {"channels": 8, "epochs": 2},
    "04": {"seeds": 1, "epochs": 1},
    "05": {"channels": 4, "epochs": 1, "rivals": ["shifter-gain-1", "ln"]},
    "06": {"counts": [40, 50, 60], "members": 2},
    "07": {"count": 30, "steps": 5},
    "08": {"channels": 4, "epochs": 1},
    "09": {"first": ["ln", "shifter-gain-1"], "more": ["shifter-1"], "members": 2},
    "10": {"epochs": 1, "count": 3},
    "template_core": {"mouse": "sample", "epochs": 1},  # withholds what can be withheld
    "template_recording": {"channels": 4, "epochs": 1},
    "solutions/00": {"epochs": 1},
    "solutions/02": {"resamples": 500},
    "solutions/03": {"epochs": 1, "epochs_by_hand": 1},
    "solutions/04": {"epochs": 1},
    "solutions/06": {"few": 30, "members": 2},
    "solutions/07": {"count": 20, "few": 20},
    "solutions/08": {"epochs_vit": 1},
    "solutions/10": {"epochs": 1},
}

# These train or draw for long, so nbval shortens them too; `make tutorial` runs them as they are.
LONG = {
    *("00", "02", "03", "04", "05", "06", "07", "08", "10"),
    *("template_core", "template_recording"),
    *(f"solutions/{number:02}" for number in (0, 3, 4, 6, 7, 8, 10)),
}


def number(path):
    """What a notebook is called here: 03, template_core or solutions/03."""
    name = Path(os.path.relpath(path, NOTEBOOKS)).with_suffix("").as_posix()
    return name if name.startswith("template_") else name.partition("_")[0]


def parameters(path):
    return PARAMETERS.get(number(path), {})


def set_parameters(cell, values):
    """Append assignments to the cell of parameters, as papermill does."""
    if "parameters" in cell.metadata.get("tags", []):
        lines = [f"{name} = {value!r}" for name, value in values.items()]
        cell.source = "\n".join([cell.source, *lines])


def drop_assert(cell):
    """Leave out what a check asserts: a short run gives other numbers."""
    if "check" in cell.metadata.get("tags", []):
        cell.source = cell.source.partition("\nassert ")[0]


def shorten(cell, path):
    """Shorten a long notebook, but keep its mouse and channels, which outputs mention."""
    if number(path) in LONG:
        values = parameters(path).items()
        set_parameters(cell, {k: v for k, v in values if k not in ("mouse", "channels")})
        drop_assert(cell)
