"""A bundle is what the platform demands, and one that is spoiled anywhere is not."""

import datetime
import io
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import codabench_checker
import csv_rows
import numpy as np
import pytest
import tiny
import yaml
from PIL import Image

import kit
from kit.__main__ import ARGUMENTS, main
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES
from kit.hosting import competition


def members(path):
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return buffer.getvalue()


def remade(hosted, path, config=None):
    """The members of another bundle of a challenge, which is as the platform demands."""
    path = kit.bundle(hosted.data, hosted.truth, path, hosted.model, config)
    assert codabench_checker.problems(path) == []
    return members(path)


# ---- the bundle ----


def test_bundle_is_what_the_platform_demands(hosted):
    assert codabench_checker.problems(hosted.bundle) == []


def test_bundle_keeps_any_text_and_limits(plus_hosted, tmp_path):
    title = "Mäuse: \"V1\" #1 'x' {y} 😀 – {{ 7 * 7 }} \\n- a: <b> & c"
    config = kit.BundleConfig(title=title, baseline="no", final_end="", auto_approve=False,
                              submissions_per_day=8, max_submissions=7)  # fmt: skip
    text = remade(plus_hosted, tmp_path / "a.zip", config)["competition.yaml"]
    described = json.loads(text)
    assert yaml.safe_load(text) == described
    assert described["title"] == title
    assert described["registration_auto_approve"] is False
    live, final = described["phases"]
    assert "end" not in final  # it stays open
    limits = "max_submissions_per_day", "max_submissions"
    assert [[phase[name] for name in limits] for phase in (live, final)] == [[7, 7], [3, 3]]


def test_bundle_ranks_by_the_tracks_metric(hosted):
    (board,) = json.loads(members(hosted.bundle)["competition.yaml"])["leaderboards"]
    keys = [column["key"] for column in board["columns"]]
    first, second = ("single_trial", "to_average") if hosted.data.mouse.behavior is not None else (
        "to_average", "single_trial")  # fmt: skip
    assert keys == [first, second, "feve", "low", "high", "valid"]
    assert (board["primary_index"], board["columns"][0]["index"]) == (0, 0)


def test_bundle_keeps_each_truth_to_its_task(hosted, tmp_path):
    scored = replace(hosted.config, blind_final=False)
    files = remade(hosted, tmp_path / "a.zip", scored)
    for name, file in zip(("live", "final"), TRUTH_FILES.values(), strict=True):
        inside = members(io.BytesIO(files[f"reference_data_{name}.zip"]))
        track = f"{hosted.config.track}\n".encode()
        assert inside == {file: (hosted.truth / file).read_bytes(), "track.txt": track}
    (board,) = json.loads(files["competition.yaml"])["leaderboards"]
    assert [column["key"] for column in board["columns"]][2:] == ["feve", "low", "high"]
    public = [files[name] for name in ("terms.md", *(n for n in files if n.startswith("pages/")))]
    assert not any(b"ground_truth" in text for text in public)


@pytest.mark.parametrize("blind", [True, False])
def test_bundle_tells_how_the_final_is_decided(plus_hosted, tmp_path, blind):
    """On every page that speaks of it, and neither way on a page of the other."""
    files = remade(plus_hosted, tmp_path / "a.zip", replace(plus_hosted.config, blind_final=blind))
    readme = members(io.BytesIO(files["starting_kit.zip"]))["README.md"]
    texts = {name: files[name].decode() for name in files if name.endswith((".md", ".yaml"))}
    said = {
        "pages/overview.md": "the platform checks entries and shows no score; the organisers rank",
        "pages/rules.md": "in the final phase 3 in all are checked",
        "pages/evaluation.md": "and shows **valid**, 1, and no score",
        "competition.yaml": "it is checked here, and the organisers rank it",
        "starting_kit.zip": "The final phase shows whether the entry is valid, and no score",
    }
    texts["starting_kit.zip"] = readme.decode()
    for name, words in said.items():
        assert (words in texts[name]) == blind, name
    scored = (
        "In the final phase the platform scores entries",
        "in the final phase 3 in all are scored",
    )
    assert (scored[0] in texts["pages/evaluation.md"]) != blind
    assert (scored[1] in texts["pages/rules.md"]) != blind
    for name in ("pages/overview.md", "starting_kit.zip"):
        assert ("| final test set |" in texts[name]) != blind, name


