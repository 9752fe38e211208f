"""croissant.json: the words that the specification asks for."""

import hashlib
import json

import numpy as np
import pytest

from kit.hosting.croissant import write_croissant


@pytest.mark.parametrize("license", ["https://example.org/licence", 'the "Lizenz" für alle', None])
def test_write_croissant(tmp_path, license):
    path = tmp_path / "static7-1-1-GrayImageNet-withheld.zip"
    path.write_bytes(b"0123456789")
    tiers = np.array(["train", "test", "train", "final_test", "validation"])
    target = write_croissant(path, "7-1-1", tiers, 24, license)
    assert target == path.with_name("croissant.json")
    described = json.loads(target.read_text(encoding="ascii"))
    assert described["@context"]["cr"] == "http://mlcommons.org/croissant/"
    assert described["@type"] == "sc:Dataset"
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert described["name"] == path.stem
    assert "24 neurons" in described["description"]
    assert "2 train, 1 validation, 1 test, 1 final_test trials" in described["description"]
    assert described.get("license") == license
    (file,) = described["distribution"]
    assert file == {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": "10 B",
        "encodingFormat": "application/zip",
        "sha256": hashlib.sha256(b"0123456789").hexdigest(),
    }
