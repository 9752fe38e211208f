"""The offline folder: what goes in, what install.py refuses, and what it leaves alone."""

import ast
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kit

ROOT = Path(__file__).resolve().parents[2]
WORKSHOP = ROOT / "workshop"
MOUSE = "static99001-1-1-GrayImageNet-simulated.zip"


def module(name):
    """A module of workshop/, which is not a package: install.py is copied alone."""
    spec = importlib.util.spec_from_file_location(name, WORKSHOP / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


install = module("install")
offline = module("offline")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def make_wheel(folder, package, content="x"):
    name, version = package.split("==")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\n")
    return path


@pytest.fixture
def stick(tmp_path):
    """A tiny offline folder, whole and for this Python."""
    stick = tmp_path / "stick"
    write(stick / "kit" / "README.md", "the kit")
    write(stick / "kit" / "notebooks" / "00_first.ipynb", "{}")
    mouse = write(stick / "sample" / MOUSE, "a mouse")
    os.utime(mouse, (0, 0))
    make_wheel(stick / "wheels", "one==1.0")
    write(stick / "packages.txt", "one==1.0\n")
    shutil.copy(WORKSHOP / "install.py", stick)
    offline.write_contents(stick)
    return stick


def run_install(stick, *arguments, cwd):
    command = [sys.executable, stick / "install.py", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def contents_of(stick):
    return install.read_contents(stick)


def files_of(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


# ---- what goes in ----


def test_offline_packs_sample_mice_and_their_truths(monkeypatch):
    monkeypatch.setattr(kit.data.simulation, "MICE", ["99002-1-1"])
    recording, truth = offline.sample_files()
    assert recording.is_file() and kit.load(recording, (18, 32)).mouse.mouse == "99002-1-1"
    assert truth.is_file() and truth.parent == recording.parent


def test_offline_copies_the_tracked_files():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert set(offline.repository_files(ROOT)) == tracked
    assert {"Makefile", "kit/__init__.py", ".gitignore"} <= tracked


def test_offline_without_git_copies_all_but_ignored_files(tmp_path):
    write(tmp_path / ".gitignore", "# made\n.venv/\nbuild/\n*.egg-info/\nstatic*-GrayImageNet-*\n")
    for name in ("README.md", "kit/a.py", ".ci/run", "notebooks/solutions/00.ipynb"):
        write(tmp_path / name, "kept")
    for name in (".venv/bin/x", "build/b", "kit.egg-info/PKG", "data/" + MOUSE):
        write(tmp_path / name, "left out")
    wanted = [".ci/run", ".gitignore", "README.md", "kit/a.py", "notebooks/solutions/00.ipynb"]
    assert offline.repository_files(tmp_path) == wanted


def test_offline_can_leave_the_solutions_out(tmp_path, monkeypatch):
    """And install.py finds the folder whole, for they are not in its list."""
    write(tmp_path / ".gitignore", "build/\n")
    for name in ("README.md", "notebooks/solutions/00.ipynb", "notebooks/exercises/00.ipynb"):
        write(tmp_path / name, "x")
    write(tmp_path / "workshop" / "install.py", "x")
    monkeypatch.setattr(offline, "ROOT", tmp_path)
    monkeypatch.setattr(offline, "PART", tmp_path / "build" / "part")
    monkeypatch.setattr(offline, "FOLDER", tmp_path / "build" / "offline")
    monkeypatch.setattr(offline, "installed_packages", lambda: ["one==1.0"])
    monkeypatch.setattr(offline, "sample_files", lambda: [])
    monkeypatch.setattr(
        offline, "fetcher", lambda _: lambda packages, wheels: make_wheel(wheels, *packages)
    )
    monkeypatch.setattr(offline, "try_out", lambda *_: None)
    for options, there in ((["--without-solutions"], False), ([], True)):
        monkeypatch.setattr(sys, "argv", ["offline.py", *options])
        assert offline.main() == 0
        folder = tmp_path / "build" / "offline"
        install.check_whole(folder, contents_of(folder))
        assert (folder / "kit" / "notebooks" / "exercises" / "00.ipynb").is_file()
        assert (folder / "kit" / "notebooks" / "solutions").exists() == there


def test_offline_lists_packages_with_versions():
    packages = offline.installed_packages()
    names = [package.partition("==")[0] for package in packages]
    assert all("==" in package for package in packages)
    assert {"numpy", "torch", "setuptools", "jupyterlab"} <= set(names)
    assert not {"pip", "sensorium-kit"} & set(names)


@pytest.mark.parametrize(
    ("package", "wheel"),
    [("jupyter_client==8.1", "jupyter_client-8.1-py3-none-any.whl"),
     ("Ruamel.Yaml==0.1", "ruamel_yaml-0.1-cp311-cp311-linux_x86_64.whl"),
     ("torch==2.1+cpu", "torch-2.1+cpu-cp311-cp311-win_amd64.whl")],
)  # fmt: skip
def test_offline_finds_a_wheel_under_every_spelling(package, wheel, tmp_path):
    write(tmp_path / wheel, "")
    assert list(offline.wheels_in(tmp_path)) == [offline.key(*package.split("=="))]


def test_offline_keeps_wheels_and_drops_stale_ones(tmp_path):
    part, earlier, asked = tmp_path / "part", tmp_path / "earlier", []

    def fetch(packages, wheels):
        asked.append(packages)
        for package in packages:
            make_wheel(wheels, package)

    def gather(*packages):
        return offline.gather_wheels(packages, part, earlier, fetch)

    assert gather("one==1.0", "two==1.0") == 2
    assert gather("one==1.0", "two==1.0") == 0
    assert gather("one==1.0", "two==2.0") == 1
    assert sorted(files_of(part / "wheels")) == [
        "one-1.0-py3-none-any.whl", "two-2.0-py3-none-any.whl"]  # fmt: skip

    os.replace(part, earlier)  # tried and finished
    whole = earlier / "wheels" / "one-1.0-py3-none-any.whl"
    broken = earlier / "wheels" / "two-2.0-py3-none-any.whl"
    broken.write_bytes(broken.read_bytes()[:40])
    assert gather("one==1.0", "two==2.0") == 1
    assert asked == [["one==1.0", "two==1.0"], ["two==2.0"], ["two==2.0"]]
    assert whole.exists(), "the finished folder is left as it is"

    (part / offline.MADE_FOR).write_text("3.2 elsewhere")
    (earlier / offline.MADE_FOR).write_text("3.2 elsewhere")
    assert gather("one==1.0", "two==2.0") == 2, "wheels for another Python are of no use"


def test_offline_names_a_missing_package(tmp_path):
    with pytest.raises(install.Problem, match=r"no wheel came for one==1\.0"):
        offline.gather_wheels(["one==1.0"], tmp_path / "p", tmp_path / "e", lambda *_: None)


def test_offline_leaves_nothing_after_a_failed_fetch(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(errno.ENOSPC, "The attic is full")

    for name, folder in {"PART": "offline.part", "FOLDER": "offline", "TRIAL": "trial"}.items():
        monkeypatch.setattr(offline, name, tmp_path / folder)
    monkeypatch.setattr(offline, "installed_packages", lambda: ["one==1.0"])
    monkeypatch.setattr(offline, "fetcher", lambda _: fail)
    monkeypatch.setattr(sys, "argv", ["offline.py"])
    assert offline.main() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("FAILED: ") and "The attic is full" in last
    assert not (tmp_path / "offline").exists()
    assert not (tmp_path / "offline.part" / "contents.json").exists()


def test_offline_replaces_the_older_folder(tmp_path):
    write(tmp_path / "offline" / "old", "")
    write(tmp_path / "part" / "new", "")
    offline.put_in_place(tmp_path / "part", tmp_path / "offline")
    assert files_of(tmp_path) == {"offline/new"}


def test_offline_trial_is_isolated_from_this_machine(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS", "PYTHONPATH", "VIRTUAL_ENV", "KIT_FIXTURES"):
        monkeypatch.setenv(name, "x")
    bare = offline.bare_environment(tmp_path)
    assert "x" not in bare.values()
    assert bare["PIP_NO_INDEX"] == "1" and bare["PIP_CONFIG_FILE"] == os.devnull
    assert bare["HOME"] == str(tmp_path / "home")
    assert bare["KIT_DATA_DIR"] == str(tmp_path / "data")


def test_offline_trial_has_loopback_only():
    prefix = offline.without_network()
    if not prefix:
        pytest.skip("this system cannot cut the network off for one program")
    code = """if True:
        import socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 5).close()
        try:
            socket.create_connection(("192.0.2.1", 80), 5)
        except OSError as problem:
            print(problem.errno)
    """
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(errno.ENETUNREACH), done.stderr


# ---- install.py: what it refuses ----


def test_install_parses_in_old_pythons():
    """So that a Python too old for the kit is told so, and does not stumble over the grammar."""
    tree = ast.parse((WORKSHOP / "install.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("found", [("3.9", None), (None, "win-amd64")])
def test_install_refuses_another_python(found, stick):
    contents = contents_of(stick)
    here = contents["python"], contents["platform"]
    found = tuple(f or h for f, h in zip(found, here, strict=True))
    install.check_python(contents, here)
    with pytest.raises(install.Problem) as problem:
        install.check_python(contents, found)
    said = str(problem.value)
    assert f"Python {found[0]} on {found[1]}" in said, "what was found"
    assert f"Python {here[0]} on {here[1]}" in said, "what is allowed"
    assert f"py -{here[0]} install.py" in said and "make offline" in said, "what to do"


def edit_contents(stick, **changes):
    (stick / "contents.json").write_text(json.dumps(contents_of(stick) | changes))


MISSING = f"1 of the 6 files here are missing or damaged (sample/{MOUSE})"
HARMED = {
    "another Python": (lambda stick: edit_contents(stick, python="3.2"), "this is Python"),
    "no room": (lambda stick: edit_contents(stick, room=10**18), "takes 1000000000.0 GB"),
    "a file missing": (lambda stick: (stick / "sample" / MOUSE).unlink(), MISSING),
    "a file altered": (lambda stick: write(stick / "sample" / MOUSE, "a louse"), MISSING),
    "no list": (lambda stick: (stick / "contents.json").unlink(), "not a whole offline folder"),
    "half a list": (lambda stick: write(stick / "contents.json", '{"python": '), "not a whole"),
}


@pytest.mark.parametrize("harm", HARMED)
def test_install_writes_nothing_from_a_harmed_stick(harm, stick, tmp_path):
    change, message = HARMED[harm]
    change(stick)
    done = run_install(stick, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Not installed: " in done.stderr and message in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"stick"}


def test_install_leaves_a_foreign_folder_alone(stick, tmp_path):
    mine = write(tmp_path / "mine" / "thesis.txt", "all of it")
    contents = contents_of(stick)
    for target, message in ((mine.parent, "holds other things and is left alone"),
                            (mine, "is a file"), (stick, "lies in the offline folder itself"),
                            (stick / "new", "lies in the offline folder itself")):  # fmt: skip
        with pytest.raises(install.Problem, match=message):
            install.check_target(target, stick, contents)
    assert files_of(mine.parent) == {"thesis.txt"} and mine.read_text() == "all of it"


# ---- install.py: what it copies ----


def copy_kit(stick, folder):
    return install.copy_repository(stick, folder, install.of(contents_of(stick), "kit"))


def test_install_copies_and_updates_but_keeps_changed_files(stick, tmp_path):
    folder, source = tmp_path / "new", stick / "kit"
    for name in ("old.py", "older.py"):
        write(source / name, name)
    offline.write_contents(stick)
    assert copy_kit(stick, folder) == []
    names = {"README.md", "notebooks/00_first.ipynb", "old.py", "older.py", install.MARK}
    assert files_of(folder) == names
    install.check_target(folder, stick, contents_of(stick))

    for name in ("notebooks/00_first.ipynb", "older.py"):
        write(folder / name, "mine now")
    write(source / "README.md", "the next version")
    write(source / "notebooks" / "00_first.ipynb", "the next notebook")
    for name in ("old.py", "older.py"):
        (source / name).unlink()
    offline.write_contents(stick)
    for _ in range(2):
        assert copy_kit(stick, folder) == ["notebooks/00_first.ipynb"]
    assert files_of(folder) == names - {"old.py"}
    assert (folder / "README.md").read_text() == "the next version"
    for name in ("notebooks/00_first.ipynb", "older.py"):
        assert (folder / name).read_text() == "mine now"


def test_install_resumes_an_interrupted_copy(stick, tmp_path, monkeypatch):
    folder, copies = tmp_path / "new", []

    def interrupted(source, part):
        copies.append(part)
        Path(part).write_text("hal")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy_kit(stick, folder)
    assert copies and files_of(folder) == {install.MARK}, "nothing half-written"
    install.check_target(folder, stick, contents_of(stick))
    assert copy_kit(stick, folder) == []
    assert (folder / "README.md").read_text() == "the kit"


def test_install_copies_sample_mice_once_with_their_times(stick, tmp_path):
    contents = contents_of(stick)
    assert contents["times"] == {MOUSE: 0}
    os.utime(stick / "sample" / MOUSE, (10**9, 10**9))  # as a stick's file system may have it
    files = install.of(contents, "sample")
    assert install.copy_samples(stick, tmp_path / "data", files, contents["times"]) == 1
    copied = tmp_path / "data" / "sample" / MOUSE
    assert copied.read_text() == "a mouse" and copied.stat().st_mtime_ns == 0
    assert install.copy_samples(stick, tmp_path / "data", files, contents["times"]) == 0
    copied.write_text("half a")
    assert install.copy_samples(stick, tmp_path / "data", files, contents["times"]) == 1
    assert hashlib.sha256(copied.read_bytes()).hexdigest() == files[MOUSE]


def test_install_removes_leftovers_of_a_killed_run(stick, tmp_path):
    old = write(tmp_path / f".{MOUSE}.1.part", "ha")
    young = write(tmp_path / f".{MOUSE}.2.part", "ha")
    os.utime(old, (0, 0))
    install.copy(stick / "sample" / MOUSE, tmp_path / MOUSE)
    assert young.exists() and not old.exists()


def test_install_stamps_match_the_makefile(tmp_path):
    folder = tmp_path.resolve()
    makefile = shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    binary = install.python_of(folder).parent
    binary.mkdir(parents=True)
    install.write_stamps(folder, "one==1.0\n")
    assert not install.packages_are_there(folder, "one==1.0\n"), "there is no Python in it"
    if os.name == "nt" or not shutil.which("make"):
        pytest.skip("no make")
    install.python_of(folder).symlink_to(sys.executable)
    assert install.packages_are_there(folder, "one==1.0\n")
    assert not install.packages_are_there(folder, "one==2.0\n")

    def up_to_date():
        command = ["make", "-f", makefile, "--question", ".venv/.kit"]
        return subprocess.run(command, cwd=folder).returncode == 0

    assert up_to_date()
    (folder / ".venv" / ".where").write_text("elsewhere\n")
    assert not up_to_date(), "the folder was moved"


def test_install_leaves_no_stamp_after_a_failure(stick, tmp_path, monkeypatch):
    folder = tmp_path / "new"
    stamp = write(folder / ".venv" / ".packages", "one==0.9\n")

    def fail(*_, **__):
        raise install.Problem("no")

    monkeypatch.setattr(install, "run", fail)
    with pytest.raises(install.Problem):
        install.install_packages(stick, folder, "one==1.0\n")
    assert not stamp.exists()


def test_run_reports_the_last_lines_of_a_failed_command():
    code = "for i in range(9): print('line', i)\nraise SystemExit(3)"
    with pytest.raises(install.Problem) as problem:
        install.run("counting", sys.executable, "-c", code)
    assert "counting did not work" in str(problem.value)
    assert "line 8" in str(problem.value) and "line 2" not in str(problem.value)


def test_install_prints_the_two_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Path.cwd().resolve()
    if os.name != "nt":
        assert install.next_lines(here / "a kit")[0] == "cd 'a kit'"
        assert install.next_lines(here.parent / "kit")[0] == f"cd {here.parent / 'kit'}"
        monkeypatch.setattr(shutil, "which", lambda _: None)
        assert ".venv/bin/python -m jupyterlab" in install.next_lines(here / "kit")[1]