def test_bundle_rules_of_the_archive(plus_hosted, tmp_path):
    """Its date is given, or 30 days after the end, or none if nothing says when that is."""
    open_end = replace(plus_hosted.config, release="", final_end="")
    cases = {
        "On 2027-07-01 the organisers publish an archive": plus_hosted.config,
        "On 2027-07-01 the organisers": replace(plus_hosted.config, release=""),
        "After the final phase the organisers publish an archive": open_end,
    }
    for words, config in cases.items():
        files = remade(plus_hosted, tmp_path / "a.zip", config)
        assert words in files["pages/rules.md"].decode()
    assert open_end.release_day is None


def test_bundle_asks_and_tells(plus_hosted, tmp_path):
    described = json.loads(members(plus_hosted.bundle)["competition.yaml"])
    assert described["contact_email"] == "us@example.org"
    assert described["reward"] == "A mug & a <cake>"
    assert (
        "Reward: A mug &amp; a &lt;cake&gt;."
        in members(plus_hosted.bundle)["pages/overview.md"].decode()
    )
    config = kit.BundleConfig(contact="the forum, or a@b", final_end="")
    described = json.loads(remade(plus_hosted, tmp_path / "a.zip", config)["competition.yaml"])
    assert "contact_email" not in described and "reward" not in described


@pytest.mark.parametrize("tier", SUBMISSION_FILES)
def test_bundle_tells_the_scores_of_the_baseline(hosted, tmp_path, tier):
    config = replace(hosted.config, blind_final=tier == "test")
    files = remade(hosted, tmp_path / "a.zip", config)
    readme = members(io.BytesIO(files["starting_kit.zip"]))["README.md"].decode()
    solution = members(io.BytesIO(files["solution.zip"]))
    path = tmp_path / SUBMISSION_FILES[tier]
    path.write_bytes(solution[path.name])
    scores = kit.grade(path, hosted.truth / TRUTH_FILES[tier])
    row = f"| {scores.single_trial:.4f} | {scores.to_average:.4f} | {scores.feve:.4f} |"
    assert row in readme


def test_bundle_quickstart_compiles_and_names_what_there_is(plus_hosted):
    kit_files = members(io.BytesIO(members(plus_hosted.bundle)["starting_kit.zip"]))
    compile(kit_files["quickstart.py"], "quickstart.py", "exec")
    named = set(re.findall(rb"kit\.(\w+)\(", b"".join(kit_files.values())))
    assert named == {b"load", b"cnn_baseline", b"train", b"score", b"submit"}
    assert all(hasattr(kit, name.decode()) for name in named)


def test_bundle_pages(hosted):
    """Texts are escaped, and the rules are of the track."""
    files = members(hosted.bundle)
    assert b"Organised by Us &amp; &lt;them&gt;." in files["pages/overview.md"]
    assert b"<https://example.org/tiny_1.zip>" in files["pages/data.md"]
    rules = files["pages/rules.md"]
    assert b"Do not use the responses of neighbouring trials" in rules
    assert b"Do not use hidden responses" in rules
    plus = hosted.config.track == "sensorium+"
    assert (b"behaviour of the animal may not be used" in rules) != plus
    with Image.open(io.BytesIO(files["logo.png"])) as logo:
        assert logo.size == (400, 400) and len(np.unique(np.asarray(logo))) > 50


def test_bundle_texts_are_no_mathematics_and_no_columns():
    """The platform takes what stands between two $ for LaTeX, and a table breaks at |."""
    for text in ("5 $ and 6 $", "https://a.org/$x$", "http://a|b"):
        escaped = competition._markdown(text)
        assert "$" not in escaped and "|" not in escaped.replace("\\|", "")


