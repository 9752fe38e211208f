"""The shell commands do what the functions do, and answer bad input with one sentence."""

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
from trainer import same_weights
from waiting import LIMIT

import kit
from kit.__main__ import main
from kit.challenge import watching
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES
from kit.hosting import publish


@pytest.fixture(scope="module")
def zipped(folder):
    return tiny.write(folder, withholds=["responses"])


@pytest.fixture(autouse=True)
def _data_folder(folder, monkeypatch):
    monkeypatch.setenv("KIT_DATA_DIR", str(folder / "data"))


@pytest.fixture(scope="module")
def checkpoint(folder, zipped):
    path = folder / "mine.safetensors"
    data = kit.load(zipped, folder=folder / "data")
    kit.save(kit.linear_baseline(data, channels=2), path)
    kit.submit(kit.load_model(path), data, folder / "mine")
    kit.write_ground_truth(data, tiny.standardised(tiny.arrays()), folder / "truth")
    return path


def run(capsys, *arguments):
    """Exit status, stdout and stderr of a command."""
    status = main([str(a) for a in arguments])
    return status or 0, *capsys.readouterr()


SIX_IMAGES = tiny.arrays(test={"test": (4, 4, 3, 3, 2, 4)})
SMALL = ("--size", 18, 32)

# ---- commands ----


def test_fetch_packs_and_describes(capsys, zipped, folder):
    status, out, err = run(capsys, "fetch", zipped)
    assert (status, err) == (0, "")
    assert "mouse 7-1-1: 24 neurons, 40 train, 12 validation, 11 test, 7 final_test" in out
    status, out, _ = run(capsys, "fetch", zipped, *SMALL)
    assert status == 0
    assert "images 18x32" in out
    packed = [path.name[:11] for path in (folder / "data" / "packed").iterdir()]
    assert {"7-1-1-36x64", "7-1-1-18x32"} <= set(packed)


