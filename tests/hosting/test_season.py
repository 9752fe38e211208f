"""A challenge from its first day to its last, as an organiser has it.

withhold -> bundle -> thirty entries on the platform -> its bulk download -> the ranking, page, CSV,
JSON, archive -> ranked again by the archive's own program in another process: the same bytes.
"""

import io
import json
import os
import subprocess
import sys
import zipfile

import csv_rows
import numpy as np
import pytest
from road import Road, contents, holds_numbers, order_in
from waiting import LIMIT

import kit
from kit.__main__ import main
from kit.challenge.csv_files import write_rows
from kit.challenge.tracks import SUBMISSION_FILES, TRACK_FILE, TRUTH_FILES
from kit.files import file_sha256

pytestmark = pytest.mark.xdist_group("season")  # one season for all tests here
LIVE, FINAL = SUBMISSION_FILES.values()
RESULTS = ("ranking.html", "ranking.csv", "ranking.json")


class Entries:
    """Makes thirty entries of five kinds. `make(number)` writes one into a folder."""

    KINDS = ("good", "copy", "cut off", "wrong ids", "other test set")

    def __init__(self, road):
        self.mouse = road.data.mouse
        self.predictions = {
            tier: kit.predict(road.model, road.data, tier) for tier in SUBMISSION_FILES
        }

    def make(self, number, folder):
        kind = self.KINDS[number % 5]
        source = 0 if kind == "copy" else number
        rng = np.random.default_rng(source)
        for tier, name in SUBMISSION_FILES.items():
            noise = rng.gamma(2, 0.1 + source / 100, self.predictions[tier].shape)
            write_rows(
                folder / name, self.mouse, tier, self.predictions[tier] + noise, "prediction"
            )
        if kind == "copy":  # of the first entry, with its rows in another order
            csv_rows.change(folder / FINAL, lambda rows: rows[1:] + rows[:1])
        elif kind == "cut off":
            (folder / FINAL).write_bytes((folder / FINAL).read_bytes()[: -50 * number])
        elif kind == "wrong ids":
            change = (self._other_trial, self._other_image, self._other_neuron)[number % 3]
            csv_rows.change(folder / FINAL, lambda rows: [change(*rows[0]), *rows[1:]])
        elif kind == "other test set":
            (folder / LIVE).replace(folder / FINAL)

    @staticmethod
    def _other_trial(trial, image, values, neurons):
        return [trial[::-1], image, values, neurons]

    @staticmethod
    def _other_image(trial, image, values, neurons):
        return [trial, "7", values, neurons]

    @staticmethod
    def _other_neuron(trial, image, values, neurons):
        return [trial, image, values, [1 + max(neurons), *neurons[1:]]]


