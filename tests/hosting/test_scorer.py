"""The scoring program, run as the platform runs it: folders, a process, numpy and nothing else."""

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import csv_rows
import numpy as np
import pytest
from html_page import Page, assert_loads_nothing
from waiting import LIMIT

import kit
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES

LIVE, FINAL = SUBMISSION_FILES.values()
SCORER = Path(__file__).parents[2] / "build" / "scorer" / "bin" / "python"  # numpy 1.26 alone
RUN = """
import runpy, sys
OWN = {"kit", "numpy", *sys.stdlib_module_names}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in OWN:
            raise ImportError(f"the platform has no {name}")
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, ".")
runpy.run_path("score.py", run_name="__main__")
"""


class Platform:
    """The folders of a run: program, input/ref, input/res, output."""

    def __init__(self, folder, bundle, phase):  # the bundle has a solution
        self.folder = folder
        with zipfile.ZipFile(bundle) as source:
            for name, place in {"scoring_program.zip": "program", "solution.zip": "input/res",
                                f"reference_data_{phase}.zip": "input/ref"}.items():  # fmt: skip
                with source.open(name) as file, zipfile.ZipFile(file) as archive:
                    archive.extractall(folder / place)
        (folder / "input" / "res" / "metadata").write_text("exitCode: 0")  # the platform's own
        (folder / "output").mkdir()
        self.entry = folder / "input" / "res"
        self.scores = folder / "output" / "scores.json"

    def run(self):
        """Exit status, stderr, and the page taken apart."""
        python = SCORER if SCORER.exists() else sys.executable
        command = [python, "-I", "-W", "error", "-c", RUN]
        done = subprocess.run([*command, "../input", "../output"], cwd=self.folder / "program",
                              capture_output=True, text=True, timeout=LIMIT)  # fmt: skip
        assert done.stdout == ""
        page = self.folder / "output" / "detailed_results.html"
        return done.returncode, done.stderr, Page(page.read_text(encoding="utf-8"))


@pytest.fixture
def live(plus_hosted, tmp_path):
    return Platform(tmp_path, plus_hosted.bundle, "live")


