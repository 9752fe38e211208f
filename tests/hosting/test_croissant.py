"""croissant.json: the words that the specification asks for, and what mlcroissant makes of it."""

import hashlib
import io
import json

import numpy as np
import pytest
import withheld
from withheld import open_mouse

import kit
from kit.hosting.croissant import write_croissant

ABOUT = {
    "license": "https://example.org/licence",
    "creator": 'the "Labor" für alle',
    "url": "https://example.org/mouse",
    "date": "2027-03-01",
    "citation": "@misc{mouse, year = {2027}}",
}


@pytest.mark.parametrize("about", [ABOUT, {"license": 'the "Lizenz" für alle'}, {}])
def test_write_croissant(tmp_path, about):
    path = tmp_path / "static7-1-1-GrayImageNet-withheld.zip"
    path.write_bytes(b"0123456789")
    tiers = np.array(["train", "test", "train", "final_test", "validation"])
    target = write_croissant(path, kit.WithholdConfig(mouse="7-1-1", **about), tiers, 24)
    assert target == path.with_name("croissant.json")
    described = json.loads(target.read_text(encoding="ascii"))
    assert described["@context"]["cr"] == "http://mlcommons.org/croissant/"
    assert described["@context"]["containedIn"] == "cr:containedIn"
    assert described["@type"] == "sc:Dataset"
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert described["name"] == path.stem
    assert "24 neurons" in described["description"]
    assert "2 train, 1 validation, 1 test, 1 final_test trials" in described["description"]
    words = {"datePublished": "date", "citeAs": "citation", "license": "license", "url": "url"}
    for word, setting in words.items():
        assert described.get(word) == about.get(setting)
    if "creator" in about:
        assert described["creator"] == {"@type": "sc:Organization", "name": about["creator"]}
    else:
        assert "creator" not in described
    nothing = kit.WithholdConfig(mouse="7-1-1", creator="", citation="")  # as a shell may give it
    empty = json.loads(write_croissant(path, nothing, tiers, 24).read_text(encoding="ascii"))
    assert not {"creator", "citeAs"} & empty.keys()
    file, files = described["distribution"]
    assert file == {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": "10 B",
        "encodingFormat": "application/zip",
        "sha256": hashlib.sha256(b"0123456789").hexdigest(),
    }
    assert files["containedIn"] == {"@id": path.name}
    (records,) = described["recordSet"]
    assert {field["source"]["fileSet"]["@id"] for field in records["field"]} == {files["@id"]}


@pytest.mark.filterwarnings("ignore")  # Python's: mlcroissant 1.1.1 leaves files open
def test_mlcroissant_loads_the_responses(tmp_path, monkeypatch, caplog):
    """To the bit, and without a word on the description. Withheld ones are zeros."""
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "cache"))  # read when it is imported
    mlcroissant = pytest.importorskip("mlcroissant", exc_type=ImportError)
    mouse = withheld.load(open_mouse(), tmp_path / "source", size=(18, 32))
    kit.withhold(mouse, tmp_path / "mine", kit.WithholdConfig(seed=1, **ABOUT))
    with caplog.at_level("WARNING"):
        dataset = mlcroissant.Dataset(tmp_path / "mine" / "public" / "croissant.json")
    assert caplog.records == [] and not dataset.metadata.ctx.issues.warnings
    members = withheld.members(tmp_path / "mine")
    records = list(dataset.records("responses"))
    assert sorted(record["responses/trial"] for record in records) == list(range(72))
    for record in records:
        responses = np.load(io.BytesIO(record["responses/npy"]))
        np.testing.assert_array_equal(
            responses, members[f"data/responses/{record['responses/trial']}"]
        )
