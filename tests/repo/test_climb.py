"""The ladder of benchmarks/climb: steps, records and the tables agree."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

import kit

CLIMB = Path(__file__).resolve().parents[2] / "benchmarks" / "climb"


@pytest.fixture
def climb(monkeypatch):
    monkeypatch.syspath_prepend(str(CLIMB))
    for name in ("climb", "recordings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import climb

    return climb


def test_page_and_notebook_have_the_table_of_the_records(climb):
    table = f"<!-- climb -->\n{climb.table()}\n<!-- /climb -->"
    notebook = json.loads(climb.NOTEBOOK.read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert table in climb.PAGE.read_text()
    assert sum(table in cell for cell in cells) == 1


def test_notebook_draws_the_records(climb):
    drawn = json.loads(climb.FIGURE.read_text())
    assert drawn == climb.ladder() | {"true rates": climb.true_rates()}
    assert set(drawn["steps"]) | set(drawn["tried"]) == set(climb.steps())
    scores = [score for _, score, _, _ in drawn["steps"].values()]
    assert climb.true_rates() > max(scores) > min(scores) == drawn["steps"][climb.FIRST][1]


def test_every_step_has_a_record_of_every_seed(climb):
    assert climb.steps()[0] == climb.FIRST
    for folder in (path.parent for path in CLIMB.glob("*/step.py")):
        step, results = climb.read_step(folder.name), climb.record(folder.name)
        assert step["__doc__"].count("\n") == 0
        assert folder.name == climb.FIRST or (CLIMB / step["AFTER"] / "record.json").exists()
        assert "sample+" in results
        for seeds in results.values():
            assert set(seeds) == set(climb.SEEDS)
            for result in seeds.values():
                assert len(result["pulls"]) == 60  # images of the final test
                assert "best validation correlation" in result["log"]


def test_a_newcomer_adds_a_step_by_one_file(climb, tmp_path, monkeypatch, capsys):
    test = {"test": (4, 4, 3), "final_test": (4, 3, 4, 4, 3, 4)}
    recording = tiny.arrays(tiers={"train": 100, "validation": 12}, test=test)
    path, responses = tiny.write(tmp_path, recording), tiny.standardised(recording)
    data = kit.load(path, (18, 32), tmp_path / "data")
    monkeypatch.setattr(climb.recordings, "load", lambda name: (data, responses))
    monkeypatch.setattr(climb, "HERE", tmp_path)
    monkeypatch.setattr(climb, "MODELS", tmp_path / "models")
    monkeypatch.setattr(climb, "PAGE", tmp_path / "ladder.md")
    text = "before <!-- climb -->\nold\n<!-- /climb --> after"
    climb.PAGE.write_text(text)
    monkeypatch.setattr(climb, "NOTEBOOK", tmp_path / "10_climb.ipynb")
    monkeypatch.setattr(climb, "FIGURE", tmp_path / "ladder.json")
    cells = [{"source": ["as it is"]}, {"source": text.splitlines(keepends=True)}]
    climb.NOTEBOOK.write_text(json.dumps({"cells": cells}))
    for name, epochs in ((climb.FIRST, 1), ("longer", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "step.py").write_text(
            f'"""{epochs} epochs."""\nimport kit\nAFTER = "baseline"\n'
            "def train(data, seed):\n"
            "    model = kit.cnn_baseline(data, 2)\n"
            f"    config = kit.TrainConfig(epochs={epochs}, batch_size=8, seed=seed)\n"
            "    return model, kit.train(model, data, config)\n"
        )
        climb.run(name, ["sample", "network"])
    climb.write()
    text = climb.PAGE.read_text()
    assert text.startswith("before ") and text.endswith(" after") and "old" not in text
    first, second = json.loads(climb.NOTEBOOK.read_text())["cells"]
    assert first == cells[0] and "".join(second["source"]) == text
    assert "| **longer** (after baseline): 2 epochs. |" in text
    assert "| step | `sample` | `network` | CPU s | pays |" in text  # sample+ was left out
    before = (tmp_path / "longer" / "record.json").read_bytes()
    climb.run("longer", ["sample"])  # measured already
    assert (tmp_path / "longer" / "record.json").read_bytes() == before

    # the difference is that of the mean scores, and pays where its interval is above 0
    records = [
        json.loads((tmp_path / n / "record.json").read_text()) for n in ("longer", "baseline")
    ]
    new, old = ([r["final"] for r in each["sample"].values()] for each in records)
    difference, spread = climb.gain(*(each["sample"] for each in records))
    assert difference.difference == pytest.approx(np.mean(new) - np.mean(old))
    assert spread == pytest.approx(np.std(np.subtract(new, old), ddof=1))
    assert ("| yes |" in text) == (difference.interval[0] > 0)
