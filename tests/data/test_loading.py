"""From names to open recordings: what is found, packed, cached and refused."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny
from recording_files import NEURONS, TOP, TRIALS, assert_same, in_table, refused, unpack
from waiting import LIMIT, wait_for_process

import kit

# ---- names ----


@pytest.mark.parametrize("name, hint", [
    ("sampel", "did you mean 'sample'"),
    ("Sensorium+", "did you mean 'sensorium"),
    ("27204-5-1", "did you mean '27204-5-13'"),
    ("no/such/file.zip", "nor a file or folder; "),
])  # fmt: skip
def test_load_unknown_name(tmp_path, name, hint):
    said = refused(name, tmp_path)
    assert repr(name) in said and hint in said
    assert "sample, sample+, sample-pretrain, sensorium, sensorium+, pretrain, all" in said


def test_load_refuses_other_arguments(tmp_path):
    for name in (None, 5, b"sample", [], [["sample"]], "", {}):
        assert "names no recording" in refused(name, tmp_path / "data")
    assert len(refused("x" * 5000, tmp_path / "data")) < 700
    for folder in (5, True, b"data", "a\0b"):
        with pytest.raises(ValueError, match="is not a path; give a text or a Path"):
            kit.load("sample", folder=folder)


def test_load_list(source, tmp_path):
    assert len(kit.load([source, str(source)], folder=tmp_path)) == 1  # named twice, opened once
    with pytest.raises(ValueError, match=r"mouse 7-1-1 is in .*\.zip and "):
        kit.load([source, unpack(source, tmp_path)], folder=tmp_path)


@pytest.mark.parametrize("size", [36, (36,), (36, 64, 1), (0, 64), (36, 1025), (3.6, 6.4), "ab"])
def test_load_refuses_size(source, tmp_path, size):
    with pytest.raises(ValueError, match=r"size=.* is not possible; give 2 values"):
        kit.load(source, size=size, folder=tmp_path)


def test_load_relative_path(source, mouse, tmp_path, monkeypatch):
    monkeypatch.chdir(source.parent)
    relative = kit.load(source.name, folder=tmp_path).mouse
    monkeypatch.chdir(tmp_path)
    assert_same(relative, mouse)
    assert_same(kit.load(source, folder=tmp_path).mouse, mouse)
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_load_folder_of_any_name(source, tmp_path, monkeypatch):
    """Its name becomes the mouse's; no name may trip a model later."""
    path = unpack(source, tmp_path)
    for name in ("my mouse", "mouse v1.2", "train"):
        shutil.copytree(path, tmp_path / name)
        data = kit.load(tmp_path / name, folder=tmp_path / "data")
        model = kit.linear_baseline(data, channels=2)
        assert kit.predict(model, data, "validation").shape == (12, 24)
    monkeypatch.chdir(path)
    data = kit.load(".", folder=tmp_path / "data")
    assert data.mouse.mouse == "7-1-1"


def test_load_id_from_hostile_name(source, tmp_path):
    """The mouse's id comes from a name in the file, and becomes part of a path."""
    for top in (f"static{tmp_path}/evil/x-GrayImageNet", "static/../x-GrayImageNet",
                "static..\\x-GrayImageNet", "static" + 300 * "x" + "-GrayImageNet"):  # fmt: skip
        path = tmp_path / "my.zip"
        tiny.rewritten(source, path, lambda name, top=top: name.replace(TOP, top))
        try:
            mouse = kit.load(path, folder=tmp_path / "data").mouse.mouse
        except ValueError as problem:
            assert "outside its folder" in str(problem)
            continue
        assert not set(mouse) & set("/\\.") and len(mouse) <= 80
    assert {p.name for p in tmp_path.iterdir()} <= {"data", "my.zip"}


def test_load_agrees_with_2022_loader(shared, tmp_path):
    folder = shared / "recordings"
    (source,) = folder.glob("static*.zip")
    unpack(source, tmp_path)
    with np.load(folder / "expected-90001-1-1.npz") as file:
        expected = {name: file[name] for name in file.files}
    rows = expected.pop("trial_rows")
    for path in (source, tmp_path / source.stem):
        mouse = kit.load(path, folder=tmp_path / "data").mouse
        assert mouse.mouse == "90001-1-1"
        np.testing.assert_array_equal(mouse.rows("test")[:3], rows)
        batch = mouse.first("test", 3)
        np.testing.assert_allclose(batch.images, expected["images"][:, :1], atol=1e-5)
        tiled = np.broadcast_to(batch.behavior[:, :, None, None], (3, 3, 36, 64))
        np.testing.assert_allclose(tiled, expected["images"][:, 1:], atol=1e-5)
        for name in ("behavior", "pupil_center"):
            np.testing.assert_allclose(getattr(batch, name), expected[name], atol=1e-5)
        assert batch.responses is None  # withheld: the 2022 loader gives zeros
        assert not expected["responses"].any() and np.isnan(mouse.responses[rows]).all()


