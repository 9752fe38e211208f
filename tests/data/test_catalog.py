"""Where data is kept, how files appear, and downloads: from a server on this machine only."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import kit
from kit import files
from kit.data import catalog

# ---- the data folder ----


def test_argument_before_environment_before_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(
        files.platformdirs, "user_cache_dir", lambda name: tmp_path / "cache" / name
    )
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "environment"))
    assert kit.data_folder(tmp_path / "argument") == tmp_path / "argument"
    assert kit.data_folder(str(tmp_path / "argument")) == tmp_path / "argument"
    assert kit.data_folder() == tmp_path / "environment"
    monkeypatch.setenv("KIT_DATA_DIR", "")
    assert kit.data_folder() == tmp_path / "cache" / "sensorium-kit"
    monkeypatch.delenv("KIT_DATA_DIR")
    assert kit.data_folder() == tmp_path / "cache" / "sensorium-kit"
    for name in ("argument", "environment", "cache/sensorium-kit"):
        assert (tmp_path / name).is_dir()  # made where it was absent
    assert kit.data_folder() == kit.data_folder()  # and again


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert kit.data_folder("~/mice") == tmp_path / "mice"


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "data", tmp_path / "file"):
        monkeypatch.setenv("KIT_DATA_DIR", str(place))
        with pytest.raises(OSError, match=f"data folder '{place}' cannot be made .*KIT_DATA_DIR"):
            kit.data_folder()
        with pytest.raises(OSError, match="KIT_DATA_DIR"):
            kit.load("sample+")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_cannot_be_written(tmp_path):
    source = tiny.write(tmp_path)
    (tmp_path / "data").mkdir(mode=0o555)
    with pytest.raises(OSError, match="KIT_DATA_DIR"):
        kit.load(source, folder=tmp_path / "data")
    assert not kit.doctor(tmp_path / "data")


# ---- whole or not at all ----


def test_a_file_appears_when_the_block_has_ended(tmp_path):
    path = tmp_path / "new" / "file"
    with files.atomic_write(path) as part:
        part.write_text("content")
        assert not path.exists()
        assert part.parent.parent == path.parent  # the same disk: a rename is enough
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_when_the_block_has_ended(tmp_path):
    path = tmp_path / "folder"
    with files.atomic_write(path) as part:
        part.mkdir()
        (part / "file").write_text("content")
        assert not path.exists()
    assert (path / "file").read_text() == "content"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("older", [None, "older"])
def test_an_exception_leaves_things_as_they_were(tmp_path, problem, older):
    path = tmp_path / "file"
    if older:
        path.write_text(older)
    with pytest.raises(problem), files.atomic_write(path) as part:
        part.write_text("half of i")
        raise problem
    assert [p.read_text() for p in tmp_path.iterdir()] == [older] * bool(older)


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_text("older and longer")
    with files.atomic_write(path) as part:
        part.write_text("newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_equal_folders_the_first_stays(tmp_path):
    path = tmp_path / "folder"
    with files.atomic_write(path, folder=True) as late:
        late.mkdir()
        (late / "file").write_text("late")
        with files.atomic_write(path, folder=True) as first:
            first.mkdir()
            (first / "file").write_text("first")
    assert (path / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_never_takes_the_place_of_a_folder_in_silence(tmp_path):
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="place"), files.atomic_write(tmp_path / "place") as part:
        part.write_text("content")
    assert list(tmp_path.iterdir()) == [tmp_path / "place"]


def test_a_device_is_not_replaced(tmp_path):
    """Root may: an ordinary user's attempt fails by itself."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not an ordinary file"), files.atomic_write(pipe) as part:
        part.write_text("content")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_leftovers_that_another_process_removes_first(tmp_path, monkeypatch):
    left = tmp_path / ".file-old"
    left.mkdir()
    os.utime(left, (0, 0))
    glob = Path.glob

    def removed_meanwhile(folder, pattern):
        found = list(glob(folder, pattern))
        shutil.rmtree(left, ignore_errors=True)
        return found

    monkeypatch.setattr(Path, "glob", removed_meanwhile)
    with files.atomic_write(tmp_path / "file") as part:
        part.write_text("content")
    assert (tmp_path / "file").read_text() == "content"


def test_many_writers_of_one_path_all_succeed(tmp_path):
    """Four processes, forty writes each, old leftovers about: one of them is there at the end."""
    for i in range(20):
        (tmp_path / f".file-{i}").mkdir()
        os.utime(tmp_path / f".file-{i}", (0, 0))
    code = """if True:
        import sys
        from pathlib import Path
        from kit import files
        for i in range(40):
            with files.atomic_write(Path(sys.argv[1]) / "file") as part:
                part.write_text(sys.argv[2] * 1000)
    """
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path, name]) for name in "abcd"]
    assert [writer.wait() for writer in writers] == [0] * 4
    content = (tmp_path / "file").read_text()
    assert len(content) == 1000 and len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OSError), files.atomic_write(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_the_usual_ones(tmp_path):
    """A data folder is shared: others must be able to read what one has packed."""
    with files.atomic_write(tmp_path / "folder") as part:
        part.mkdir()
    with files.atomic_write(tmp_path / "file") as part:
        part.write_text("")
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "usual.txt").write_text("")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode


# ---- what exists ----


def test_the_seven_recordings():
    assert len(catalog.RECORDINGS) == 7
    assert sum(entry.neurons for entry in catalog.RECORDINGS.values()) == 54_569
    for mouse, entry in catalog.RECORDINGS.items():
        assert entry.mouse == mouse
        assert entry.file == f"static{mouse}-GrayImageNet-94c6ff995dac583098847cfecd43e7b6.zip"
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert 390 < entry.megabytes < 430
    assert len({entry.sha256 for entry in catalog.RECORDINGS.values()}) == 7
    assert catalog.NAMES["sensorium"] == ["26872-17-20"]
    assert catalog.NAMES["sensorium+"] == ["27204-5-13"]
    assert len(catalog.NAMES["pretrain"]) == 5
    assert set(catalog.NAMES["all"]) == set(catalog.RECORDINGS)


# ---- progress ----


def test_sample_mice_need_no_network(monkeypatch):
    def connect(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("KIT_OFFLINE", "0")
    assert len(kit.load("sample+")) == 1


def test_progress_is_silent_in_ci_and_shown_elsewhere(monkeypatch, capfd):
    monkeypatch.setenv("CI", "1")
    assert list(files.progress(range(3), desc="working")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    for value in ("", None):
        monkeypatch.setenv("CI", value) if value is not None else monkeypatch.delenv("CI")
        assert list(files.progress(range(3), desc="working")) == [0, 1, 2]
        assert "working" in capfd.readouterr().err


def test_the_package_writes_nothing_where_it_stands(tmp_path, monkeypatch):
    """Neither the working folder nor the package is written to."""
    package = Path(kit.__file__).parent
    source = tiny.write(tmp_path / "source")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    before = sorted(p for p in package.rglob("*") if "__pycache__" not in p.parts)
    kit.load(source, folder=tmp_path / "data")
    assert sorted(p for p in package.rglob("*") if "__pycache__" not in p.parts) == before
    assert list(work.iterdir()) == []