def test_train_submit_check_and_grade(capsys, zipped, folder, checkpoint, tmp_path):
    saved = tmp_path / "runs" / "model.safetensors"
    status, out, err = run(
        capsys, "train", zipped, saved, "--model", "linear", "--channels", 2,
        "--recipe", "quick", "--epochs", 2, "--seed", 1, "--device", "cpu",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "2 epochs in" in out and "single-trial correlation" in out
    assert f"saved to {saved}" in out

    mine = tmp_path / "entries" / "mine"
    status, out, err = run(capsys, "submit", saved, zipped, mine)
    assert (status, err) == (0, "")
    assert out.split() == [str(mine / name) for name in SUBMISSION_FILES.values()]

    status, out, err = run(capsys, "check", mine, zipped)
    assert (status, err) == (0, "")
    assert out.startswith("OK: ")

    truth = folder / "truth" / TRUTH_FILES["test"]
    status, out, err = run(capsys, "grade", mine / SUBMISSION_FILES["test"], truth)
    assert (status, err) == (0, "")
    scores = kit.grade(mine / SUBMISSION_FILES["test"], truth)
    assert out == f"{scores}\n"

    status, out, err = run(capsys, "rank", mine.parent, folder / "truth", "--track", "sensorium+")
    assert (status, err) == (0, "")
    assert out.split("\n")[1].split()[:2] == ["1*", "mine"]


def test_rank_writes_what_outlives_the_platform(capsys, folder, checkpoint, tmp_path):
    entries, archive, board = (tmp_path / name for name in ("entries", "a.zip", "board"))
    shutil.copytree(folder / "mine", entries / "mine")
    options = ["--save", tmp_path / "saved", "--archive", archive, "--board", board]
    options += ["--title", "A season", "--date", "2027-06-30"]
    status, out, err = run(capsys, "rank", entries, folder / "truth", *options)
    assert (status, err) == (0, "") and "no earlier ranking there" in out
    status, out, _ = run(capsys, "rank", archive, "--save", tmp_path / "saved")
    assert status == 0 and "since the ranking of 2027-06-30: nothing has changed" in out
    assert "A season" in (tmp_path / "saved" / "ranking.html").read_text()
    page = (board / "index.html").read_bytes()
    assert run(capsys, "board", board, "--check")[0] == 0
    (board / "index.html").write_text("another")
    status, _, err = run(capsys, "board", board, "--check")
    assert status == 2 and "is not what its entries give" in err and err.count("\n") == 1
    assert run(capsys, "board", board)[0] == 0
    assert (board / "index.html").read_bytes() == page


@pytest.mark.parametrize(
    "model, build, recipe",
    [("cnn", kit.cnn_baseline, "sensorium2022"), ("strong", kit.strong_baseline, "strong")],
)
def test_train_equals_training_in_python(capsys, zipped, tmp_path, model, build, recipe):
    options = f"--model {model} --channels 2 --recipe {recipe} --epochs 2 --seed 3 --device cpu"
    run(capsys, "train", zipped, tmp_path / "model", *options.split())
    data = kit.load(zipped)
    model = build(data, channels=2)
    recipe = getattr(kit.TrainConfig, recipe)
    kit.train(model, data, recipe(epochs=2, seed=3, device="cpu"))
    assert same_weights(model, kit.load_model(tmp_path / "model"))


def test_train_continues_from_its_checkpoint(capsys, zipped, tmp_path, monkeypatch):
    train = ["train", zipped, tmp_path / "model", "--channels", 2, "--epochs", 2]
    train += ["--device", "cpu", "--checkpoint", tmp_path / "checkpoint"]
    status, out, _ = run(capsys, *train)
    assert status == 0
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained again"))
    assert run(capsys, *train) == (0, out, "")  # even the seconds are those of the first time


def test_train_prints_and_saves_in_the_first_process_only(capsys, zipped, tmp_path, monkeypatch):
    monkeypatch.setattr(kit, "train", lambda *_: kit.History())
    monkeypatch.setenv("RANK", "1")  # other launchers than torchrun set it too
    command = ["train", zipped, tmp_path / "model", "--channels", 2]
    assert "saved to" in run(capsys, *command)[1]
    (tmp_path / "model").unlink()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")  # as torchrun does
    assert run(capsys, *command) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_check_prints_every_problem(capsys, zipped, folder, checkpoint, tmp_path):
    good = (folder / "mine" / SUBMISSION_FILES["test"]).read_text().splitlines(keepends=True)
    path = tmp_path / SUBMISSION_FILES["test"]
    path.write_text("".join([*good[:5], good[2]]))
    status, out, _ = run(capsys, "check", path, zipped)
    assert status == 2 and out.startswith("NOT OK: ")
    assert "missing" in out and "duplicated" in out


def test_withhold_and_grade(capsys, tmp_path):
    source = tiny.write(tmp_path, SIX_IMAGES)
    options = ["--track", "sensorium", "--mouse", "8-1-1", *SMALL]
    status, out, err = run(capsys, "withhold", source, tmp_path / "mine", *options)
    assert (status, err) == (0, "")
    public, private = map(Path, out.split())
    mouse = kit.load(public, size=(18, 32), folder=tmp_path).mouse
    assert (mouse.mouse, mouse.behavior) == ("8-1-1", None)
    assert (private / "key.csv").exists()


def test_withhold_keeps_the_size_as_recorded(capsys, tmp_path):
    images = SIX_IMAGES["images"][..., ::3, ::4]  # 48 x 64, another aspect than the benchmark's
    source = tiny.write(tmp_path, SIX_IMAGES | {"images": images})
    status, out, err = run(capsys, "withhold", source, tmp_path / "mine")
    assert (status, err) == (0, "")
    public = Path(out.split()[0])
    assert kit.load(public, size=(48, 64), folder=tmp_path).image_size == (48, 64)
    with zipfile.ZipFile(public) as file:
        name = next(each for each in file.namelist() if "data/images/" in each)
        assert np.load(io.BytesIO(file.read(name))).shape == (1, 48, 64)


@pytest.mark.parametrize("place", ["{}", "~"])  # not every shell puts the home folder in for "~"
def test_withhold_leaves_the_truth_nowhere_else(capsys, tmp_path, monkeypatch, place):
    """The data folder may be one that a class shares."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "shared"))
    source, opened, load = tiny.write(tmp_path, SIX_IMAGES), [], kit.load

    def watched(*arguments):
        opened.append(load(*arguments))
        return opened[-1]

    monkeypatch.setattr(kit, "load", watched)
    path = f"{place.format(tmp_path)}/{source.name}"
    assert run(capsys, "withhold", path, tmp_path / "mine", *SMALL)[0] == 0
    assert sorted(tmp_path.iterdir()) == sorted([source, tmp_path / "mine"])
    packed = opened[0].mouse.packed
    assert packed.is_relative_to(tmp_path) and ".mine.part-" in str(packed) and not packed.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_withhold_that_is_stopped_leaves_nothing(capsys, tmp_path, monkeypatch, name):
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "shared"))
    source = tiny.write(tmp_path, SIX_IMAGES)
    write, modes = publish.write_croissant, []

    def stop(path, *arguments):
        write(path, *arguments)
        modes.extend(each.stat().st_mode & 0o077 for each in tmp_path.glob(".mine.part-*"))
        os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(publish, "write_croissant", stop)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        status, _, err = run(capsys, "withhold", source, tmp_path / "mine", *SMALL)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert (status, err) == (130, "kit withhold: stopped; run it again to continue\n")
    assert list(tmp_path.iterdir()) == [source]
    assert modes == [0, 0]  # what a kill leaves is for its owner alone


def test_rank_takes_the_track_of_the_truth(capsys, folder, checkpoint, tmp_path):
    (tmp_path / "ann").symlink_to(folder / "mine")
    (tmp_path / "ann.csv").write_bytes((folder / "mine" / SUBMISSION_FILES["test"]).read_bytes())
    _, out, _ = run(capsys, "rank", tmp_path, folder / "truth")
    assert "live test set: single-trial correlation over 3 images" in out


@pytest.mark.slow
def test_main_runs_as_a_module(folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "kit", "grade", "here", "there"],
        capture_output=True, text=True, timeout=LIMIT, check=False,
        env=os.environ | {"KIT_DATA_DIR": str(folder)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kit grade: there is no file there")


def test_main_helps_without_docstrings_in_an_ascii_terminal(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(kit, "__doc__", None)  # as python -OO does
    with pytest.raises(SystemExit, match="0"):
        main(["fetch", "--help"])
    terminal.flush()
    assert "sample+, sensorium+, ? (see kit.load)" in terminal.buffer.getvalue().decode("ascii")


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_main_stops_without_a_traceback_while_it_imports(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "kit", "doctor"], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=Path(kit.__file__).parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


# ---- bad input ----


def test_rank_watches_a_folder(capsys, folder, checkpoint, tmp_path, monkeypatch):
    """No entry at first, then a good one and a broken one; the page follows."""
    entries, page, looks = tmp_path / "entries", tmp_path / "page.html", []
    entries.mkdir()
    live = (folder / "mine" / SUBMISSION_FILES["test"]).read_text()

    def sleep(seconds):
        looks.append(page.read_text() if page.exists() else None)
        if len(looks) == 1:
            (entries / "ann.csv").write_text(live)
            (entries / "bob & co.csv").write_text("nonsense")
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    options = [entries, folder / "truth", "--page", page, "--watch"]
    status, out, err = run(capsys, "rank", *options)
    assert (status, err) == (130, "kit rank: stopped; run it again to continue\n")
    assert "can be ranked: there is none" in out and out.count("watching") == 2
    assert looks[0] is None and looks[1] is None
    assert "ann" in looks[-1] and "bob &amp; co" in looks[-1] and "has not the columns" in looks[-1]


TRAIN = "train {zip} {tmp}/new --channels 2 --epochs 1 --device cpu"
BUNDLE = "bundle {zip} {truths} {tmp}/new.zip {model}"
BAD = {  # arguments, and words of the sentence
    "unknown name": ("fetch sampel", "did you mean 'sample'"),
    "offline": ("fetch sensorium+", "KIT_OFFLINE"),
    "size": ("fetch {zip} --size 0 0", "size=(0, 0)"),
    "epochs": (f"{TRAIN} --epochs 0", "epochs=0"),
    "checkpoint in a folder": (f"{TRAIN} --checkpoint {{tmp}}/folder", "folder cannot be read"),
    "model as checkpoint": (f"{TRAIN} --checkpoint {{tmp}}/new", "both model and checkpoint"),
    "submit without model": ("submit {tmp}/none {zip} {tmp}/new", "there is no file"),
    "check nothing": ("check {tmp}/none.csv {zip}", "there is no file"),
    "rank below a name that is too long": (f"rank {'a' * 300} {{truth}}", "cannot be used: "),
    "rank nothing": ("rank {tmp}/none {tmp}", "none"),
    "watch without a page": ("rank {tmp}/folder {truth} --watch", "give --page PATH"),
    "watch with a page among the entries": (
        "rank {tmp}/folder {truth} --page {tmp}/folder/page.html --watch",
        "outside the folder of entries",
    ),
    "watch all the time": ("rank {tmp}/folder {truth} --page {tmp}/new --watch 0", "from 1"),
    "watch without truth": ("rank {tmp}/folder --page {tmp}/new --watch", "of the ground truth"),
    "watch and save among the entries": (
        "rank {tmp}/folder {truth} --page {tmp}/new --save {tmp}/folder --watch",
        "outside the folder of entries",
    ),
    "rank what is no archive": ("rank {tmp}/folder", "not the archive of a ranking"),
    "board of nothing": ("board {tmp}/folder", "holds no entry's file"),
    "watch nothing": ("rank {tmp}/none {truth} --page {tmp}/new --watch", "is not a folder"),
    "watch without a truth": (
        "rank {tmp}/folder {tmp}/folder --page {tmp}/new --watch",
        "there is no file",
    ),
    "withhold into a file": ("withhold {other} {tmp}/file", "exists already"),
    "bundle two images": (f"{BUNDLE} --track sensorium+", "2 images are too few"),
    "bundle without title": (f"{BUNDLE} --title=", "title='' is not possible"),
    "bundle with a bad date": (f"{BUNDLE} --final-end soon", "final_end='soon' is not a date"),
    "grade the wrong file": ("grade {truth} {mine}", "first line must name trial_indices"),
}


@pytest.mark.parametrize("name", BAD)
def test_main_answers_bad_input_with_one_sentence(
    capsys, zipped, folder, checkpoint, tmp_path, name
):
    places = {
        "zip": zipped,
        "other": tiny.write(tmp_path, mouse="9-9-9"),
        "tmp": tmp_path,
        "model": checkpoint,
        "mine": folder / "mine" / SUBMISSION_FILES["test"],
        "truth": folder / "truth" / TRUTH_FILES["test"],
        "truths": folder / "truth",
    }
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    command, message = BAD[name]
    status, out, err = run(capsys, *(word.format(**places) for word in command.split()))
    assert (status, out) == (2, "")
    assert err.startswith(f"kit {command.split()[0]}: ") and message in err
    assert err.count("\n") == 1  # so no traceback
    assert "[Errno" not in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("new")]


@pytest.mark.parametrize("place", ["folder", "file/model"])
def test_train_refuses_an_unwritable_place_first(capsys, zipped, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(kit, "train", lambda *_: pytest.fail("trained, and then could not save"))
    assert run(capsys, "train", zipped, tmp_path / place, "--channels", 2)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [[], ["train"], ["nonsense"], ["train", "sample", "out", "--model", "vit"]],
    ids=str,
)  # fmt: skip
def test_main_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    usage = capsys.readouterr().err
    assert "kit" in usage and ("--recipe" if "train" in arguments else "doctor") in usage