def test_bundle_is_the_same_again(plus_hosted, tmp_path):
    path = tmp_path / "new" / "again.zip"
    remade(plus_hosted, path, plus_hosted.config)
    assert path.read_bytes() == plus_hosted.bundle.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_bundle_has_a_solution_only_if_asked(plus_hosted, tmp_path, monkeypatch):
    """Everyone can download it; and a large one hangs the platform."""
    monkeypatch.setattr(competition, "MAX_SOLUTION", 100)
    files = remade(plus_hosted, tmp_path / "a.zip")
    assert "solution.zip" not in files and b"solution" not in files["competition.yaml"]
    with pytest.raises(ValueError, match=r"larger than the 50 MB .* BundleConfig.solution=False"):
        remade(plus_hosted, tmp_path / "b.zip", plus_hosted.config)
    assert not (tmp_path / "b.zip").exists()


def test_bundle_without_config_opens_today_on_the_track_of_the_recording(hosted, tmp_path):
    before = datetime.datetime.now(datetime.UTC).date()
    described = json.loads(remade(hosted, tmp_path / "a.zip")["competition.yaml"])
    after = datetime.datetime.now(datetime.UTC).date()
    live, final = described["phases"]
    assert str(before) <= live["start"][:10] <= str(after)
    assert live["end"] < final["start"] < final["end"]
    assert described["leaderboards"][0]["key"] == hosted.config.track.replace("+", "_plus")