def pack(folder, top):
    """The bytes of an entry's zip, as people make them: some with a top folder and hidden files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{top}{path.name}")
            if top:
                packed.writestr(f"__MACOSX/{top}._{path.name}", b"\0")
        packed.writestr(f"{top}Thumbs.db", b"\0")
    return buffer.getvalue()


class Platform:
    """The platform's final phase: each entry gets the folders of a worker, old or new."""

    def __init__(self, bundle, folder):
        self.folder = folder
        with zipfile.ZipFile(bundle) as packed:
            self.parts = {
                "program": packed.read("scoring_program.zip"),
                "input/ref": packed.read("reference_data_final.zip"),
            }

    def accepts(self, number, entry):
        """Whether an entry is valid: scored by the bundle's own program, as a process."""
        app = self.folder / str(number)
        place = ("input/res", "ingested_program")[number // 5 % 2]  # each kind comes in both ways
        for name, content in {**self.parts, place: entry}.items():
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                packed.extractall(app / name)
        command = (app / "program" / "metadata.yaml").read_text().removeprefix("command: ")
        program, *words = command.replace("/app", str(app)).split()
        assert program == "python3"
        done = subprocess.run(
            [sys.executable, "-I", *words], cwd=app / "program", capture_output=True, text=True,
            timeout=LIMIT,
        )  # fmt: skip
        scores = app / "output" / "scores.json"
        assert (app / "output" / "detailed_results.html").is_file()
        assert done.returncode == (0 if scores.is_file() else 1), done.stderr
        assert done.stderr.count("\n") == done.returncode  # one sentence for a bad entry
        return scores.is_file() and json.loads(scores.read_text()) == {"valid": 1}

    def bulk_download(self, path, entries):
        """What the platform gives to its organiser: one zip, in it one for each entry."""
        with zipfile.ZipFile(path, "w") as packed:
            for number, (name, content) in entries.items():
                packed.writestr(download_name(number, name), content)
        return path


def download_name(number, name):
    return f"{number + 9}_{name}_PhaseId5_2027-05-{number + 1:02}_08-00_entry.zip"


def user(number):
    """Who handed in. The last six entries are the second ones of their participants."""
    names = ["baseline-ln", "dora", "Kim Li", "=1+1", "zoë"]
    return (names + [f"user{each}" for each in range(5, 24)])[number % 24]


def read(folder):
    return [(folder / name).read_bytes() for name in RESULTS]


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """The road to the end of the final phase, and what the platform said of each entry."""
    folder = tmp_path_factory.mktemp("season")
    road = Road(folder, "sensorium+")
    made, entries = Entries(road), {}
    platform = Platform(road.bundle(), folder / "platform")
    for number in range(30):
        (folder / "made" / str(number)).mkdir(parents=True)
        made.make(number, folder / "made" / str(number))
        packed = pack(folder / "made" / str(number), "entry/" if number % 4 == 0 else "")
        entries[number] = user(number), packed
    valid = {number: platform.accepts(number, entry) for number, (_, entry) in entries.items()}
    return road, entries, valid, platform.bulk_download(folder / "bulk_submissions.zip", entries)


@pytest.fixture
def results(season, tmp_path, monkeypatch, capsys):
    """The folder in which the organiser ranks the download, in one command."""
    road, _, _, bulk = season
    monkeypatch.chdir(tmp_path)
    line = f"rank {bulk} {road.private} --final --save results --archive season.zip --board board"
    assert main([*line.split(), "--title", "A season", "--date", "2027-06-30"]) is None
    assert "not ranked: " in capsys.readouterr().out
    return tmp_path


@pytest.mark.slow
def test_season_ranks_what_the_platform_accepts(season, results):
    _, entries, valid, bulk = season
    assert [valid[number] for number in range(5)] == [True, True, False, False, False]
    assert len(set(zip(valid.values(), [number // 5 % 2 for number in valid], strict=True))) == 4
    files = {}  # participant -> numbers of the entries
    for number, (name, _) in entries.items():
        files.setdefault(name, []).append(number)
    last = {name: max((n for n in own if valid[n]), default=-1) for name, own in files.items()}
    record = json.loads((results / "results" / "ranking.json").read_bytes())
    ranked = {entry["entry"]: entry for entry in record["entries"]}
    assert ranked.keys() == {name for name in last if last[name] >= 0}
    for name, entry in ranked.items():  # the last valid file of each, as it came
        assert entry["sha256"] == file_sha256(bulk.with_name("made") / str(last[name]) / FINAL)
        assert any("correlate with" in flag for flag in entry["flags"]) == (
            last[name] == 0 or last[name] % 5 == 1  # copied, or a copy
        )
        assert entry["baseline"] == (name == "baseline-ln")
    refused = [number for number in valid if number > last[user(number)]]
    assert set(record["not_ranked"]) == {
        user(n) if len(files[user(n)]) == 1 else download_name(n, user(n)) for n in refused
    }
    assert {Entries.KINDS[number % 5] for number in refused} == set(Entries.KINDS[2:])


@pytest.mark.slow
def test_season_is_ranked_again_from_its_archive_by_another_process(results):
    kit.rank("season.zip").save("again")
    assert read(results / "again") == read(results / "results")
    assert (
        kit.rank("season.zip").archive("twice.zip").read_bytes()
        == (results / "season.zip").read_bytes()
    )
    with zipfile.ZipFile("season.zip") as packed:
        packed.extractall("elsewhere")
    program = "import kit; print(kit.__file__); kit.rank('.').save('again')"
    elsewhere = results / "elsewhere"
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", program], cwd=elsewhere, env=own,
                          capture_output=True, text=True, timeout=LIMIT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(elsewhere / "kit" / "__init__.py")
    assert read(elsewhere / "again") == read(results / "results")


@pytest.mark.slow
def test_season_lets_the_final_truth_leave_home_in_the_archive_alone(season, results):
    road = season[0]
    trials = road.data.mouse.trial_ids[road.data.mouse.rows("final_test")].tolist()
    live = kit.rank(season[3], road.private).archive("live.zip")
    places = [road.public.parent, road.bundle(), results / "results", results / "board", live]
    files = [each for place in places for each in contents(place)]
    assert {"ranking.json", "index.html", "quickstart.py"} <= {
        name.replace(os.sep, "/").rpartition("/")[2] for name, _ in files
    }
    for name, content in files:
        assert not holds_numbers(content, road.numbers), name
        assert order_in(content, trials) in (None, trials), name
    archived = dict(contents(results / "season.zip"))
    assert any(holds_numbers(content, road.numbers) for content in archived.values())
    names = {name.rpartition("/truth/")[2] for name in archived if "/truth/" in name}
    assert names == {*TRUTH_FILES.values(), TRACK_FILE}  # then the live truth is no secret either
