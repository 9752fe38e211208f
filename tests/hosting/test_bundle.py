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
from kit.__main__ import BUNDLE, main
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES
from kit.hosting import bundle, competition


def members(path):
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return buffer.getvalue()


# ---- the bundle ----


def test_bundle_is_what_the_platform_demands(hosted):
    assert codabench_checker.problems(hosted.bundle) == []


def test_bundle_yaml_reads_the_same_as_json(hosted):
    text = members(hosted.bundle)["competition.yaml"]
    assert yaml.safe_load(text) == json.loads(text)


@pytest.mark.parametrize(
    "title", ["Mäuse: \"V1\" #1 'x' {y}", "😀 – {{ 7 * 7 }}", "- a\\n: b", "no"]
)
def test_bundle_yaml_keeps_any_title(plus_hosted, title):
    config = kit.BundleConfig(title=title, track="sensorium+")
    found = competition.competition(config, True)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    assert yaml.safe_load(text) == found and found["title"] == title


def test_bundle_ranks_by_the_tracks_metric(hosted):
    (board,) = json.loads(members(hosted.bundle)["competition.yaml"])["leaderboards"]
    keys = [column["key"] for column in board["columns"]]
    first, second = ("single_trial", "to_average") if hosted.data.mouse.behavior is not None else (
        "to_average", "single_trial")  # fmt: skip
    assert keys == [first, second, "feve", "low", "high"]
    assert (board["primary_index"], board["columns"][0]["index"]) == (0, 0)


def test_bundle_keeps_each_truth_to_its_task(hosted):
    found = members(hosted.bundle)
    for name, file in zip(("live", "final"), TRUTH_FILES.values(), strict=True):
        inside = members(io.BytesIO(found[f"reference_data_{name}.zip"]))
        track = f"{hosted.config.track}\n".encode()
        assert inside == {file: (hosted.truth / file).read_bytes(), "track.txt": track}
    public = [found[name] for name in ("terms.md", *(n for n in found if n.startswith("pages/")))]
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


def test_bundle_escapes_texts_in_its_pages(plus_hosted):
    overview = members(plus_hosted.bundle)["pages/overview.md"].decode()
    assert "Organised by Us &amp; &lt;them&gt;." in overview
    data = members(plus_hosted.bundle)["pages/data.md"].decode()
    assert "<https://example.org/tiny_1.zip>" in data


def test_bundle_rules_say_what_may_be_used(hosted):
    rules = members(hosted.bundle)["pages/rules.md"].decode()
    assert "Do not use the responses of neighbouring trials" in rules
    assert "Do not use hidden responses" in rules
    plus = hosted.config.track == "sensorium+"
    assert ("behaviour of the animal may not be used" in rules) != plus


def test_bundle_logo_is_a_small_picture(plus_hosted):
    with Image.open(io.BytesIO(members(plus_hosted.bundle)["logo.png"])) as logo:
        assert logo.size == (400, 400) and len(np.unique(np.asarray(logo))) > 50


def test_bundle_is_the_same_again(plus_hosted, tmp_path):
    path = kit.bundle(*plus_hosted[1:2], plus_hosted.truth, tmp_path / "new" / "again.zip",
                      plus_hosted.model, plus_hosted.config)  # fmt: skip
    assert path.read_bytes() == plus_hosted.bundle.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_bundle_leaves_out_a_large_solution(plus_hosted, tmp_path, monkeypatch):
    monkeypatch.setattr(competition, "MAX_SOLUTION", 100)
    path = kit.bundle(plus_hosted.data, plus_hosted.truth, tmp_path / "a.zip", plus_hosted.model)
    found = members(path)
    assert "solution.zip" not in found and b"solution" not in found["competition.yaml"]
    assert codabench_checker.problems(path) == []


def test_bundle_without_config_opens_today(hosted, tmp_path):
    before = datetime.datetime.now(datetime.UTC).date()
    path = kit.bundle(hosted.data, hosted.truth, tmp_path / "a.zip", hosted.model)
    after = datetime.datetime.now(datetime.UTC).date()
    live, final = json.loads(members(path)["competition.yaml"])["phases"]
    assert str(before) <= live["start"][:10] <= str(after)
    assert live["end"] < final["start"] < final["end"]
    assert codabench_checker.problems(path) == []


