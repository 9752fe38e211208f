"""Recordings that are damaged or meant to do harm, and machines that are full, locked or killed.

Each is answered with one plain sentence, and nothing half-written stays. Their rows of the table
that the run prints at its end are collected here.
"""

import errno
import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile

import numpy as np
import pytest
import tiny
from tiny import npy

import kit

TOP = "static7-1-1-GrayImageNet-tiny"
TRIALS, NEURONS = 70, 24


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("source"))


def left_in(folder):
    """What lies in a data folder, locks of downloads aside."""
    return [path for path in folder.rglob("*") if path.name != "packed"]


def refused(path, folder, kind=ValueError):
    """The sentence with which a recording is refused; nothing stays of it."""
    with pytest.raises(kind) as caught:
        kit.load(path, folder=folder)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 700
    assert left_in(folder) == []
    return said


def shown(said, folder):
    """A sentence as the table shows it: without the test's own folder."""
    return said.replace(f"{folder}/", "").replace(TOP, "static…")


# ---- damaged content: what is changed in the files, and what is said ----


def header(text, data=b"", version=b"\x01\x00"):
    """An .npy file with any text for its header."""
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode() + data


PROMISE = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }\n"
images, responses = "data/images/5.npy", "data/responses/5.npy"
DAMAGES = {
    "a trial missing": ({images: None}, "1 missing, 0 too many, the first is 5.npy"),
    "a gap in the numbers": (
        {images: None, "data/images/70.npy": npy(np.ones((1, 144, 256)))},
        "holds 70 files where .* 70 trials: 1 missing, 1 too many, the first is 5.npy",
    ),
    "a trial too many": (
        {"data/behavior/70.npy": npy(np.ones(3))},
        "data/behavior in .* holds 71 files .* 0 missing, 1 too many, the first is 70.npy",
    ),
    "a folder missing": (
        {f"data/responses/{i}.npy": None for i in range(TRIALS)},
        "data/responses in .* holds 0 files",
    ),
    "half of a folder missing": (
        {f"data/pupil_center/{i}.npy": None for i in range(TRIALS // 2)},
        "data/pupil_center in .* holds 35 files",
    ),
    "a meta file missing": ({"meta/neurons/unit_ids.npy": None}, "no meta/neurons/unit_ids.npy"),
    "statistics missing": (
        {"meta/statistics/responses/all/std.npy": None},
        "no meta/statistics/responses/all/std.npy",
    ),
    "an array cut off": ({responses: npy(np.ones(24))[:-9]}, "promises 192 bytes, 183 are there"),
    "a web page for an array": ({responses: b"<!doctype html>"}, "does not begin as an .npy file"),
    "an empty file": ({"data/behavior/5.npy": b""}, "does not begin as an .npy file"),
    "a pickle": (
        {"data/behavior/5.npy": npy(np.array([{}]), allow_pickle=True)},
        "data/behavior/5.npy in .* pickled Python objects, which could run code",
    ),
    "a header that promises a terabyte": (
        {responses: header(PROMISE % "10**11, 1".replace("10**11", "1" + 11 * "0"), b"\0" * 192)},
        "promises 800,000,000,000 bytes, 192 are there",
    ),
    "a header that is code": ({responses: header("__import__('os')\n")}, "does not begin as"),
    "a header of negative size": ({responses: header(PROMISE % "-4, -6", bytes(192))}, "promises"),
    "another version of the format": (
        {responses: header(PROMISE % "24,", bytes(192), b"\x03\x00")}, "version 1 or 2",
    ),
    "another shape": ({responses: npy(np.ones(23))}, r"shape \(23,\), .*\(24,\)"),
    "text for numbers": ({responses: npy(np.full(24, "a"))}, r"holds <U1 .* expected numbers"),
    "complex numbers": ({responses: npy(np.ones(24, complex))}, "holds complex128 of shape"),
    "an image of another size": (
        {"data/images/69.npy": npy(np.ones((1, 36, 64)))},
        r"shape \(1, 36, 64\), .*\(1, 144, 256\)",
    ),
    "images without channel": (
        {f"data/images/{i}.npy": npy(np.ones((144, 256))) for i in range(TRIALS)},
        r"shape \(144, 256\)",
    ),
    "too few trial ids": ({"meta/trials/trial_idx.npy": npy(np.arange(69))}, r"\(69,\), .*\(70,\)"),
    "trial ids twice": (
        {"meta/trials/trial_idx.npy": npy(np.zeros(70, int))}, "does not hold ids, each once",
    ),
    "image ids not finite": (
        {"meta/trials/frame_image_id.npy": npy(np.full(70, np.nan))}, "not hold finite numbers",
    ),
    "too few places in cortex": (
        {"meta/neurons/cell_motor_coordinates.npy": npy(np.ones((23, 3)))},
        r"\(23, 3\), .*\(24, 3\)",
    ),
    "places that are text": (
        {"meta/neurons/cell_motor_coordinates.npy": npy(np.full((24, 3), "x"))},
        "cell_motor_coordinates.npy in .* does not hold finite numbers",
    ),
    "NaN responses": ({responses: npy(np.full(24, np.nan))}, "not finite, in trials 0 to 69"),
    "infinite images": ({images: npy(np.full((1, 144, 256), np.inf))}, "not finite"),
    "negative responses": ({responses: npy(np.full(24, -3.0))}, "data/responses .* are negative"),
    "statistics not finite": (
        {"meta/statistics/responses/all/std.npy": npy(np.full(24, np.nan))},
        "statistics/responses/all/std.npy .*not finite",
    ),
    "statistics of another shape": (
        {"meta/statistics/behavior/all/std.npy": npy(np.ones(2))},
        "all/std.npy in .* holds float64 of shape .2,., expected 3 numbers",
    ),
    "an unknown tier": (
        {"meta/trials/tiers.npy": npy(np.array(["train"] * 69 + ["oracle"]))},
        "unknown tier .oracle. .*known are train, validation, test, final_test",
    ),
    "one tier for all": (
        {"meta/trials/tiers.npy": npy(np.array("train"))}, r"shape \(\), expected",
    ),
    "no neurons": (
        {"meta/neurons/unit_ids.npy": npy(np.zeros(0, int))}, "lists 70 trials of 0 neurons",
    ),
    "an image without pixels": (
        {"data/images/0.npy": npy(np.ones((1, 0, 5)))}, r"shape \(1, 0, 5\), expected one grey",
    ),
    "an image of enormous size": (
        {"data/images/0.npy": npy(np.ones((1, 2000, 2000), np.uint8))}, "of up to 1024 pixels",
    ),
    "trial ids with commas": (
        {"meta/trials/trial_idx.npy": npy(np.array([f"{i},1" for i in range(70)]))},
        "trial_idx.npy in .* does not hold ids, each once",
    ),
    "unit ids beyond all counting": (
        {"meta/neurons/unit_ids.npy": npy(np.arange(24) + 2**60)}, "unit_ids.npy .* not hold ids",
    ),
    "statistics that overflow": (
        {"meta/statistics/images/all/mean.npy": npy(np.float64(1e300))}, "not finite",
    ),
    "statistics that do not fit": (
        {"meta/statistics/images/all/std.npy": npy(np.float64(1e-38))},
        "cannot be standardised: its statistics do not fit",
    ),
    "a zip bomb": ({responses: npy(np.zeros(2_000_000))}, "unpacks to 16,000,128 bytes, at most"),
}  # fmt: skip


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_sentence(source, tmp_path, damage, unpacked, record_property):
    changes, expected = DAMAGES[damage]
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    if unpacked:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        path = tmp_path / TOP
    said = refused(path, tmp_path / "data")
    assert re.search(expected, said)
    assert TOP in said
    if not unpacked:
        record_property("fault", (f"file: {damage}", shown(said, tmp_path), "nothing"))


# ---- damaged containers ----


def cut_off(content):
    return content[: len(content) // 2]


def encrypted(content):
    """With the flag that says so, in both places where a zip keeps it."""
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content = content[: at + offset] + b"\x01" + content[at + offset + 1 :]
            at = content.find(mark, at + 4)
    return content


def unknown_compression(content):
    at = content.find(b"PK\x01\x02")
    return content[: at + 10] + b"\x63" + content[at + 11 :]


def flipped(content):
    """One bit of one image."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo(f"{TOP}/data/responses/9.npy")
    at = info.header_offset + 30 + len(info.filename) + info.file_size // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def doubled(content):
    """One response twice, with two contents: which is meant?"""
    file = io.BytesIO(content)
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile's own, of the name
        archive.writestr(f"{TOP}/data/responses/9.npy", npy(np.ones(NEURONS)))
    return file.getvalue()


CONTAINERS = {
    "a member twice": (doubled, "responses/9.npy' more than once, so its content is in doubt"),
    "a zip cut off": (cut_off, "is not a zip file; it may be cut off or a web page"),
    "an empty file": (lambda _: b"", "is not a zip file"),
    "a web page": (lambda _: b"<!doctype html>", "is not a zip file"),
    "an encrypted zip": (encrypted, r"\.npy in .* cannot be read"),
    "an unknown compression": (unknown_compression, r"\.npy in .* cannot be read"),
    "a flipped bit": (flipped, "responses/9.npy in .* cannot be read"),
}


@pytest.mark.parametrize("damage", CONTAINERS)
def test_damaged_containers(source, tmp_path, damage, record_property):
    change, expected = CONTAINERS[damage]
    path = tmp_path / source.name
    path.write_bytes(change(source.read_bytes()))
    said = refused(path, tmp_path / "data")
    assert re.search(expected, said)
    record_property("fault", (f"file: {damage}", shown(said, tmp_path), "nothing"))


@pytest.mark.parametrize("name", ["../../evil.npy", "/etc/evil.npy", "a/../../evil.npy", "C:/evil"])
def test_members_that_climb_out(source, tmp_path, name, record_property):
    path = tmp_path / "deep" / "folder" / source.name
    path.parent.mkdir(parents=True)
    path.write_bytes(source.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, npy(np.ones(3)))
    said = refused(path, tmp_path / "data")
    assert f"a member that leads out of its folder, {name!r}" in said
    assert not list(tmp_path.rglob("evil*"))
    record_property("fault", (f"file: a member {name}", shown(said, path.parent), "nothing"))


def test_folders_that_are_links_are_followed(source, tmp_path):
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path / "disk")
        archive.extractall(tmp_path / "here")
    for name in ("data/responses", "meta/statistics"):
        shutil.rmtree(tmp_path / "here" / TOP / name)
        (tmp_path / "here" / TOP / name).symlink_to(tmp_path / "disk" / TOP / name)
    mouse = kit.load(tmp_path / "here" / TOP, folder=tmp_path / "data").mouse
    assert mouse.responses.shape == (TRIALS, NEURONS)


def test_what_is_no_recording(source, tmp_path, record_property):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "array.npy").write_bytes(npy(np.ones(3)))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name, expected in {
        "empty": "it holds 0 files meta/trials/tiers.npy; give the static…zip or its folder",
        "notes.txt": "is not a zip file",
        "array.npy": "is not a zip file",
        "other.zip": "it holds 0 files meta/trials/tiers.npy",
    }.items():
        said = refused(tmp_path / name, tmp_path / "data")
        assert expected in said
        record_property("fault", (f"path: {name}", shown(said, tmp_path), "nothing"))
    for name in ("one", "two"):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(tmp_path / "both" / name)
    said = refused(tmp_path / "both", tmp_path / "data")
    assert "it holds 2 files meta/trials/tiers.npy" in said


def test_a_name_inside_a_zip_is_no_way_out_of_the_data_folder(source, tmp_path):
    """The mouse's id comes from a name in the file, and becomes part of a path."""
    for top in (f"static{tmp_path}/evil/x-GrayImageNet", "static/../x-GrayImageNet",
                "static..\\x-GrayImageNet", "static" + 300 * "x" + "-GrayImageNet"):  # fmt: skip
        path = tmp_path / "my.zip"
        tiny.rewritten(source, path, lambda name, top=top: name.replace(TOP, top))
        try:
            mouse = kit.load(path, folder=tmp_path / "data").mouse.mouse
        except ValueError as problem:
            assert "leads out of its folder" in str(problem)
            continue
        assert not set(mouse) & set("/\\.") and len(mouse) <= 80
    assert {p.name for p in tmp_path.iterdir()} <= {"data", "my.zip"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_files_that_never_end(source, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", tmp_path / "fifo"):
        assert "nor a file or folder" in refused(path, tmp_path / "data")
    for place, target in (("8", "/dev/zero"), ("9", tmp_path / "nowhere")):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(tmp_path / place)
        file = tmp_path / place / TOP / "data" / "responses" / "3.npy"
        file.unlink()
        file.symlink_to(target)
        said = refused(tmp_path / place / TOP, tmp_path / "data")
        assert "it is no file" in said or "if it is a link of git-annex" in said


def test_arguments_that_are_no_names(tmp_path):
    for name in (None, 5, b"sample", [], [["sample"]], "", {}):
        assert "names no recording" in refused(name, tmp_path / "data")
    assert len(refused("x" * 5000, tmp_path / "data")) < 700
    for folder in (5, True, b"data"):
        with pytest.raises(ValueError, match="is not a path; give a text or a Path"):
            kit.load("sample", folder=folder)
    with pytest.raises(OSError, match="cannot be created"):
        kit.load("sample", folder="a\0b")


def test_a_large_folder_that_is_no_recording_is_not_searched_through(tmp_path):
    """Such as a home folder: what lies deep in it is none of our business."""
    with zipfile.ZipFile(tiny.write(tmp_path / "a" / "b" / "c" / "d")) as archive:
        archive.extractall(tmp_path / "home" / "a" / "b" / "c")
    assert "holds 0 files" in refused(tmp_path / "home", tmp_path / "data")


# ---- a property: whatever is done to a good recording, it is refused or it is good ----


def mutated(content, rng):
    """A copy of a zip that was changed in one of many ways, somewhere."""
    kind = rng.integers(9)
    if kind == 0:  # some bytes
        data = bytearray(content)
        for at in rng.integers(len(data), size=rng.integers(1, 20)):
            data[at] = rng.integers(256)
        return bytes(data)
    if kind == 1:  # an end, or a piece, is gone
        start = rng.integers(len(content))
        return content[:start] + content[start + rng.integers(len(content)) :]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    names = sorted(files)
    one, other = rng.choice(names, 2, replace=False)
    if kind == 2:
        del files[one]
    elif kind == 3:
        files[one], files[other] = files[other], files[one]
    elif kind == 4:
        files[str(one).replace("/", "//", 1) if rng.random() < 0.5 else f"{other}/x"] = files[one]
    elif kind == 5:  # bytes of one array, its header included
        data = bytearray(files[one])
        data[rng.integers(min(len(data), 160))] = rng.integers(256)
        files[one] = bytes(data)
    else:
        array = np.load(io.BytesIO(files[one]))
        if kind == 6:
            dtype = rng.choice(["?", "i1", "u2", "f2", "f8", "c8", "U3", "S2", "M8[s]", "V2"])
            changed = np.zeros(array.shape, str(dtype))
        elif kind == 7:
            changed = np.array(array, float if array.dtype.kind in "biuf" else array.dtype)
            if changed.size and changed.dtype.kind == "f":
                bad = rng.choice([np.nan, np.inf, -1e9, 1e38, 1e-300])
                changed.reshape(-1)[rng.integers(changed.size)] = bad
        else:
            shapes = [array[None], array.reshape(-1)[:-1], array[..., None], array.reshape(-1)[:0]]
            changed = shapes[rng.integers(4)]
        files[one] = npy(changed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(str(name), data)
    return buffer.getvalue()


@pytest.mark.slow
def test_300_mutations_are_refused_or_good(tmp_path, record_property):
    few = tiny.arrays(neurons=5, tiers={"train": 6, "validation": 4},
                      test={"test": (2, 2), "final_test": (2,)})  # fmt: skip
    content = tiny.write(tmp_path, few).read_bytes()
    path = tmp_path / f"{TOP}.zip"
    outcomes = {"refused": 0, "good": 0}
    for seed in range(300):
        path.write_bytes(mutated(content, np.random.default_rng(seed)))
        folder = tmp_path / "data" / str(seed)
        try:
            mouse = kit.load(path, folder=folder).mouse
        except ValueError as refusal:
            assert "\n" not in str(refusal) and len(str(refusal)) < 700, (seed, refusal)
            assert left_in(folder) == [], seed
            outcomes["refused"] += 1
            continue
        trials = len(mouse.tiers)
        assert mouse.images.shape == (trials, 1, 36, 64), seed
        assert mouse.responses.shape == (trials, len(mouse.unit_ids)), seed
        assert set(mouse.tiers) <= {"train", "validation", "test", "final_test"}, seed
        for tier in set(mouse.tiers):
            for value in mouse.first(tier, trials):
                assert value is None or value.isfinite().all(), seed
        outcomes["good"] += 1
    assert outcomes["refused"] > 150 and outcomes["good"] > 10  # both do happen
    record_property("fault", ("300 mutations of a good recording",
                              f"{outcomes['refused']} refused in one sentence",
                              f"{outcomes['good']} opened, all values finite"))  # fmt: skip


# ---- the machine: locked, full, killed, shared ----

TRY = """
import sys, shutil, kit
from kit import files
if sys.argv[3] == "late":
    usage = shutil.disk_usage(sys.argv[2])
    files.shutil.disk_usage = lambda _: usage._replace(free=10**12)
try:
    print("opened", kit.load(sys.argv[1], folder=sys.argv[2]).mouse)
except OSError as problem:
    print("refused", problem)
"""


def on_a_small_disk(source, folder, options, late="", before="true"):
    """Open a recording with its data folder on a disk of its own. Returns what was printed."""
    folder.mkdir()
    script = f"""
        mount -t tmpfs -o {options} tmpfs "$2" && {before} || exit 77
        "$0" -W error -c "$3" "$1" "$2" "$4"; find "$2" -mindepth 2 | sed 's/^/left /'
    """
    unshare = ["unshare", "--mount"]
    try:
        subprocess.run([*unshare, "true"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs unshare, and the right to use it")
    command = [*unshare, "sh", "-c", script, sys.executable, source, folder, TRY, late]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode == 77:
        pytest.skip("mounting is not allowed here")
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("late", ["", "late"], ids=["seen before", "met on the way"])
def test_a_full_disk(source, tmp_path, late, record_property):
    printed = on_a_small_disk(source, tmp_path / "data", "size=300k", late)
    assert printed.startswith("refused ") and printed.count("\n") == 1, printed
    assert f"cannot be written: {os.strerror(errno.ENOSPC).lower()}; make room there" in printed
    assert "KIT_DATA_DIR" in printed
    what = f"disk: full, {'met on the way' if late else 'seen before packing'}"
    record_property("fault", (what, shown(printed[8:-1], tmp_path), "nothing"))


def test_a_data_folder_that_may_only_be_read(source, tmp_path, record_property):
    printed = on_a_small_disk(source, tmp_path / "data", "ro")
    assert printed.startswith("refused ") and printed.count("\n") == 1, printed
    assert f"cannot be written: {os.strerror(errno.EROFS).lower()}; make room there" in printed
    assert "KIT_DATA_DIR" in printed
    row = "disk: read-only data folder", shown(printed[8:-1], tmp_path), "nothing"
    record_property("fault", row)


def test_a_packed_mouse_opens_from_a_folder_that_was_moved_and_may_only_be_read(
    source, tmp_path, record_property
):
    """A teacher's stick or mounted drive: packed once, opened by everybody under any path."""
    own = tmp_path / "own" / "recordings" / kit.data.catalog.RECORDINGS["27204-5-13"].file
    own.parent.mkdir(parents=True)
    own.write_bytes(source.read_bytes())
    kit.load("sensorium+", folder=tmp_path / "own")
    copy = f'cp -a {tmp_path}/own/. "$2" && mount -o remount,ro "$2"'
    printed = on_a_small_disk("sensorium+", tmp_path / "data", "size=9m", before=copy)
    assert printed.startswith("opened mouse 27204-5-13: 24 neurons"), printed
    row = "disk: packed before, moved, read-only", "(nothing)", "what lay there before"
    record_property("fault", row)


def start(path, folder, before=""):
    """Open a recording in another process, after some lines of code."""
    code = f"import sys, kit\n{before}\nprint(kit.load(sys.argv[1], folder=sys.argv[2]).mouse)"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, path, folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_may_open_a_fresh_recording_at_once(source, tmp_path, record_property):
    processes = [start(source, folder) for folder in (tmp_path, tmp_path, tmp_path / "alone")]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.startswith("mouse 7-1-1: 24 neurons")
    assert len(list((tmp_path / "packed").iterdir())) == 1
    alone = kit.load(source, folder=tmp_path / "alone").mouse
    np.testing.assert_array_equal(kit.load(source, folder=tmp_path).mouse.images, alone.images)
    record_property("fault", ("two processes pack at once", "(nothing)", "one packed copy"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_killed_while_packing(source, tmp_path, record_property):
    slow = "from kit.data import official; expect = official.Source.expect\n" \
           "layout.interpolate = lambda *a, **k: __import__('time').sleep(60)"  # fmt: skip
    process = start(source, tmp_path, slow)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("packed/.*/*/images.npy")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (half,) = (tmp_path / "packed").iterdir()
    assert half.name.startswith(".")  # no name under which it could be opened
    mouse = kit.load(source, folder=tmp_path).mouse
    assert mouse.responses.shape == (TRIALS, NEURONS)
    assert len(list((tmp_path / "packed").iterdir())) == 2
    os.utime(half, (0, 0))  # a day later, the next time that this recording is packed
    (packed,) = (p for p in (tmp_path / "packed").iterdir() if p != half)
    shutil.rmtree(packed)
    kit.load(source, folder=tmp_path)
    assert not half.exists()
    record_property("fault", ("kill -9 while packing, run again", "(nothing)",
                              "the packed copy; a hidden half goes after a day"))  # fmt: skip


# ---- what lies in the data folder itself ----


def test_a_damaged_copy_of_a_simulated_mouse(tmp_path, record_property):
    zipped = kit.data.simulation.path("99001-1-1")
    folder = tmp_path / "sample"
    folder.mkdir()
    truth = zipped.with_name(zipped.stem + "-truth.npz").name
    (folder / zipped.name).write_bytes(zipped.read_bytes()[:1_000_000])
    (folder / truth).write_bytes(b"PK")
    with pytest.raises(ValueError) as caught:
        kit.load("sample", folder=tmp_path)
    said = str(caught.value)
    assert f"{folder / zipped.name} is damaged; delete that file and it is simulated" in said
    record_property("fault", ("file: a cut-off sample mouse", shown(said, folder), "as before"))
    with pytest.raises(
        ValueError, match=f"{truth} is damaged; delete that file and it is simulated again"
    ):
        kit.truth("sample", folder=tmp_path)


PACKED = {
    "cut off": ("responses.npy", lambda data: data[:6]),
    "an array where an archive should be": ("meta.npz", lambda _: npy(np.ones(3))),
    "a broken header": ("images.npy", lambda data: data[:10] + b"(" * 60 + data[70:]),
    "another shape": ("images.npy", lambda _: npy(np.ones((3, 1, 36, 64), np.float32))),
    "no numbers": ("behavior.npy", lambda _: npy(np.full((TRIALS, 3), "x"))),
    "gone": ("pupil_center.npy", None),
    "an encrypted archive": ("meta.npz", lambda data: encrypted(data)),
}


@pytest.mark.parametrize("damage", PACKED)
def test_a_damaged_packed_copy(source, tmp_path, damage):
    kit.load(source, folder=tmp_path)
    (packed,) = (tmp_path / "packed").iterdir()
    name, change = PACKED[damage]
    content = (packed / name).read_bytes()
    (packed / name).unlink()
    if change:
        (packed / name).write_bytes(change(content))
    with pytest.raises(ValueError, match="is damaged; delete that folder and load again"):
        kit.load(source, folder=tmp_path)