# ---- the packed copy ----


def everything_in(folder):
    """Every path below a folder with its size and time of change."""
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in [folder, *folder.rglob("*")]}


def test_load_never_writes_into_the_recording(source, tmp_path):
    folder = unpack(source, tmp_path / "source")
    folders = [path for path in [folder.parent, *folder.parent.rglob("*")] if path.is_dir()]
    before = everything_in(folder.parent), everything_in(source.parent)
    for path in folders:
        path.chmod(0o555)
    try:
        for path in (folder, source):
            assert len(kit.load(path, folder=tmp_path / "data").mouse.images) == 70
    finally:
        for path in folders:
            path.chmod(0o755)
    assert (everything_in(folder.parent), everything_in(source.parent)) == before


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
def test_load_recording_replaced_by_one_of_equal_sizes_and_dates(tmp_path, unpacked):
    """All zips of the kit carry one date, and unzip brings it back."""
    responses = []
    for seed in (0, 1):
        path = tiny.write(tmp_path, tiny.arrays(seed))
        path = unpack(path, tmp_path) if unpacked else path
        for file in [path, *path.rglob("*")]:
            os.utime(file, (10**9, 10**9))
        for _ in range(2):
            responses.append(kit.load(path, folder=tmp_path / "data").mouse.responses)
    np.testing.assert_array_equal(responses[0], responses[1])
    np.testing.assert_array_equal(responses[2], responses[3])
    assert not np.array_equal(responses[0], responses[2])  # what is open stays as it was


def test_load_changed_file_of_folder(source, tmp_path):
    path = unpack(source, tmp_path)
    first = kit.load(path, folder=tmp_path / "data").mouse
    file = path / "data" / "responses" / "3.npy"
    before = file.stat()
    np.save(file, np.full(24, 7, np.float32))
    if os.name != "nt":  # its date and size stay; Windows keeps no time of the change
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    second = kit.load(path, folder=tmp_path / "data").mouse
    rows = (first.responses != second.responses).any(1)
    assert np.flatnonzero(rows).tolist() == [3]


def test_load_moved_or_copied_recording_is_packed_once(source, mouse, tmp_path, monkeypatch):
    kit.load(source, folder=tmp_path / "data")
    shutil.copyfile(source, tmp_path / source.name)  # with another date, at another place
    monkeypatch.setattr(kit.data.loading, "pack", None)  # cannot be called
    assert_same(kit.load(tmp_path / source.name, folder=tmp_path / "data").mouse, mouse)
    monkeypatch.undo()
    paths = [unpack(source, tmp_path / name) for name in ("one", "two")]
    kit.load(paths[0], folder=tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "moved")
    monkeypatch.setattr(kit.data.loading, "pack", None)
    for path in paths:
        assert_same(kit.load(path, folder=tmp_path / "moved").mouse, mouse)


@pytest.mark.parametrize("lie", [b"", b"\xff\xfe", b"7"])
def test_load_trusts_no_note_that_it_did_not_write(source, tmp_path, lie):
    """A drive that went away may leave an empty one, which would fit any recording."""
    data, unpacked = tmp_path / "data", unpack(source, tmp_path)
    packed = kit.load(unpacked, folder=data).mouse.packed
    [note] = (data / "content").iterdir()
    digest = note.read_bytes()
    note.write_bytes(lie)
    assert kit.load(unpacked, folder=data).mouse.packed == packed
    assert note.read_bytes() == digest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("name", ["meta.npz", "behavior.npy"])
def test_load_waits_for_no_pipe_in_a_packed_copy(source, tmp_path, name):
    packed = kit.load(source, folder=tmp_path).mouse.packed
    (packed / name).unlink()
    os.mkfifo(packed / name)
    with pytest.raises(ValueError, match="is damaged; delete that folder and load again"):
        kit.load(source, folder=tmp_path)


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
def test_load_again_does_not_read_the_trials(source, mouse, tmp_path, monkeypatch, unpacked):
    path = unpack(source, tmp_path) if unpacked else source
    kit.load(path, folder=tmp_path / "data")
    before = everything_in(tmp_path)
    for name in ("open_source", "_content")[: 1 + unpacked]:
        monkeypatch.setattr(kit.data.loading, name, None)  # cannot be called
    assert_same(kit.load(path, folder=tmp_path / "data").mouse, mouse)
    assert everything_in(tmp_path) == before


def test_load_sizes_side_by_side(source, mouse, arrays, tmp_path):
    for size in ((18, 32), (144, 256), [36, 64], (36, 64)):
        loaded = kit.load(source, size=size, folder=tmp_path)
        assert loaded.mouse.images.shape == (70, 1, *size)
        assert tuple(loaded.image_size) == tuple(size)
    assert_same(loaded.mouse, mouse)
    full = kit.load(source, size=(144, 256), folder=tmp_path).mouse
    raw = full.images * full.statistics["images_std"] + full.statistics["images_mean"]
    np.testing.assert_allclose(raw, arrays["images"], atol=1e-3)


