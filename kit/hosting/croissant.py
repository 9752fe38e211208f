"""Describe a public recording as other programs read it: Croissant 1.0, the metadata of MLCommons.

http://mlcommons.org/croissant/1.0 says what the words mean. It is schema.org's Dataset in JSON-LD.
"""

import json
from pathlib import Path

import numpy as np

from kit.data.layout import TIERS
from kit.files import file_sha256
from kit.pages.html import render_text


def write_croissant(
    path: Path, mouse: str, tiers: np.ndarray, neurons: int, license: str | None
) -> Path:
    """Write croissant.json beside a public zip. Returns its path.

    tiers: (T,) of the zip's trials. license: its address, or None to leave it out. Creator, url
    and date of publication are for those who publish to add.
    """
    values = {
        "path": path,
        "sha256": file_sha256(path),
        "mouse": mouse,
        "neurons": neurons,
        "counts": [f"{(tiers == tier).sum()} {tier}" for tier in TIERS if tier in tiers],
        "license": None if license is None else json.dumps(license),
    }
    target = path.with_name("croissant.json")
    text = render_text(Path(__file__).with_name("croissant.json"), values)
    target.write_text(f"{text}\n", encoding="ascii")
    return target