@pytest.mark.skipif(not SCORER.exists(), reason="build/scorer, which make test makes, is not there")
def test_scorer_has_numpy_126_alone():
    command = [SCORER, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    packages = {each["name"]: each["version"] for each in listed}
    assert packages.keys() <= {"numpy", "pip", "setuptools"}
    assert packages["numpy"] == "1.26.4"


# ---- scores ----


@pytest.mark.parametrize("tier", SUBMISSION_FILES)
def test_score_is_that_of_the_grade_and_of_the_ranking(hosted, tmp_path, tier):
    phase = {"test": "live", "final_test": "final"}[tier]
    bundle = hosted.bundle
    if phase == "final":
        config = replace(hosted.config, blind_final=False)
        path = tmp_path / "scored.zip"
        bundle = kit.bundle(hosted.data, hosted.truth, path, hosted.model, config)
    platform = Platform(tmp_path, bundle, phase)
    status, err, page = platform.run()
    assert (status, err) == (0, "")
    found = json.loads(platform.scores.read_text())
    truth = hosted.truth / TRUTH_FILES[tier]
    grade = kit.grade(platform.entry / SUBMISSION_FILES[tier], truth)
    for name in ("single_trial", "to_average", "feve"):
        assert found[name] == pytest.approx(getattr(grade, name), abs=1e-9)
    with zipfile.ZipFile(hosted.bundle) as source:
        (board,) = json.loads(source.read("competition.yaml"))["leaderboards"]
    assert set(found) == {column["key"] for column in board["columns"]}
    assert found.pop("valid") == 1
    assert all(np.isfinite(list(found.values()))) and found["low"] < found["high"]
    assert any(f"{phase.capitalize()} test set" in text for _, text in page.find("p"))
    (row,) = kit.rank(platform.entry.parent, hosted.truth, final=phase == "final")
    metric = "single_trial" if hosted.config.track == "sensorium+" else "to_average"
    assert found[metric] == pytest.approx(row.score, abs=1e-9)
    assert (found["low"], found["high"]) == pytest.approx(row.interval, abs=1e-9)


def test_blind_final_says_valid_and_nothing_else(hosted, tmp_path):
    """One finite number, for a column of the board; the page has no score and no figure."""
    platform = Platform(tmp_path, hosted.bundle, "final")
    (tmp_path / "input" / "res" / LIVE).write_text("the other file, which is not read")
    status, err, page = platform.run()
    assert (status, err) == (0, "")
    assert platform.scores.read_text() == '{"valid": 1}'
    assert_loads_nothing(page)
    assert [text for _, text in page.find("h1")] == ["This entry is valid"]
    ((_, facts),) = page.find("p", **{"class": "facts"})
    assert facts == "Final test set · 10 trials · 3 images · 24 neurons"
    assert not page.find("svg") and not page.find("td")
    assert not re.search(r"\d\.\d", "".join(text for _, text in page.find("p")))


def wrong_number(entry):
    csv_rows.change(entry / FINAL, lambda rows: [[*rows[0][:2], ["NaN"] * 24, rows[0][3]],
                                                 *rows[1:]])  # fmt: skip


WRONG = {  # what a blind final finds in an entry -> words of the sentence
    "a trial less": (lambda entry: csv_rows.change(entry / FINAL, lambda rows: rows[1:]),
                     "1 trial ("),
    "another image": (lambda entry: csv_rows.change(
        entry / FINAL, lambda rows: [[rows[0][0], "7", *rows[0][2:]], *rows[1:]]),
        "with the image_ids of another image"),
    "other neurons": (lambda entry: csv_rows.change(
        entry / FINAL, lambda rows: [[*r[:3], [n + 1 for n in r[3]]] for r in rows]),
        "with other neurons"),
    "no number": (wrong_number, "is not a JSON list of"),
    "the live file": (lambda entry: (entry / LIVE).replace(entry / FINAL),
                      "not one of its trials is in this test set"),
    "no file": (lambda entry: (entry / FINAL).unlink(), f"and holds {LIVE}"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_blind_final_refuses(plus_hosted, tmp_path, name):
    platform = Platform(tmp_path, plus_hosted.bundle, "final")
    change, words = WRONG[name]
    change(platform.entry)
    status, err, page = platform.run()
    assert status == 1 and words in err and err.count("\n") == 1
    assert not platform.scores.exists()
    assert page.find("p", **{"class": "problem"})[0][1] == err.strip()


def test_entry_that_the_platform_takes_for_a_program_is_scored(live):
    """It then lies in ingested_program, with its metadata, and res is empty."""
    live.run()
    expected = json.loads(live.scores.read_text())
    program = live.folder / "ingested_program"
    program.mkdir()
    (program / "mine").mkdir()
    (live.entry / LIVE).rename(program / "mine" / LIVE)
    (program / "metadata.yaml").write_text("command: python3 model.py")
    assert live.run()[0] == 1  # res has the final file, so it is the entry
    (live.entry / FINAL).unlink()
    assert live.run()[:2] == (0, "")
    assert json.loads(live.scores.read_text()) == pytest.approx(expected, abs=1e-9)
    live.entry.rename(live.entry.with_name("gone"))
    assert live.run()[:2] == (0, "")


def with_hidden_files(entry):
    (entry / "mine" / "deeper").mkdir(parents=True)
    for name in (LIVE, FINAL):
        (entry / name).rename(entry / "mine" / "deeper" / name)
    for name in (f"__MACOSX/mine/deeper/._{LIVE}", f"__MACOSX/{LIVE}", f".git/{LIVE}",
                 "mine/.DS_Store", "notes.txt", "mine/._x.csv"):  # fmt: skip
        (entry / name).parent.mkdir(parents=True, exist_ok=True)
        (entry / name).write_bytes(b"\0")


GOOD = {"in a folder with hidden files": with_hidden_files,
        "with the other file broken": lambda entry: (entry / FINAL).write_text("broken"),
        "metadata.yaml beside it": lambda entry: (entry / "metadata.yaml").write_text("a: b"),
        }  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_score_does_not_depend_on(live, name):
    live.run()
    expected = json.loads(live.scores.read_text())
    GOOD[name](live.entry)
    assert live.run()[:2] == (0, "")
    assert json.loads(live.scores.read_text()) == pytest.approx(expected, abs=1e-9)


def test_score_of_constant_predictions(live):
    csv_rows.change(
        live.entry / LIVE, lambda rows: [[*r[:2], [1.0] * len(r[2]), r[3]] for r in rows]
    )
    status, _, page = live.run()
    found = json.loads(live.scores.read_text())
    assert status == 0 and found["single_trial"] == found["to_average"] == 0
    assert found["low"] == found["high"] == 0
    assert any("mean 0.0000" in text for _, text in page.find("text"))


# ---- bad entries ----


def emptied(entry):
    for path in entry.iterdir():
        if path.name != "metadata":
            path.unlink()


def oversized(entry):
    with (entry / LIVE).open("r+b") as file:
        file.truncate(400_000_001)  # a file with a hole, which takes no room


def huge(entry):
    csv_rows.change(entry / LIVE, lambda rows: [[*rows[0][:2], [1e20] * 24, rows[0][3]], *rows[1:]])


BAD = {  # what is wrong -> how it comes about, words of the sentence
    "empty": (emptied, f"the entry must have one file {LIVE}, and no metadata.yaml, which would "
                       "make it a program; it has 0 of them, and holds nothing"),
    "no folder": (lambda entry: entry.rename(entry.with_name("gone")), "and holds nothing"),
    "only the other file": (lambda entry: (entry / LIVE).unlink(), f"and holds {FINAL}"),
    "another name": (lambda entry: (entry / LIVE).rename(entry / "<b>\n.csv"), "holds <b>?.csv"),
    "two files": (lambda entry: ((entry / "a").mkdir(), (entry / "a" / LIVE).write_text("")),
                  "it has 2 of them"),
    "a link": (lambda entry: ((entry / LIVE).unlink(),
                              (entry / LIVE).symlink_to(entry / FINAL)), f"and holds {FINAL}"),
    "a pipe": (lambda entry: ((entry / LIVE).unlink(), os.mkfifo(entry / LIVE)),
               f"and holds {FINAL}"),
    "oversized": (oversized, "is not an ordinary file of at most 400 MB"),
    "the other test set": (lambda entry: (entry / FINAL).replace(entry / LIVE), "14 trials ("),
    "beyond the leaderboard": (huge, "the score feve is -"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_score_answers_a_bad_entry_with_one_sentence(live, name):
    live.scores.write_text("{}")  # of an earlier run
    change, message = BAD[name]
    change(live.entry)
    status, err, page = live.run()
    assert status == 1
    assert message in err and err.count("\n") == 1 and len(err) > 20
    assert str(live.folder) not in err and "Traceback" not in err and "../" not in err
    assert not live.scores.exists()
    assert page.find("p", **{"class": "problem"})[0][1] == err.strip()
    assert not page.find("b") and not page.find("svg")


def test_score_of_folders_in_folders(live):
    """An entry of some kilobytes can have more of them than Python's calls may be deep."""
    folders = [live.entry]
    for _ in range(1500):
        folders.append(folders[-1] / "a")
        folders[-1].mkdir()
    (live.entry / LIVE).unlink()
    status, err, page = live.run()
    for folder in folders[:0:-1]:  # shutil.rmtree calls itself for each
        folder.rmdir()
    assert status == 1 and f"and holds {FINAL}" in err and err.count("\n") == 1
    assert page.find("p", **{"class": "problem"})[0][1] == err.strip()


def test_score_without_ground_truth(live):
    for path in (live.folder / "input" / "ref").iterdir():
        path.unlink()
    status, err, _ = live.run()
    assert status == 1 and "the organisers' reference data must have one file" in err
    assert not live.scores.exists()


def test_score_leaves_no_scores_if_the_page_cannot_be_written(live):
    (live.folder / "output" / "detailed_results.html").mkdir()
    command = [sys.executable, "-I", "-c", RUN, "../input", "../output"]
    done = subprocess.run(command, cwd=live.folder / "program", capture_output=True, text=True)
    assert done.returncode != 0 and not live.scores.exists()


# ---- the page ----


def test_page_shows_scores_and_loads_nothing(live):
    _, _, page = live.run()
    assert_loads_nothing(page)
    assert not page.find("script") and "prefers-color-scheme: dark" in page.source
    found = json.loads(live.scores.read_text())
    assert page.find("html", lang="en") and len(page.find("h1")) == 1
    ((_, facts),) = page.find("p", **{"class": "facts"})
    assert facts == "Live test set · 14 trials · 4 images · 24 neurons"

    def shown(key):
        return f"{found[key]:.4f}".replace("-", "−")

    cells = [row[1][1] for row in page.rows()]
    assert cells == [shown("single_trial"), shown("to_average"), shown("feve")]
    ((_, score),) = page.find("p", **{"class": "score"})
    assert score.split()[0] == shown("single_trial")
    assert f"{shown('low')} to {shown('high')}" in [text for _, text in page.find("b")]


def test_page_draws_every_neuron(live):
    _, _, page = live.run()
    ((svg, _),) = page.find("svg")
    assert svg["role"] == "img" and "of 24 neurons" in svg["aria-label"]
    bars = [attributes for attributes, _ in page.find("rect")]
    assert all(float(bar["height"]) > 0 and float(bar["width"]) > 0 for bar in bars)
    labels = [int(text) for a, text in page.find("text", **{"text-anchor": "end"})]
    heights = np.array([float(bar["height"]) for bar in bars]) * max(labels)
    assert (heights / heights.max() * max(labels)).round(1).sum() == 24