def test_bundle_with_a_final_phase_that_stays_open(plus_hosted, tmp_path):
    config = kit.BundleConfig(track="sensorium+", final_end="")
    path = kit.bundle(plus_hosted.data, plus_hosted.truth, tmp_path / "a.zip", plus_hosted.model,
                      config)  # fmt: skip
    assert "end" not in json.loads(members(path)["competition.yaml"])["phases"][1]
    assert codabench_checker.problems(path) == []


def test_bundle_from_a_shell(plus_hosted, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KIT_DATA_DIR", str(plus_hosted.folder / "data"))
    (recording,) = plus_hosted.folder.glob("static*.zip")
    kit.save(plus_hosted.model, tmp_path / "model")
    out = tmp_path / "a.zip"
    changes = {name: str(getattr(plus_hosted.config, name)) for name in ("track", *BUNDLE)}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    places = recording, plus_hosted.truth, out, tmp_path / "model"
    assert main(["bundle", *map(str, places), *flags]) is None
    assert capsys.readouterr() == (f"{out}\n", "")
    assert members(out)["competition.yaml"] == members(plus_hosted.bundle)["competition.yaml"]
    assert codabench_checker.problems(out) == []


# ---- what is refused ----


def test_bundle_takes_the_track_of_the_recording(hosted, tmp_path):
    config = kit.BundleConfig(title="no track")
    path = kit.bundle(hosted.data, hosted.truth, tmp_path / "a.zip", hosted.model, config)
    (board,) = json.loads(members(path)["competition.yaml"])["leaderboards"]
    assert board["key"] == hosted.config.track.replace("+", "_plus")


def test_bundle_refuses_the_truth_of_the_other_track(hosted, tmp_path):
    truth = shutil.copytree(hosted.truth, tmp_path / "truth")
    other = {"sensorium": "sensorium+", "sensorium+": "sensorium"}[hosted.config.track]
    (truth / "track.txt").write_text(other)
    with pytest.raises(ValueError, match=rf"truth is of track '{re.escape(other)}', and mouse 7-1"):
        kit.bundle(hosted.data, truth, tmp_path / "a.zip", hosted.model)


def test_bundle_names_no_temporary_file(plus_hosted, tmp_path, monkeypatch):
    def refuse(path, _):
        raise ValueError(f"{path} cannot be graded: …")

    monkeypatch.setattr(bundle, "read_submission", refuse)
    with pytest.raises(ValueError, match=r"live_test.csv cannot be graded") as error:
        kit.bundle(plus_hosted.data, plus_hosted.truth, tmp_path / "a.zip", plus_hosted.model)
    assert str(error.value).startswith(str(tmp_path / "a.zip" / "entry"))


def test_bundle_that_fails_leaves_the_older_one(plus_hosted, tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_text("old")
    monkeypatch.setattr(competition, "scoring_program", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kit.bundle(plus_hosted.data, plus_hosted.truth, path, plus_hosted.model)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_bundle_refuses_a_recording_that_shows_the_answers(plus_hosted, tmp_path):
    recording = tiny.arrays(test={"test": (4, 4, 3, 3), "final_test": (4, 3, 3)})
    data = kit.load(tiny.write(tmp_path, recording), folder=tmp_path / "data")
    with pytest.raises(ValueError, match=r"shows the responses of the live test set \(tier 'test'"):
        kit.bundle(data, plus_hosted.truth, tmp_path / "a.zip", plus_hosted.model)


def test_bundle_refuses_the_other_track(hosted, tmp_path):
    other = {"sensorium": "sensorium+", "sensorium+": "sensorium"}[hosted.config.track]
    config = kit.BundleConfig(track=other)
    with pytest.raises(
        ValueError, match=rf"behaviour, .* give track=\"{re.escape(hosted.config.track)}\""
    ):
        kit.bundle(hosted.data, hosted.truth, tmp_path / "a.zip", hosted.model, config)


def spoil_truth(folder, change):
    """The truth with its live rows changed."""
    folder.mkdir()
    for path in sorted(folder.parent.glob("source/*.csv")):
        header, rows = csv_rows.read(path)
        csv_rows.write(
            folder / path.name, header, change(rows) if "final" not in path.name else rows
        )
    return folder


WRONG_TRUTHS = {
    "a trial less": (lambda rows: rows[1:], "has other trials or images than tier 'test'"),
    "other images": (lambda rows: [[r[0], str(int(r[1]) + 1), *r[2:]] for r in rows],
                     "has other trials or images"),
    "other neurons": (lambda rows: [[*r[:3], [n + 1 for n in r[3]]] for r in rows],
                      "has other neurons than mouse 7-1-1"),
    "other units": (lambda rows: [[*r[:2], [100 * v for v in r[2]], r[3]] for r in rows],
                    "so they are not divided by each neuron's std"),
    "no noise": (lambda rows: [[*r[:2], [1.0] * len(r[2]), r[3]] for r in rows],
                 r"feve cannot be computed: it needs a neuron with FEV >= .15"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_TRUTHS)
def test_bundle_refuses_another_truth(plus_hosted, tmp_path, name):
    change, message = WRONG_TRUTHS[name]
    (tmp_path / "source").symlink_to(plus_hosted.truth)
    truth = spoil_truth(tmp_path / "truth", change)
    with pytest.raises(ValueError, match=message):
        kit.bundle(plus_hosted.data, truth, tmp_path / "a.zip", plus_hosted.model)
    assert not (tmp_path / "a.zip").exists()


def test_bundle_refuses_a_truth_of_two_images(tmp_path):
    recording = tiny.arrays()  # two images in the final test set
    data = kit.load(tiny.write(tmp_path, recording, withholds=["responses"]), folder=tmp_path / "d")
    kit.write_ground_truth(data, tiny.standardised(recording), tmp_path / "truth")
    model = kit.linear_baseline(data, channels=2)
    with pytest.raises(ValueError, match="2 images are too few to say how sure a score is"):
        kit.bundle(data, tmp_path / "truth", tmp_path / "a.zip", model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"path": "a.tar"}, "path='a.tar' does not end with .zip"),
     ({"path": 3}, "path='3' is not a path"),
     ({"truth": None}, "truth='None' is not a path"),
     ({"truth": "nothing"}, "truth='nothing' is not a folder"),
     ({"data": 1}, "a Dataset is needed, not a int"),
     ({"model": 1}, "a model is needed, not a int"),
     ({"config": {}}, "a BundleConfig is needed, not a dict")],
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
    [({"title": ""}, "title='' is not possible; give 1 to 255 characters on one line"),
     ({"title": "x" * 256}, "1 to 255 characters"),
     ({"organizer": "two\nlines"}, "1 to 200 characters on one line"),
     ({"contact": 3}, "contact='3' is not possible"),
     ({"track": ["sensorium"]}, "track=['sensorium'] is unknown"),
     ({"track": "sensorum"}, "track='sensorum' is unknown; give"),
     ({"max_submissions": 0}, "max_submissions=0 is not possible"),
     ({"submissions_per_day": 200}, "submissions_per_day=200 is more than max_submissions=100"),
     ({"final_submissions": 1.5}, "final_submissions=1.5 is not possible"),
     ({"auto_approve": "yes"}, "auto_approve='yes' is not possible; give True or False"),
     ({"live_start": "soon"}, "live_start='soon' is not a date; give one such as"),
     ({"live_end": datetime.date(2030, 1, 1)}, "live_end='2030-01-01' is not a date"),
     ({"live_start": "2027-03-01T12:00+02:00"}, "give UTC without one: 2027-03-01 10:00"),
     ({"live_start": "2027-03-02", "live_end": "2027-03-01"},
      "live_end='2027-03-01' is not later than live_start='2027-03-02'"),
     ({"live_start": "2027-03-02", "live_end": "2027-03-03", "final_start": "2027-03-03"},
      "final_start='2027-03-03' is not later than live_end='2027-03-03'"),
     ({"final_end": "2020-01-01"}, "final_end='2020-01-01' is not later than final_start"),
     ({"final_end": False}, "final_end='False' is not a date"),
     ({"live_start": "0001-01-01T00:00+14:00"}, "is not a date; give one such as"),
     ({"live_end": "2027-03-03 00:00:00.2", "final_start": "2027-03-03 00:00:00.9"},
      "final_start='2027-03-03 00:00:00.9' is not later"),
     ({"title": "no\xa0break"}, "nothing invisible")],
    ids=str,
)  # fmt: skip
def test_bundle_config_refuses(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        kit.BundleConfig(**changes)
    assert "\n" not in str(caught.value)


def test_bundle_config_takes_whole_numbers_of_numpy(plus_hosted, tmp_path):
    config = kit.BundleConfig(track="sensorium+", submissions_per_day=np.int64(3))
    assert type(config.submissions_per_day) is int
    competition.competition(config, solution=False)


def test_bundle_replaces_bundles_alone(plus_hosted, tmp_path):
    arguments = plus_hosted.data, plus_hosted.truth, tmp_path / "a.zip", plus_hosted.model
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as recording:
        recording.writestr("meta/trials/tiers.npy", "x")
    before = (tmp_path / "a.zip").read_bytes()
    with pytest.raises(FileExistsError, match="exists and is not the bundle of a challenge"):
        kit.bundle(*arguments)
    assert (tmp_path / "a.zip").read_bytes() == before
    (tmp_path / "a.zip").unlink()
    for _ in range(2):
        assert codabench_checker.problems(kit.bundle(*arguments)) == []


def test_bundle_texts_are_no_mathematics_and_no_columns(plus_hosted):
    """The platform takes what stands between two $ for LaTeX, and a table breaks at |."""
    for text in ("5 $ and 6 $", "https://a.org/$x$", "http://a|b"):
        found = competition._markdown(text)
        assert "$" not in found and "|" not in found.replace("\\|", "")


# ---- a spoiled bundle, and what the checker says ----


def changed(*keys, **values):
    """A change of competition.yaml: keys lead to a mapping, whose values are set, or deleted."""

    def change(found, files):
        for key in keys:
            found = found[key]
        for key, value in values.items():
            found[key] = value
            if value is None:
                del found[key]

    return change


def without(name):
    return lambda found, files: files.pop(name)


def replaced(name, content):
    return lambda found, files: files.update({name: content})


def inside(archive, name, content):
    """A change of one file in a zip of the bundle; None takes it out."""

    def change(found, files):
        parts = members(io.BytesIO(files[archive]))
        parts[name] = content
        files[archive] = zipped({key: value for key, value in parts.items() if value is not None})

    return change


def renamed(old, new):
    return lambda found, files: files.update({new: files.pop(old)})


COLUMN = ("leaderboards", 0, "columns", 1)
PROGRAM = "scoring_program.zip"
MUTATIONS = {  # what is done -> the change, the beginning of what the checker must say
    "competition.yaml in a folder": (renamed("competition.yaml", "top/competition.yaml"),
                                     "competition.yaml: not at the root"),
    "competition.yml": (renamed("competition.yaml", "competition.yml"), "competition.yaml: not at"),
    "version missing": (changed(version=None), "version: "),
    "version 1": (changed(version=1), "version: "),
    "title missing": (changed(title=None), "title: "),
    "title of 256": (changed(title="x" * 256), "title: "),
    "image missing": (without("logo.png"), "image: no such file"),
    "image a text": (replaced("logo.png", b"logo"), "image: not a picture"),
    "terms missing": (changed(terms=None), "terms: no such file"),
    "terms empty": (replaced("terms.md", b"\n"), "terms: empty"),
    "pages missing": (changed(pages=[]), "pages: not a list"),
    "page empty": (replaced("pages/rules.md", b""), "pages[3].file: empty"),
    "page's path wrong": (changed("pages", 0, file="pages/none.md"), "pages[0].file: no such"),
    "page's title of 256": (changed("pages", 0, title="x" * 256), "pages[0].title: "),
    "docker_image missing": (changed(docker_image=None), "docker_image: "),
    "docker_image of Python 3.7": (changed(docker_image="codalab/codalab-legacy:py37"),
                                   "docker_image: "),
    "detailed results missing": (changed(enable_detailed_results=None), "enable_detailed_results"),
    "detailed results off": (changed(enable_detailed_results=False), "enable_detailed_results"),
    "auto-approve a word": (changed(registration_auto_approve="yes"), "registration_auto_approve"),
    "tasks missing": (changed(tasks=None), "tasks: not a list"),
    "task index twice": (changed("tasks", 1, index=0), "tasks: index not unique"),
    "task name of 257": (changed("tasks", 0, name="x" * 257), "tasks[0].name: "),
    "scoring_program missing": (changed("tasks", 0, scoring_program=None),
                                "tasks[0].scoring_program: no such file"),
    "scoring program not in the zip": (without(PROGRAM), "tasks[0].scoring_program: no such file"),
    "reference_data missing": (changed("tasks", 1, reference_data=None),
                               "tasks[1].reference_data: no such file"),
    "final task with the live truth": (
        changed("tasks", 1, reference_data="reference_data_live.zip"), "tasks: two score the same"),
    "live task with both truths": (
        inside("reference_data_live.zip", TRUTH_FILES["final_test"], b"x"),
        "tasks[0].reference_data: must hold one"),
    "metadata.yaml missing": (inside(PROGRAM, "metadata.yaml", None),
                              "tasks[0].scoring_program: no metadata.yaml"),
    "command with a pipe": (inside(PROGRAM, "metadata.yaml", b"command: python3 score.py | tee a"),
                            "tasks[0].scoring_program: the command needs a shell"),
    "command with a variable": (inside(PROGRAM, "metadata.yaml", b"command: python3 $p/score.py"),
                                "tasks[0].scoring_program: the command needs a shell"),
    "command of another folder": (
        inside(PROGRAM, "metadata.yaml", b"command: python3 score.py a b"),
        "tasks[0].scoring_program: the command is not"),
    "score.py missing": (inside(PROGRAM, "score.py", None),
                         "tasks[0].scoring_program: no score.py"),
    "a module with torch": (inside(PROGRAM, "kit/checks.py", b"def f():\n    import torch"),
                            "tasks[0].scoring_program: kit/checks.py imports torch"),
    "a module of the kit that is not carried": (
        inside(PROGRAM, "score.py", b"from kit.data import load"),
        "tasks[0].scoring_program: score.py imports kit.data.load, which is not there"),
    "live task without its track": (
        inside("reference_data_live.zip", "track.txt", None),
        "tasks[0].reference_data: must hold one"),
    "solution too large": (replaced("solution.zip", bytes(50_000_001)),
                           "solutions[0]: larger than"),
    "solution not in the zip": (without("solution.zip"), "solutions[0].path: no such file"),
    "solution of no task": (changed("solutions", 0, tasks=[7]), "solutions[0].tasks: no such task"),
    "solution with metadata": (inside("solution.zip", "metadata", b"x"), "solutions[0]: metadata"),
    "phases missing": (changed(phases=None), "phases: not a list"),
    "phase index twice": (changed("phases", 1, index=0), "phases: index not unique"),
    "phase name of 257": (changed("phases", 0, name="x" * 257), "phases[0].name: "),
    "phase of no task": (changed("phases", 0, tasks=[]), "phases[0].tasks: no such task"),
    "phases overlap": (changed("phases", 1, start="2027-04-01"), "phases[1].start: not later"),
    "phases touch": (changed("phases", 1, start="2027-05-01 12:00:00"),
                     "phases[1].start: not later"),
    "end of the live phase missing": (changed("phases", 0, end=None), "phases[0].end: missing"),
    "end before start": (changed("phases", 1, end="2027-05-01"), "phases[1].end: before"),
    "date not quoted": (changed("phases", 0, start=datetime.datetime(2027, 3, 1, 9)),
                        "phases[0].start: not a quoted date"),
    "date with an offset": (changed("phases", 0, start="2027-03-01T00:00+02:00"),
                            "phases[0].start: an offset"),
    "date a word": (changed("phases", 0, start="soon"), "phases[0].start: not a date"),
    "more a day than in all": (changed("phases", 0, max_submissions=3),
                               "phases[0].max_submissions"),
    "an hour of scoring": (changed("phases", 0, execution_time_limit=3600),
                           "phases[0].execution_time_limit"),
    "hide_score_output a word": (changed("phases", 1, hide_score_output="no"),
                                 "phases[1].hide_score_output"),
    "starting kit missing": (without("starting_kit.zip"), "phases[0].starting_kit: no such file"),
    "starting kit without scores": (inside("starting_kit.zip", "README.md", b"robot"),
                                    "phases[0].starting_kit: no README.md with"),
    "leaderboard for leaderboards": (lambda found, files: found.update(
        leaderboard=found.pop("leaderboards")), "leaderboards: not a list"),
    "two leaderboards": (
        lambda found, files: found["leaderboards"].append(found["leaderboards"][0]),
        "leaderboards: only the first"),
    "leaderboard title of 65": (changed("leaderboards", 0, title="x" * 65),
                                "leaderboards[0].title"),
    "leaderboard key of 37": (changed("leaderboards", 0, key="x" * 37), "leaderboards[0].key"),
    "submission_rule unknown": (changed("leaderboards", 0, submission_rule="Force_Latest"),
                                "leaderboards[0].submission_rule"),
    "primary_index of no column": (changed("leaderboards", 0, primary_index=5),
                                   "leaderboards[0].primary_index"),
    "column title of 37": (changed(*COLUMN, title="x" * 37), "columns[1].title"),
    "column key of 37": (changed(*COLUMN, key="x" * 37), "columns[1].key"),
    "column key twice": (changed(*COLUMN, key="feve"), "leaderboards[0].columns: key not unique"),
    "column index twice": (changed(*COLUMN, index=0), "leaderboards[0].columns: index not unique"),
    "column ascending": (changed(*COLUMN, sorting="asc"), "columns[1].sorting"),
    "column sorted by default": (changed(*COLUMN, sorting=None), "columns[1].sorting"),
    "column of two digits": (changed(*COLUMN, precision=2), "columns[1].precision"),
    "column of default digits": (changed(*COLUMN, precision=None), "columns[1].precision"),
}  # fmt: skip


@pytest.mark.parametrize("name", competition.SCORER)
def test_checker_misses_each_file_of_the_scorer(plus_hosted, tmp_path, name):
    files = members(plus_hosted.bundle)
    inside(PROGRAM, name, None)(None, files)
    (tmp_path / "spoiled.zip").write_bytes(zipped(files))
    found = name.removesuffix(".py").replace("/", ".") if name.endswith(".py") else Path(name).name
    said = codabench_checker.problems(tmp_path / "spoiled.zip")
    assert any(line.endswith(f" {found}, which is not there") for line in said), said


@pytest.mark.parametrize("name", MUTATIONS)
def test_checker_names_what_is_spoiled(plus_hosted, tmp_path, name):
    change, expected = MUTATIONS[name]
    files = members(plus_hosted.bundle)
    found = yaml.safe_load(files["competition.yaml"])
    change(found, files)
    if "competition.yaml" in files:
        files["competition.yaml"] = yaml.safe_dump(found).encode()
    path = tmp_path / "spoiled.zip"
    path.write_bytes(zipped(files))
    said = codabench_checker.problems(path)
    assert any(line.startswith(expected) for line in said), said


def test_checker_of_other_files(tmp_path):
    path = tmp_path / "a.zip"
    path.write_text("not a zip")
    assert codabench_checker.problems(path) == ["bundle: not a zip"]
    for text, expected in {"[": "not YAML", "- a": "not a mapping"}.items():
        path.write_bytes(zipped({"competition.yaml": text}))
        assert codabench_checker.problems(path) == [f"competition.yaml: {expected}"]


def test_checker_takes_folders_for_zips(plus_hosted, tmp_path):
    files = members(plus_hosted.bundle)
    for name, content in members(io.BytesIO(files.pop(PROGRAM))).items():
        files[f"{PROGRAM}/{name}"] = content
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(files))
    assert codabench_checker.problems(path) == []
