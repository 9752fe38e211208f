"""A bundle is what the platform demands, and one that is spoiled anywhere is not."""

import datetime
import io
import json
import re
import shutil
import zipfile
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
    assert (described["title"], described["solutions"][0]["name"]) == (title, "no")
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
    assert keys == [first, second, "feve", "low", "high"]
    assert (board["primary_index"], board["columns"][0]["index"]) == (0, 0)


def test_bundle_keeps_each_truth_to_its_task(hosted):
    files = members(hosted.bundle)
    for name, file in zip(("live", "final"), TRUTH_FILES.values(), strict=True):
        inside = members(io.BytesIO(files[f"reference_data_{name}.zip"]))
        track = f"{hosted.config.track}\n".encode()
        assert inside == {file: (hosted.truth / file).read_bytes(), "track.txt": track}
    public = [files[name] for name in ("terms.md", *(n for n in files if n.startswith("pages/")))]
    assert not any(b"ground_truth" in text for text in public)


def test_bundle_tells_the_scores_of_the_baseline(hosted):
    readme = members(io.BytesIO(members(hosted.bundle)["starting_kit.zip"]))["README.md"].decode()
    solution = members(io.BytesIO(members(hosted.bundle)["solution.zip"]))
    for tier, name in SUBMISSION_FILES.items():
        path = hosted.folder / name
        path.write_bytes(solution[name])
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


def test_bundle_leaves_out_a_large_solution(plus_hosted, tmp_path, monkeypatch):
    monkeypatch.setattr(competition, "MAX_SOLUTION", 100)
    files = remade(plus_hosted, tmp_path / "a.zip")
    assert "solution.zip" not in files and b"solution" not in files["competition.yaml"]


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
    }
    flags = [f"{flag}={settings[flag]}" for flag in settings.keys() & ARGUMENTS["bundle"].keys()]
    places = recording, plus_hosted.truth, out, tmp_path / "model"
    assert main(["bundle", *map(str, places), *flags]) is None
    assert capsys.readouterr() == (f"{out}\n", "")
    assert members(out)["competition.yaml"] == members(plus_hosted.bundle)["competition.yaml"]
    assert codabench_checker.problems(out) == []


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
     ({"truth": "nothing"}, "there is no file nothing/ground_truth_file_test.csv"),
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
     ({"live_start": "2027-03-02", "live_end": "2027-03-03", "final_start": "2027-03-03"},
      "final_start='2027-03-03' is not later than live_end='2027-03-03'"),
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


PHASE = ("phases", 0)
FINAL = ("phases", 1)
BOARD = ("leaderboards", 0)
COLUMN = (*BOARD, "columns", 1)
PROGRAM = "scoring_program.zip"
MUTATIONS = [  # the beginning of what the checker must say, and of what change of a good bundle
    ("competition.yaml: not at the root", replaced("competition.yaml", None)),
    ("image: not a picture", replaced("logo.png", b"logo")),
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
    ("phases[0].end: missing", changed(*PHASE, end=None)),
    ("phases[0].start: not a quoted", changed(*PHASE, start=datetime.datetime(2027, 3, 1, 9))),
    ("phases[0].start: an offset", changed(*PHASE, start="2027-03-01T00:00+02:00")),
    ("phases[0].max_submissions", changed(*PHASE, max_submissions=3)),
    ("phases[0].starting_kit: no README.md", inside("starting_kit.zip", "README.md", b"robot")),
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
