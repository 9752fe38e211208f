"""The official files as the kit writes them."""

from dataclasses import replace

import numpy as np
import pytest

import kit
from kit.challenge import csv_files


def test_write_rows_in_the_official_layout(challenge, live_rows):
    header, rows = live_rows
    assert header == ["trial_indices", "image_ids", "prediction", "neuron_ids"]
    mouse = challenge.data.mouse
    test = mouse.rows("test")
    assert [row[0] for row in rows] == mouse.trial_ids[test].tolist()
    assert [int(row[1]) for row in rows] == mouse.image_ids[test].tolist()
    assert all(row[3] == mouse.unit_ids.tolist() for row in rows)
    predictions = kit.predict(challenge.model, challenge.data, "test")
    np.testing.assert_allclose([row[2] for row in rows], predictions, rtol=1e-6)


def test_write_rows_of_a_recording_with_floats_as_image_ids(challenge, tmp_path):
    mouse = challenge.data.mouse
    floats = replace(mouse, image_ids=mouse.image_ids.astype(np.float64))
    values = kit.predict(challenge.model, challenge.data, "test")
    csv_files.write_rows(tmp_path / "floats.csv", floats, "test", values, "prediction")
    assert (tmp_path / "floats.csv").read_bytes() == challenge.live.read_bytes()


def test_image_texts_keep_every_letter_of_a_text(challenge):
    mouse = challenge.data.mouse
    ids = mouse.image_ids.astype("<U9")
    ids[mouse.rows("test")[:2]] = "v1", "v1.0"
    found = csv_files.image_texts(replace(mouse, image_ids=ids), "test")
    assert found[:2] == ["v1", "v1.0"] and found[2:] == csv_files.image_texts(mouse, "test")[2:]


@pytest.mark.parametrize("change, message", [
    ({"values": lambda values: values[:, 1:]}, "values must be numbers"),
    ({"values": lambda values: values * np.nan}, "values has values that are not finite"),
    ({"column": lambda column: "x"}, "column='x' is not possible; give one of prediction"),
    ({"recording": lambda mouse: kit.Dataset([mouse])}, "recording holds a Dataset"),
    ({"path": lambda path: 5}, "path='5' is not a path"),
])  # fmt: skip
def test_write_rows_refuses(challenge, tmp_path, change, message):
    given = {
        "path": str(tmp_path / "rows.csv"),
        "recording": challenge.data.mouse,
        "tier": "test",
        "values": kit.predict(challenge.model, challenge.data, "test"),
        "column": "prediction",
    }
    csv_files.write_rows(**given)
    (tmp_path / "rows.csv").unlink()
    with pytest.raises(ValueError, match=message):
        csv_files.write_rows(**{name: change.get(name, lambda x: x)(given[name]) for name in given})
    assert not list(tmp_path.iterdir())
