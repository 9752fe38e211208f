"""The data folder, atomic writes and progress bars."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest
import tiny

import kit
from kit import files

# ---- the data folder ----


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def test_data_folder_argument_environment_cache(home, monkeypatch):
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda name: home / "cache" / name)
    monkeypatch.setenv("KIT_DATA_DIR", str(home / "environment"))
    assert kit.data_folder(home / "argument") == home / "argument"
    assert kit.data_folder("~/argument") == home / "argument"
    assert kit.data_folder() == home / "environment" and (home / "environment").is_dir()
    monkeypatch.setenv("KIT_DATA_DIR", "")
    assert kit.data_folder() == home / "cache" / "sensorium-kit"
    monkeypatch.delenv("KIT_DATA_DIR")
    assert kit.data_folder() == home / "cache" / "sensorium-kit"


@pytest.mark.parametrize("form", ['"{}"', "'{}'", " {}\t", "{}\n"])
def test_data_folder_in_quotes_or_blanks(tmp_path, monkeypatch, form):
    monkeypatch.setenv("KIT_DATA_DIR", form.format(tmp_path / "mice"))
    assert kit.data_folder() == tmp_path / "mice"


@pytest.fixture
def homeless(tmp_path, monkeypatch):
    """A user without a home folder, as in containers that run under any number."""
    monkeypatch.delenv("KIT_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []  # no folder that is named ~


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder(monkeypatch):
    for folder in (None, "~", "~/mice"):
        with pytest.raises(OSError, match=r"has no home folder; give .* KIT_DATA_DIR"):
            kit.data_folder(folder)
    with pytest.raises(OSError, match="no home folder; give"), files.atomic_write("~/file") as part:
        part.write_text("content")
    unknown = mock.Mock(side_effect=RuntimeError("no home"))
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", unknown)
    with pytest.raises(OSError, match=r"has no home folder; give .* KIT_DATA_DIR"):
        kit.load("sample+")


def test_data_folder_that_cannot_be_created(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "data", tmp_path / "file"):
        monkeypatch.setenv("KIT_DATA_DIR", str(place))
        with pytest.raises(OSError, match=f"folder '{place}' cannot be used.*KIT_DATA_DIR"):
            kit.load("sample+")


def test_data_folder_that_cannot_be_opened(tmp_path, close, capsys):
    close(tmp_path)
    with pytest.raises(OSError, match=r"cannot be used: .*name another one in KIT_DATA_DIR"):
        kit.data_folder(tmp_path)
    assert not kit.doctor(tmp_path)
    assert "TO DO  data folder: the folder" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_load_into_a_folder_that_cannot_be_written(tmp_path):
    source = tiny.write(tmp_path)
    (tmp_path / "data").mkdir(mode=0o555)
    with pytest.raises(OSError, match="KIT_DATA_DIR"):
        kit.load(source, folder=tmp_path / "data")


def test_load_writes_only_to_the_data_folder(tmp_path, monkeypatch):
    def contents():
        return {p for p in Path(kit.__file__).parent.rglob("*") if "__pycache__" not in p.parts}

    source, work, before = tiny.write(tmp_path / "source"), tmp_path / "work", contents()
    work.mkdir()
    monkeypatch.chdir(work)
    kit.load(source, folder=tmp_path / "data")
    assert contents() == before and list(work.iterdir()) == []


# ---- atomic_write ----


def test_atomic_write_file(home):
    """A new one, and then another in its place."""
    path = home / "new" / "file"
    for content in ("first and longer", "second"):
        with files.atomic_write("~/new/file") as part:
            part.write_text(content)
            assert part.parent.parent == path.parent  # the same disk: a rename is enough
            assert path.exists() == (content == "second")
        assert path.read_text() == content
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("older", [[], ["older"]])
def test_atomic_write_after_an_exception(tmp_path, problem, older):
    path = tmp_path / "file"
    for content in older:
        path.write_text(content)
    with pytest.raises(problem), files.atomic_write(path) as part:
        part.write_text("half of i")
        raise problem
    assert [p.read_text() for p in tmp_path.iterdir()] == older


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_atomic_write_replaces_only_files(tmp_path, make):
    path = tmp_path / "place"
    make(path)
    with pytest.raises(OSError, match="not an ordinary file"), files.atomic_write(path) as part:
        part.write_text("content")
    assert not path.is_file() and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("problem", [OSError, PermissionError, ValueError])
def test_atomic_write_names_no_temporary_path(tmp_path, problem):
    path = tmp_path / "folder"
    with pytest.raises(problem) as caught, files.atomic_write(path, folder=True) as part:
        raise problem(f"{part / 'file'} is bad")
    assert str(caught.value) == f"{path / 'file'} is bad"


def test_atomic_write_inside_another_names_the_final_path(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(OSError) as caught, files.atomic_write(path, folder=True) as part:
        (part / "place").mkdir(parents=True)
        with files.atomic_write(part / "place") as inner:
            inner.write_text("")
    assert str(caught.value).startswith(f"{path / 'place'} cannot be written: it is not an ord")
    assert ".part-" not in str(caught.value)


KILLED = """if True:
    import sys, time
    from kit import files
    with files.atomic_write(sys.argv[1]) as part:
        part.write_text("half")
        print("written", flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell whether a process runs")
def test_atomic_write_removes_leftovers_of_killed_processes(tmp_path):
    def writer(name):
        command = [sys.executable, "-c", KILLED, tmp_path / name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with writer("one") as killed, writer("other") as alive:
        assert [each.stdout.readline() for each in (killed, alive)] == ["written\n"] * 2
        elsewhere = tmp_path / f".one.part-12345678-{killed.pid}-x"  # of another machine
        elsewhere.mkdir()
        killed.terminate()
        killed.wait()
        assert len(list(tmp_path.glob(".*.part-*"))) == 3
        with files.atomic_write(tmp_path / "new") as part:
            part.write_text("content")
        left = [path.name.partition(".part-")[0] for path in tmp_path.glob(".*.part-*")]
        alive.kill()
    assert sorted(left) == [".one", ".other"] and elsewhere.exists()


def test_atomic_write_leftovers_removed_by_another_process(tmp_path, monkeypatch):
    left, glob = tmp_path / ".file.part-old", Path.glob
    left.mkdir()

    def removed_meanwhile(folder, pattern):
        paths = list(glob(folder, pattern))
        left.rmdir()
        return paths

    monkeypatch.setattr(Path, "glob", removed_meanwhile)
    with files.atomic_write(tmp_path / "file") as part:
        part.write_text("content")
    assert (tmp_path / "file").read_text() == "content"


def test_atomic_write_removes_only_its_own(tmp_path):
    mine, left = tmp_path / ".file-of-mine", tmp_path / ".file.part-x"
    for folder in (mine, left):
        folder.mkdir()
        os.utime(folder, (0, 0))
    with files.atomic_write(tmp_path / "file") as part:
        part.write_text("content")
    assert mine.exists() and not left.exists()


def test_atomic_write_exclusive(tmp_path):
    def write(folder, **options):
        with files.atomic_write(tmp_path / "folder", folder=True, **options) as part:
            part.mkdir()
            (part / "mine").write_text("mine")
            folder.mkdir()  # another process is first
            (folder / "theirs").write_text("theirs")

    write(tmp_path / "folder")
    shutil.rmtree(tmp_path / "folder")
    with pytest.raises(FileExistsError, match="folder exists already, and is never replaced"):
        write(tmp_path / "folder", exclusive=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "theirs"]


def test_atomic_write_by_many_processes(tmp_path):
    """Two processes write forty times each, and each removes old leftovers."""
    for i in range(20):
        (tmp_path / f".file.part-{i}").mkdir()
        os.utime(tmp_path / f".file.part-{i}", (0, 0))
    code = """if True:
        import sys
        from pathlib import Path
        from kit import files
        for i in range(40):
            with files.atomic_write(Path(sys.argv[1]) / "file") as part:
                part.write_text(sys.argv[2] * 1000)
    """
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0] * 2
    content = (tmp_path / "file").read_text()
    assert len(content) == 1000 and len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_atomic_write_permissions(tmp_path):
    """A data folder may be shared: other users must be able to read it."""
    for make in (Path.mkdir, Path.touch):
        with files.atomic_write(tmp_path / f"{make.__name__}-ours") as part:
            make(part)
        usual = tmp_path / make.__name__
        make(usual)
        assert (tmp_path / f"{make.__name__}-ours").stat().st_mode == usual.stat().st_mode


# ---- progress ----


def test_progress_only_outside_ci(monkeypatch, capfd):
    for value, text in (("1", ""), ("", "working")):
        monkeypatch.setenv("CI", value)
        assert list(files.progress(range(3), desc="working")) == [0, 1, 2]
        assert text in capfd.readouterr().err
    assert not files.is_quiet()
    monkeypatch.setenv("CI", "1")
    assert files.is_quiet()
    monkeypatch.delenv("CI")
    monkeypatch.setenv("RANK", "1")  # other launchers than torchrun set it too
    assert not files.is_quiet()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    assert files.is_quiet()


def test_progress_not_in_threads(monkeypatch, capfd):
    """A notebook would show it below whichever cell runs."""
    monkeypatch.setenv("CI", "")
    monkeypatch.delenv("RANK", raising=False)
    quiet = []

    def work():
        quiet.append(files.is_quiet())
        quiet.append(list(files.progress(range(3), desc="working")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert quiet == [True, [0, 1, 2]]
    assert capfd.readouterr() == ("", "")
    assert not files.is_quiet()