def test_bundle_from_a_shell(plus_hosted, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KIT_DATA_DIR", str(plus_hosted.folder / "data"))
    (recording,) = plus_hosted.folder.glob("static*.zip")
    kit.save(plus_hosted.model, tmp_path / "model")
    out = tmp_path / "a.zip"
    settings = {
        "--" + name.replace("_", "-"): value for name, value in vars(plus_hosted.config).items()
        if isinstance(value, str)
    }  # fmt: skip
    flags = [f"{flag}={settings[flag]}" for flag in settings.keys() & ARGUMENTS["bundle"].keys()]
    places = recording, plus_hosted.truth, out, tmp_path / "model"
    assert main(["bundle", *map(str, places), *flags, "--solution"]) is None
    printed, err = capsys.readouterr()
    assert printed.splitlines()[0] == str(out) and err == ""
    assert (
        f"python -m kit rank bulk_submissions.zip {plus_hosted.truth} --final"
        in printed.splitlines()[1]
    )
    assert members(out)["competition.yaml"] == members(plus_hosted.bundle)["competition.yaml"]
    assert codabench_checker.problems(out) == []
    assert main(["bundle", *map(str, places), "--scored-final"]) is None
    assert capsys.readouterr() == (f"{out}\n", "")
    files = members(out)
    assert TRUTH_FILES["final_test"] in members(io.BytesIO(files["reference_data_final.zip"]))
    assert "solution.zip" not in files


# ---- what is refused ----


def test_bundle_that_fails_leaves_the_older_one(plus_hosted, tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_text("old")
    monkeypatch.setattr(competition, "scoring_program", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        remade(plus_hosted, path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_bundle_replaces_bundles_alone(plus_hosted, tmp_path):
    path = tmp_path / "a.zip"
    before = zipped({"meta/trials/tiers.npy": "x"})
    path.write_bytes(before)
    with pytest.raises(FileExistsError, match="is not a challenge's bundle; name another file"):
        remade(plus_hosted, path)
    assert path.read_bytes() == before
    path.unlink()
    for _ in range(2):
        remade(plus_hosted, path)


def test_bundle_refuses_a_recording_that_shows_the_answers(plus_hosted, tmp_path):
    recording = tiny.arrays(test={"test": (4, 4, 3, 3), "final_test": (4, 3, 3)})
    data = kit.load(tiny.write(tmp_path, recording), folder=tmp_path / "data")
    with pytest.raises(ValueError, match="7-1-1 shows the responses of tier 'test'; withhold"):
        kit.bundle(data, plus_hosted.truth, tmp_path / "a.zip", plus_hosted.model)


def test_bundle_refuses_the_other_track(hosted, tmp_path):
    """In the settings, or beside the truth."""
    other = {"sensorium": "sensorium+", "sensorium+": "sensorium"}[hosted.config.track]
    truth = shutil.copytree(hosted.truth, tmp_path / "truth")
    (truth / "track.txt").write_text(other)
    for folder, config in ((hosted.truth, kit.BundleConfig(track=other)), (truth, None)):
        with pytest.raises(ValueError, match=rf'does not suit track="{re.escape(other)}" of the'):
            kit.bundle(hosted.data, folder, tmp_path / "a.zip", hosted.model, config)


WRONG_TRUTHS = {
    "a trial less": (lambda rows: rows[1:], "has other trials or images than tier 'test'"),
    "other images": (lambda rows: [[r[0], str(int(r[1]) + 1), *r[2:]] for r in rows],
                     "has other trials or images"),
    "other neurons": (lambda rows: [[*r[:3], [n + 1 for n in r[3]]] for r in rows],
                      "has other neurons than tier 'test' of mouse 7-1-1"),
    "other units": (lambda rows: [[*r[:2], [100 * v for v in r[2]], r[3]] for r in rows],
                    "in the middle neuron, not around 1; write them with"),
    "no noise": (lambda rows: [[*r[:2], [1.0] * len(r[2]), r[3]] for r in rows],
                 r"feve cannot be computed: it needs a neuron with FEV >= .15"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_TRUTHS)
def test_bundle_refuses_another_truth(plus_hosted, tmp_path, name):
    change, message = WRONG_TRUTHS[name]
    truth = shutil.copytree(plus_hosted.truth, tmp_path / "truth")
    csv_rows.change(truth / TRUTH_FILES["test"], change)
    with pytest.raises(ValueError, match=message):
        kit.bundle(plus_hosted.data, truth, tmp_path / "a.zip", plus_hosted.model)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"path": "a.tar"}, "path='a.tar' does not end with .zip"),
     ({"truth": None}, "truth='None' is not a path"),
     ({"truth": "nothing"}, "nothing has no ground_truth_file_test.csv; give the folder private"),
     ({"data": 1}, "a Dataset is needed, not a int"),
     ({"model": 1}, "a model is needed, not a int"),
     ({"config": {"title": "a"}}, "config={'title': 'a'} is not possible; give a kit.Bundle")],
    ids=str,
)  # fmt: skip
def test_bundle_refuses(plus_hosted, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    good = {"data": plus_hosted.data, "truth": plus_hosted.truth, "path": "a.zip",
            "model": plus_hosted.model}  # fmt: skip
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        kit.bundle(**(good | changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"title": ""}, "title='' is not possible; give 1 to 255 visible characters"),
     ({"title": "no\xa0break"}, "title='no\\xa0break' is not possible"),
     ({"organizer": "two\nlines"}, "organizer='two\\nlines' is not possible; give 1 to 200"),
     ({"contact": 3}, "contact=3 is not possible; give a text"),
     ({"track": ["sensorium"]}, "track=['sensorium'] is not possible"),
     ({"max_submissions": 0}, "max_submissions=0 is not possible"),
     ({"auto_approve": "yes"}, "auto_approve='yes' is not possible; give True or False"),
     ({"live_start": "soon"}, "live_start='soon' is not a date in UTC; give one without a time"),
     ({"live_end": "2027-03-01T00:00+02:00"}, "is not a date in UTC; give one without a time zone"),
     ({"live_start": "0001-01-01T00:00+14:00"}, "is not a date"),
     ({"final_end": "9999-12-31"}, "final_end='9999-12-31' is not a date"),
     ({"live_start": "2027-03-02", "live_end": "2027-03-03", "final_start": "2027-03-03"},
      "final_start='2027-03-03' is not later than live_end='2027-03-03'"),
     ({"live_start": "2027-03-02", "live_end": "2027-03-03", "final_start": "2027-03-03 09:00"},
      "final_start='2027-03-03 09:00' is on the last day of the live phase; give a later day"),
     ({"release": "2020-01-01"}, "release='2020-01-01' is not later than final_end"),
     ({"reward": " "}, "reward=' ' is not possible; give 1 to 256 visible characters"),
     ({"final_end": "2020-01-01"}, "final_end='2020-01-01' is not later than final_start"),
     ({"live_end": "2027-03-03 00:00:00.2", "final_start": "2027-03-03 00:00:00.9"},
      "final_start='2027-03-03 00:00:00.9' is not later")],
    ids=str,
)  # fmt: skip
def test_bundle_config_refuses(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        kit.BundleConfig(**changes)
    assert "\n" not in str(caught.value)


# ---- a spoiled bundle, and what the checker says ----


def changed(*keys, **values):
    """A change of competition.yaml: keys lead to a mapping, whose values are set, or deleted."""

    def change(part, files):
        for key in keys:
            part = part[key]
        part.update(values)
        for key in [key for key in values if values[key] is None]:
            del part[key]

    return change


def replaced(name, content):
    """A change of one file of the bundle; None takes it out."""
    return lambda part, files: files.pop(name) if content is None else files.update({name: content})


def inside(archive, name, content):
    """A change of one file in a zip of the bundle; None takes it out."""

    def change(part, files):
        parts = members(io.BytesIO(files[archive])) | {name: content}
        files[archive] = zipped({key: value for key, value in parts.items() if value is not None})

    return change


def picture_with_a_corner():
    """A logo with a light spot in the corner of the square that a circle cuts off."""
    picture = Image.new("RGB", (200, 200), "navy")
    picture.paste("white", (180, 180, 195, 195))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


METHOD = ("fact_sheet", "method")
PHASE = ("phases", 0)
FINAL = ("phases", 1)
BOARD = ("leaderboards", 0)
COLUMN = (*BOARD, "columns", 1)
PROGRAM = "scoring_program.zip"
MUTATIONS = [  # the beginning of what the checker must say, and of what change of a good bundle
    ("competition.yaml: not at the root", replaced("competition.yaml", None)),
    ("image: not a picture", replaced("logo.png", b"logo")),
    ("image: cut off by the circle", replaced("logo.png", picture_with_a_corner())),
    ("can_participants_make_submissions_public", changed(
        can_participants_make_submissions_public=None)),
    ("contact_email", changed(contact_email="the forum")),
    ("reward", changed(reward="")),
    ("fact_sheet: no question about training_data", changed("fact_sheet", training_data=None)),
    ("fact_sheet.method: takes a column", changed(*METHOD, is_on_leaderboard="true")),
    ("fact_sheet.method: is_required", changed(*METHOD, is_required=True)),
    ("fact_sheet.method: another key", changed(*METHOD, key="other")),
    ("fact_sheet.method.title", changed(*METHOD, title="")),
    ("pages/rules.md: does not say: A team", replaced("pages/rules.md", b"Be fair.")),
    ("pages/rules.md: does not say: share", replaced("pages/rules.md", b"Be fair.")),
    ("pages/rules.md: does not say: publish", replaced("pages/rules.md", b"Be fair.")),
    ("terms: entries are published", replaced("terms.md", b"Be fair.")),
    ("tasks[1].reference_data: must hold the ids alone", inside(
        "reference_data_final.zip", "track.txt", b"sensorium")),
    ("tasks[1].reference_data: must hold the ids alone", inside(
        "reference_data_final.zip", "final_test_ids.json",
        b'{"trial_indices": ["a"], "image_ids": ["1"], "neuron_ids": [1], "responses": [[1]]}')),
    ("tasks[1].reference_data: ids are missing", inside(
        "reference_data_final.zip", "final_test_ids.json",
        b'{"trial_indices": ["a"], "image_ids": [], "neuron_ids": [1]}')),
    ("starting_kit.zip: holds the truth", inside(
        "starting_kit.zip", TRUTH_FILES["final_test"], b"x")),
    ("leaderboards[0].columns: valid is for", changed(*BOARD, "columns", 5, key="other")),
    ("columns[0].title: 1 to 12", changed(*BOARD, "columns", 0, title="Single-trial correlation")),
    ("columns[5].precision: not 0", changed(*BOARD, "columns", 5, precision=4)),
    ("pages[0].file: no such", changed("pages", 0, file="pages/none.md")),
    ("registration_auto_approve", changed(registration_auto_approve="yes")),
    ("tasks: two score the same", changed("tasks", 1, reference_data="reference_data_live.zip")),
    ("tasks[0].reference_data: must hold one",
     inside("reference_data_live.zip", TRUTH_FILES["final_test"], b"x")),
    ("tasks[0].scoring_program: the command needs a shell",
     inside(PROGRAM, "metadata.yaml", b"command: python3 score.py | tee a")),
    ("tasks[0].scoring_program: the command is not",
     inside(PROGRAM, "metadata.yaml", b"command: python3 score.py a b")),
    ("tasks[0].scoring_program: kit/checks.py imports torch",
     inside(PROGRAM, "kit/checks.py", b"def f():\n    import torch")),
    ("tasks[0].scoring_program: score.py imports kit.data.load, which is not there",
     inside(PROGRAM, "score.py", b"from kit.data import load")),
    ("solutions[0]: larger than", replaced("solution.zip", bytes(50_000_001))),
    ("solutions[0]: metadata", inside("solution.zip", "metadata", b"x")),
    ("phases[1].start: not later", changed(*FINAL, start="2027-05-01 12:00:00")),
    ("phases[1].start: on the day of", changed(*FINAL, start="2027-05-01 13:00:00")),
    ("phases[0].end: missing", changed(*PHASE, end=None)),
    ("phases[0].start: not a quoted", changed(*PHASE, start=datetime.datetime(2027, 3, 1, 9))),
    ("phases[0].start: an offset", changed(*PHASE, start="2027-03-01T00:00+02:00")),
    ("phases[0].max_submissions", changed(*PHASE, max_submissions=3)),
    ("phases[0].starting_kit: no README.md", inside("starting_kit.zip", "README.md", b"token")),
    ("phases[0].starting_kit: does not say that a token", inside(
        "starting_kit.zip", "README.md", b"0.1234 token, allow_robot_submissions")),
    ("leaderboards: not a list", changed(leaderboards=None)),
    ("leaderboards: only the first",
     lambda part, files: part["leaderboards"].append(part["leaderboards"][0])),
    ("leaderboards[0].columns: key not unique", changed(*COLUMN, key="feve")),
]  # fmt: skip


def problems_of(hosted, tmp_path, change):
    """What the checker says of a bundle that is changed."""
    files = members(hosted.bundle)
    described = yaml.safe_load(files["competition.yaml"])
    change(described, files)
    if "competition.yaml" in files:
        files["competition.yaml"] = yaml.safe_dump(described).encode()
    (tmp_path / "spoiled.zip").write_bytes(zipped(files))
    return codabench_checker.problems(tmp_path / "spoiled.zip")


@pytest.mark.parametrize("name", competition.SCORER)
def test_checker_misses_each_file_of_the_scorer(plus_hosted, tmp_path, name):
    problems = problems_of(plus_hosted, tmp_path, inside(PROGRAM, name, None))
    missing = Path(name).name if name.endswith(".html") else name[:-3].replace("/", ".")
    assert any(line.endswith(f" {missing}, which is not there") for line in problems), problems


@pytest.mark.parametrize(("expected", "change"), MUTATIONS, ids=[text for text, _ in MUTATIONS])
def test_checker_names_what_is_spoiled(plus_hosted, tmp_path, expected, change):
    problems = problems_of(plus_hosted, tmp_path, change)
    assert any(line.startswith(expected) for line in problems), problems
