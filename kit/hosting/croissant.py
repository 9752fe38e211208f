"""Describe a public recording as other programs read it: Croissant 1.1, the metadata of MLCommons.

http://mlcommons.org/croissant/1.1 says what the words mean. It is schema.org's Dataset in JSON-LD.
"""

import json
from pathlib import Path

import numpy as np

from kit.data.layout import TIERS
from kit.files import file_sha256
from kit.hosting.settings import WithholdConfig
from kit.pages.html import render_text


def write_croissant(path: Path, config: WithholdConfig, tiers: np.ndarray, neurons: int) -> Path:
    """Write croissant.json beside a public zip. Returns its path.

    tiers: (T,) of the zip's trials. config: its mouse, and what to say of licence, creator, url,
    date and citation. mlcroissant reads the responses of each trial with it: the bytes of a .npy.
    """
    creator = config.creator and {"@type": "sc:Organization", "name": config.creator}
    about = {
        "license": config.license,
        "creator": creator,
        "url": config.url,
        "datePublished": config.date,
        "citeAs": config.citation,
    }
    values = {
        "path": path,
        "sha256": file_sha256(path),
        "mouse": config.mouse,
        "neurons": neurons,
        "counts": [f"{(tiers == tier).sum()} {tier}" for tier in TIERS if tier in tiers],
        "about": {key: json.dumps(value) for key, value in about.items() if value},
    }
    target = path.with_name("croissant.json")
    text = render_text(Path(__file__).with_name("croissant.json"), values)
    target.write_text(f"{text}\n", encoding="ascii")
    return target
