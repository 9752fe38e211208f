"""What a ranking writes: page, CSV, JSON, an archive that is ranked again to the byte."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import csv_rows
import numpy as np
import pytest
import tiny
from packaging.requirements import Requirement
from waiting import LIMIT

import kit
from kit.challenge.csv_files import write_rows
from kit.challenge.ranking import archive
from kit.challenge.ranking.entries import open_entry
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES
from kit.hosting.scorer import find_file

LIVE, FINAL = SUBMISSION_FILES.values()
HOSTILE = "=HYPERLINK(1)<b>"
OWN = "17_dora_PhaseId5_2027-06-30_08-00_b.zip"


def pack(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """Entries of a tiny mouse, as a download and a class leave them, and the truth."""
    folder = tmp_path_factory.mktemp("season")
    recording = tiny.arrays(test={"test": (4, 4, 3, 3), "final_test": (4, 3, 3)})
    data = kit.load(tiny.write(folder, recording, withholds=["responses"]), folder=folder / "data")
    truth = kit.write_ground_truth(data, tiny.standardised(recording), folder / "truth")[0].parent
    entries = folder / "entries"
    rng = np.random.default_rng(0)
    for noise, name in enumerate(["baseline-ln", "one", "two", "three", HOSTILE]):
        (entries / name).mkdir(parents=True)
        for tier, file in SUBMISSION_FILES.items():
            right = tiny.standardised(recording)[data.mouse.rows(tier)]
            values = right + noise * rng.standard_normal(right.shape)
            write_rows(entries / name / file, data.mouse, tier, values, "prediction")
    live, final = ((entries / "two" / name).read_bytes() for name in (LIVE, FINAL))
    three = (entries / "three" / LIVE).read_bytes()
    shutil.rmtree(entries / "two")
    shutil.move(entries / "three", entries / "again" / "inner")  # a folder in a folder
    pack(entries / OWN, **{f"x/{LIVE}": live, FINAL: final, f"__MACOSX/x/._{LIVE}": b"\0"})
    pack(entries / "9_dora_PhaseId5_2027-06-29_07-00_a.zip", **{LIVE: three})
    pack(entries / "18_dora_PhaseId5_2027-06-30_09-00_c.zip", **{LIVE: live[:-500]})
    (entries / "loose.csv").write_bytes(three)
    (entries / "broken.zip").write_bytes(b"PK")
    (entries / "Thumbs.db").write_bytes(b"\0")
    return folder, entries, truth


@pytest.fixture(scope="module")
def ranking(season):
    _, entries, truth = season
    return kit.rank(entries, truth, seed=3).titled("A season", "2027-06-30")


def read(paths):
    return [path.read_bytes() for path in paths]


# ---- entries as they come ----


def test_rank_takes_folders_zips_and_downloads(ranking):
    names = {"one", "dora", "again", "baseline-ln", HOSTILE, "loose"}
    assert {row.entry for row in ranking} == names
    assert set(ranking.broken) == {"broken", "18_dora_PhaseId5_2027-06-30_09-00_c.zip"}
    assert ranking.left_out == {"dora": 1}
    said = " ".join(str(ranking).split())
    assert "dora: the last file counts, 1 earlier left out" in said
    assert "not ranked: broken: it is not a zip that can be read" in said
    assert "Thumbs" not in said and str(ranking.source.folder) not in said


def test_rank_of_a_participant_takes_the_last_that_can_be_graded(ranking, season, tmp_path):
    dora = next(row for row in ranking if row.entry == "dora")
    with zipfile.ZipFile(season[1] / OWN) as packed:
        (tmp_path / "dora.csv").write_bytes(packed.read(f"x/{LIVE}"))
    (alone,) = kit.rank(tmp_path, season[2], seed=3)
    assert (alone.score, alone.sha256) == (dora.score, dora.sha256)


def test_rank_takes_the_download_as_it_comes(season, ranking, tmp_path):
    bulk = shutil.make_archive(str(tmp_path / "bulk_submissions"), "zip", season[1])
    found = kit.rank(bulk, season[2], seed=3).titled("A season", "2027-06-30")
    assert read(found.save(tmp_path / "a")) == read(ranking.save(tmp_path / "b"))
    assert read([found.archive(tmp_path / "a.zip")]) == read([ranking.archive(tmp_path / "b.zip")])


@pytest.mark.parametrize("members, message", [
    ({f"../{LIVE}": "right"}, None),  # the platform unpacks it inside
    ({f"a\\{LIVE}": "right"}, None),
    ({f"a/{LIVE}": "right", f"b/{LIVE}": "right"}, "it has 2 of them"),
    ({f".hidden/{LIVE}": "right", "notes.txt": ""}, "it has 0 of them, and holds notes.txt"),
    ({}, "it has 0 of them, and holds nothing"),
])  # fmt: skip
def test_rank_of_a_zip(season, tmp_path, members, message):
    right = (season[1] / "one" / LIVE).read_bytes()
    pack(tmp_path / "a.zip", **{name: right if text else "" for name, text in members.items()})
    shutil.copy(season[1] / "one" / LIVE, tmp_path / "b.csv")
    found = kit.rank(tmp_path, season[2])
    assert {row.entry for row in found} == ({"b"} if message else {"a", "b"})
    assert message is None or message in found.broken["a"]


@pytest.mark.parametrize("names", [
    [LIVE], [LIVE, FINAL], [f"a/b/c/{LIVE}", "notes.txt"], [FINAL], [], ["other.csv"],
    [LIVE, f"a/{LIVE}"], [LIVE, f"__MACOSX/{LIVE}", f".git/{LIVE}", f"$Recycle.Bin/{LIVE}"],
    [f"entry/{LIVE}", "entry/Thumbs.db", "entry/desktop.ini"], [LIVE, "metadata.yaml"],
])  # fmt: skip
def test_rank_takes_what_the_scorer_takes(tmp_path, names):
    for name in names:
        (tmp_path / "entry" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "entry" / name).write_text(name)
    (tmp_path / "entry").mkdir(exist_ok=True)
    pack(tmp_path / "entry.zip", **{name: name for name in names})
    found = []
    for place in (tmp_path / "entry", tmp_path / "entry.zip"):
        try:
            with open_entry(place, "test") as path:
                found.append(path.read_text())
        except ValueError as problem:
            found.append(str(problem))
    try:
        expected = find_file(tmp_path / "entry", "the entry", [LIVE]).read_text()
    except ValueError as problem:
        expected = str(problem)
    assert sorted(found[0]) == sorted(found[1]) == sorted(expected)


def test_rank_of_hostile_zips(season, tmp_path):
    right = (season[1] / "one" / LIVE).read_bytes()
    pack(tmp_path / "good.zip", **{LIVE: right})
    whole = (tmp_path / "good.zip").read_bytes()
    for number in range(0, len(whole), 97):  # cut off, and with a byte changed
        (tmp_path / f"cut{number}.zip").write_bytes(whole[:number])
        changed = bytearray(whole)
        changed[number] ^= 255
        (tmp_path / f"bit{number}.zip").write_bytes(changed)
    for path in sorted(tmp_path.glob("*.zip"))[:150]:
        (tmp_path / "alone").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "alone")
    shutil.copy(tmp_path / "good.zip", tmp_path / "alone")
    found = kit.rank(tmp_path / "alone", season[2])
    assert "good" in {row.entry for row in found} and len(found.broken) > 20
    assert {row.sha256 for row in found} == {found.best.sha256}
    assert not any(str(tmp_path) in reason for reason in found.broken.values())


def test_rank_of_a_zip_larger_than_the_disk(season, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bulk.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("17_dora_PhaseId5_x.csv", bytes(3_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    with pytest.raises(ValueError, match="unpacks to 3 MB, more than is free"):
        kit.rank(tmp_path / "bulk.zip", season[2])


# ---- baselines ----


def test_rank_baselines_are_out_of_competition(ranking, season, tmp_path):
    assert [(row.entry, row.baseline) for row in ranking[:2]] == [
        ("baseline-ln", True),
        ("one", False),
    ]
    assert ranking.best is ranking[1] and ranking.best.tied_with_best
    assert not ranking[0].tied_with_best and ranking[0].behind_best.difference < 0
    assert ranking[0].p == ranking.p_pairs[0, 1] and ranking.best.p == 1
    entries = shutil.copytree(season[1], tmp_path / "entries")
    shutil.rmtree(entries / "baseline-ln")
    without = kit.rank(entries, season[2], seed=3)
    assert [row.rank_interval for row in without] == [row.rank_interval for row in ranking[1:]]
    assert [row.behind_best for row in without] == [row.behind_best for row in ranking[1:]]
    assert "baselines are out of competition" in str(ranking)
    assert str(ranking).splitlines()[1].split()[:2] == ["base", "baseline-ln"]


def test_rank_of_baselines_alone(season, tmp_path):
    for name in ("baseline-ln", "Baselines_b", "baseliner"):
        shutil.copytree(season[1] / "one", tmp_path / "entries" / name)
    assert [row.baseline for row in kit.rank(tmp_path / "entries", season[2])] == [
        True,
        True,
        False,
    ]
    shutil.rmtree(tmp_path / "entries" / "baseliner")
    found = kit.rank(tmp_path / "entries", season[2])
    assert len(found) == 2 and found.best is found[0]
    assert not any(row.tied_with_best for row in found)


# ---- page, CSV and JSON ----


def test_save_says_what_was_ranked_in_all_three(ranking, tmp_path):
    page, table, record = ranking.save(tmp_path / "out")
    texts = [path.read_text(encoding="utf-8") for path in (page, table, record)]
    facts = ["A season", "2027-06-30", kit.__version__, ranking.truth_sha256]
    facts += [row.sha256 for row in ranking]
    for text in texts:
        assert all(fact in text for fact in facts)
    assert json.loads(texts[2])["seed"] == 3 and "seed 3" in texts[0]
    lines = list(csv.DictReader(texts[1].splitlines()))
    assert [line["seed"] for line in lines] == ["3"] * len(ranking)
    assert [float(line["score"]) for line in lines] == pytest.approx(
        [row.score for row in ranking], abs=1e-6
    )


def test_save_makes_names_harmless(ranking, tmp_path):
    rows = [replace(row, entry=name) for row, name in zip(
        ranking, ("=1+1", " @x", "+\t1", "-2", "a\nb", "\udcff"), strict=True)]  # fmt: skip
    _, table, record = replace(ranking, rows=tuple(rows)).save(tmp_path)
    names = [line["entry"] for line in csv.DictReader(table.read_text("utf-8").splitlines())]
    assert names == ["'=1+1", "' @x", "'+?1", "'-2", "a?b", "?"]
    found = [entry["entry"] for entry in json.loads(record.read_text("ascii"))["entries"]]
    assert found == [row.entry for row in rows]
    assert HOSTILE not in ranking.page(tmp_path / "page.html").read_text()


def test_save_is_deterministic_and_refuses_other_dates(ranking, season, tmp_path):
    again = kit.rank(season[1], season[2], seed=3).titled("A season", "2027-06-30")
    first = read(ranking.save(tmp_path / "a"))
    assert read(again.save(tmp_path / "b")) == first
    assert read(again.titled(date="2027-07-01").save(tmp_path / "c")) != first
    with pytest.raises(ValueError, match=r"date='30\.6\.27' is not a date; give one such"):
        ranking.titled(date="30.6.27")


def test_rank_says_what_changed(season, ranking, tmp_path):
    entries = shutil.copytree(season[1], tmp_path / "entries")
    first = kit.rank(entries, season[2], seed=3)
    assert first.change == ""
    first.titled(date="2027-06-30").save(entries)
    assert kit.rank(entries, season[2], seed=3).change == (
        "since the ranking of 2027-06-30: nothing has changed"
    )
    worst = first[-1].entry
    order = [row.entry for row in first]
    shutil.copy(entries / "loose.csv", entries / "a-new-one.csv")
    gone = next(name for name in ("one", "again") if name != worst)
    shutil.rmtree(entries / gone)
    changed = kit.rank(entries, season[2], seed=3)
    assert "new: a-new-one" in changed.change and f"gone: {gone}" in changed.change
    moved = [
        r.entry for i, r in enumerate(changed) if r.entry in order and order.index(r.entry) != i
    ]
    assert ("moved: " in changed.change) == bool(moved)
    assert changed.change in " ".join(str(changed).split())
    (entries / "ranking.json").write_text("{}")
    assert "cannot be read" in kit.rank(entries, season[2]).change


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, "name"], ids=["list", "dict", "name"])
def test_rank_of_an_edited_record(season, ranking, tmp_path, text):
    path = ranking.save(tmp_path)[-1]
    record = json.loads(path.read_text())
    record["entries"][1]["entry"] = None
    path.write_text(json.dumps(record) if text == "name" else text)
    entries = shutil.copytree(season[1], tmp_path / "entries")
    shutil.copy(path, entries)
    expected = "gone: None" if text == "name" else "cannot be read"
    assert expected in kit.rank(entries, season[2]).change
    with pytest.raises(ValueError, match=r"ranking\.json is not the record of a ranking; get it"):
        kit.rank(tmp_path)


@pytest.mark.parametrize("user", ["dora_PhaseId1_x", "dora_PhaseId1"])
def test_rank_takes_no_name_that_could_be_anothers(season, ranking, tmp_path, user):
    entries = shutil.copytree(season[1], tmp_path / "entries")
    name = f"99_{user}_PhaseId5_2027-06-30_09-00_c.zip"
    shutil.copy(entries / "9_dora_PhaseId5_2027-06-29_07-00_a.zip", entries / name)
    found = kit.rank(entries, season[2], seed=3)
    assert "has two phases" in found.broken[name]
    assert {row.sha256 for row in found} == {row.sha256 for row in ranking}


# ---- the archive ----


def test_archive_is_ranked_again_to_the_byte(ranking, tmp_path):
    path = ranking.archive(tmp_path / "season.zip")
    saved = read(ranking.save(tmp_path / "saved"))
    again = kit.rank(path)
    assert read(again.save(tmp_path / "again")) == saved
    assert read([again.archive(tmp_path / "twice.zip")]) == read([path])
    with zipfile.ZipFile(path) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "unpacked")
    assert names == [name for name in names if name.isascii() and ".." not in name]
    assert "truth/track.txt" in names and "entries/006.csv" in names
    for name, content in zip(("ranking.html", "ranking.csv", "ranking.json"), saved, strict=True):
        assert (tmp_path / "unpacked" / name).read_bytes() == content
    assert read(kit.rank(tmp_path / "unpacked").save(tmp_path / "third")) == saved


@pytest.mark.slow
def test_archive_needs_nothing_else_and_no_certain_processor(ranking, tmp_path):
    """Another process ranks it, with the archive's own program, as an old processor would."""
    with zipfile.ZipFile(ranking.archive(tmp_path / "season.zip")) as packed:
        packed.extractall(tmp_path / "unpacked")
    own = {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C"}
    listed = Path(__file__).parents[1] / "cpu_features.py"
    features = subprocess.check_output([sys.executable, listed], text=True).strip()
    environment = os.environ | own | {"NPY_DISABLE_CPU_FEATURES": features}
    environment.pop("PYTHONPATH", None)
    program = "import kit; print(kit.__file__); kit.rank('.').save('again')"
    command = [sys.executable, "-c", program]
    place = tmp_path / "unpacked"
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(place / "kit" / "__init__.py")
    found = sorted((tmp_path / "unpacked" / "again").iterdir())
    assert read(found) == read(sorted(ranking.save(tmp_path / "saved")))


def test_archive_of_the_final_test_set_asked_for_by_another_track(season, tmp_path):
    found = kit.rank(season[1], season[2], track="sensorium", final=True)
    again = kit.rank(found.archive(tmp_path / "final.zip"))
    assert (again.track, again.tier) == ("sensorium", "final_test")
    assert read(again.save(tmp_path / "a")) == read(found.save(tmp_path / "b"))
    assert str(again) == str(replace(found, left_out={}))


def test_archive_of_a_truth_of_another_name(season, tmp_path):
    truth = tmp_path / "..\\mine.csv"
    shutil.copy(season[2] / TRUTH_FILES["test"], truth)
    found = kit.rank(season[1], truth, track="sensorium+")
    again = kit.rank(found.archive(tmp_path / "a.zip"))
    assert read(again.save(tmp_path / "a")) == read(found.save(tmp_path / "b"))


def test_archive_names_the_packages_of_the_kit():
    project = tomllib.loads((archive.KIT.parent / "pyproject.toml").read_text("utf-8"))["project"]
    names = [Requirement(each).name for each in project["dependencies"]]
    assert archive.PACKAGES.split() == names


def test_archive_after_the_working_folder_changed(season, ranking, tmp_path, monkeypatch):
    monkeypatch.chdir(season[0])
    found = kit.rank("entries", "truth", seed=3).titled("A season", "2027-06-30")
    monkeypatch.chdir(tmp_path)
    assert read([found.archive("here.zip")]) == read([ranking.archive("there.zip")])


def test_archive_refuses(season, ranking, tmp_path):
    entries = shutil.copytree(season[1], tmp_path / "entries")
    found = kit.rank(entries, season[2])
    csv_rows.change(entries / "loose.csv", lambda rows: rows[::-1])
    with pytest.raises(ValueError, match=r"loose\.csv has changed since it was ranked"):
        found.archive(tmp_path / "a.zip")
    (tmp_path / "other.zip").write_text("mine")
    with pytest.raises(FileExistsError, match="is not the archive of a ranking"):
        ranking.archive(tmp_path / "other.zip")
    with pytest.raises(ValueError, match=r"does not end with \.zip"):
        ranking.archive(tmp_path / "archive")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entries", "other.zip"]


def test_rank_refuses_what_is_no_archive(season, ranking, tmp_path):
    with pytest.raises(ValueError, match="is not the archive of a ranking; give the truth too"):
        kit.rank(season[1])
    path = ranking.archive(tmp_path / "season.zip")
    with pytest.raises(ValueError, match="an archive is ranked as it was; give"):
        kit.rank(path, seed=1)
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path / "u")
    csv_rows.change(tmp_path / "u" / "entries" / "001.csv", lambda rows: rows[::-1])
    with pytest.raises(ValueError, match=r"holds other files than its ranking\.json says"):
        kit.rank(tmp_path / "u")
    for text in ("", "[]", '{"entries": 1}', "nonsense"):
        (tmp_path / "u" / "ranking.json").write_text(text)
        with pytest.raises(ValueError, match="is not the record of a ranking"):
            kit.rank(tmp_path / "u")