def test_load_while_another_process_packs(source, mouse, tmp_path, monkeypatch):
    """Another process finishes the same packing while this one is at it."""
    pack = kit.data.loading.pack

    def overtaken(*arguments):
        monkeypatch.setattr(kit.data.loading, "pack", pack)
        kit.load(source, folder=tmp_path)
        pack(*arguments)

    monkeypatch.setattr(kit.data.loading, "pack", overtaken)
    assert_same(kit.load(source, folder=tmp_path).mouse, mouse)
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_load_damaged_simulated_mouse(tmp_path, record_property):
    zipped = kit.data.simulation.fetch("99001-1-1")
    folder = tmp_path / "sample"
    shutil.copytree(zipped.parent, folder)
    (folder / zipped.name).write_bytes(zipped.read_bytes()[:1_000_000])
    with pytest.raises(ValueError) as caught:
        kit.load("sample", folder=tmp_path)
    said = str(caught.value)
    assert f"{folder / zipped.name} is damaged; delete it, and it is simulated again" in said
    record_property("fault", ("file: a cut-off sample mouse", in_table(said, folder), "as before"))


# ---- the machine: full, locked, killed, shared ----


TRY = """
import sys, shutil, kit
usage = shutil.disk_usage(sys.argv[2])
shutil.disk_usage = lambda _: usage._replace(free=10**12)  # a disk may become full later
try:
    print("opened", kit.load(sys.argv[1], folder=sys.argv[2]).mouse)
except OSError as problem:
    print("refused", problem)
"""


def on_a_small_disk(source, folder, options, before="true"):
    """Open a recording with its data folder on a disk of its own. Returns what was printed."""
    folder.mkdir()
    script = f"""
        mount -t tmpfs -o {options} tmpfs "$2" && {before} || exit 77
        "$0" -W error -c "$3" "$1" "$2"; find "$2" -mindepth 2 | sed 's/^/left /'
    """
    unshare = ["unshare", "--mount"]
    try:
        subprocess.run([*unshare, "true"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs unshare, and the right to use it")
    command = [*unshare, "sh", "-c", script, sys.executable, source, folder, TRY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode == 77:
        pytest.skip("mounting is not allowed here")
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "options, code, disk",
    [
        ("size=300k", errno.ENOSPC, "full, found while packing"),
        ("ro", errno.EROFS, "read-only data folder"),
    ],
)
def test_load_disk_that_takes_nothing(source, tmp_path, options, code, disk, record_property):
    printed = on_a_small_disk(source, tmp_path / "data", options)
    assert printed.startswith("refused ") and printed.count("\n") == 1, printed
    assert f"cannot be written: {os.strerror(code).lower()}; make room there" in printed
    assert "KIT_DATA_DIR" in printed
    record_property("fault", (f"disk: {disk}", in_table(printed[8:-1], tmp_path), "nothing"))


def test_load_sees_a_full_disk_before_packing(source, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    monkeypatch.setattr(kit.data.packing, "_write_array", None)  # cannot be called
    said = refused(source, tmp_path / "data", OSError)
    assert f"cannot be written: {os.strerror(errno.ENOSPC).lower()}; make room there" in said


def test_load_where_another_user_packed(source, tmp_path, close):
    """The first student's umask closes `packed` to all others."""
    data = tmp_path / "data"
    close(data / "packed")
    with pytest.raises(OSError, match=r"packed.* cannot be written: permission .*KIT_DATA_DIR"):
        kit.load(source, folder=data)


def test_load_packed_from_moved_read_only_folder(source, tmp_path, record_property):
    """A teacher's stick or mounted drive: packed once, opened by everybody under any path."""
    own = tmp_path / "own" / "recordings" / kit.data.sources.catalog.RECORDINGS["27204-5-13"].file
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
def test_load_in_two_processes(source, mouse, tmp_path, record_property):
    processes = [start(source, tmp_path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        assert out.startswith("mouse 7-1-1: 24 neurons")
    assert len(list((tmp_path / "packed").iterdir())) == 1
    assert_same(kit.load(source, folder=tmp_path).mouse, mouse)
    record_property("fault", ("two processes pack at once", "(nothing)", "one packed copy"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_load_after_kill(source, tmp_path, record_property):
    slow = "from kit.data import packing; " \
           "packing.interpolate = lambda *a, **k: __import__('time').sleep(9999)"  # fmt: skip
    process = start(source, tmp_path, slow)
    wait_for_process(
        process, lambda: list(tmp_path.glob("packed/.*/*/images.npy")), "images are packed"
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (half,) = (tmp_path / "packed").iterdir()
    assert half.name.startswith(".")  # no name under which it could be opened
    mouse = kit.load(source, folder=tmp_path).mouse
    assert mouse.responses.shape == (TRIALS, NEURONS)
    assert not half.exists() and len(list((tmp_path / "packed").iterdir())) == 1
    record_property("fault", ("kill -9 while packing, run again", "(nothing)", "the packed copy"))
