"""Describe a public recording as other programs read it: Croissant 1.0, the metadata of MLCommons.

http://mlcommons.org/croissant/1.0 says what the words mean. It is schema.org's Dataset in JSON-LD.
"""

import json
from pathlib import Path

import numpy as np

from kit.data.layout import TIERS
from kit.files import file_sha256

WORDS = (
    "citeAs",
    "column",
    "equivalentProperty",
    "extract",
    "field",
    "fileObject",
    "fileProperty",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
)
CONTEXT = {  # the whole of it, as the specification recommends: who publishes may add to the file
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {word: f"cr:{word}" for word in WORDS}


def write_croissant(
    path: Path, mouse: str, tiers: np.ndarray, neurons: int, license: str | None
) -> Path:
    """Write croissant.json beside a public zip. Returns its path.

    tiers: (T,) of the zip's trials. license: its address, or None to leave it out. Creator, url
    and date of publication are for those who publish to add.
    """
    counts = [f"{(tiers == tier).sum()} {tier}" for tier in TIERS if tier in tiers]
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": path.stem,
        "description": f"Responses of {neurons} neurons in the visual cortex of mouse {mouse} to "
        f"images: {', '.join(counts)} trials, in the layout of SENSORIUM 2022. "
        "Those of the tiers test and final_test are withheld: zeros.",
        "version": "1.0.0",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": path.name,
                "name": path.name,
                "contentUrl": path.name,
                "contentSize": f"{path.stat().st_size} B",
                "encodingFormat": "application/zip",
                "sha256": file_sha256(path),
            }
        ],
    }
    if license is not None:
        described["license"] = license
    target = path.with_name("croissant.json")
    target.write_text(json.dumps(described, indent=2) + "\n", encoding="ascii")
    return target
