"""The runner of the notebooks: which it runs, with which parameters, in which Python."""

import base64
import importlib
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from waiting import LIMIT

SCRIPT = Path(__file__).resolve().parents[2] / "notebooks" / "run.py"
RUN = runpy.run_path(str(SCRIPT))
GLOBALS = RUN["main"].__globals__


def notebook(path, *cells, parameters="mouse = 'sample+'\nepochs = 3\nlr = 0.5\nkinds = ['a']"):
    """Write a notebook whose first cell holds parameters."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    others = [nbformat.v4.new_code_cell(cell) for cell in cells]
    metadata = {"kernelspec": RUN["KERNEL"], "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[first, *others], metadata=metadata), path)
    return path


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with two notebooks, for which the runner takes the repository."""
    (tmp_path / "notebooks").mkdir()
    notebook(tmp_path / "notebooks" / "01_first.ipynb")
    notebook(tmp_path / "notebooks" / "02_second.ipynb", parameters="seeds = 3")
    places = {"HERE": tmp_path / "notebooks", "ROOT": tmp_path, "BUILD": tmp_path / "build"}
    for name, place in places.items():
        monkeypatch.setitem(GLOBALS, name, place)
    for name in ("CI", "PYDEVD_DISABLE_FILE_VALIDATION", "HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return tmp_path


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    return RUN["main"]()


def pretend(monkeypatch):
    """Let the runner only note with what it would run each notebook. Returns the notes."""
    ran, result = [], RUN["Result"](1.0, None, "r = 0.5 \u00d7 2", "")

    def execute_all(jobs, together):
        for name, arguments in jobs.items():
            ran.append(arguments)
            yield name, result

    monkeypatch.setitem(GLOBALS, "execute_all", execute_all)
    return ran


# ---- parameters ----


def test_parse_parameters_keeps_the_kind_of_each(tmp_path):
    path = notebook(tmp_path / "01_first.ipynb")
    given = [("mouse", "26872"), ("epochs", "5"), ("lr", "1"), ("kinds", "['b', 'c']")]
    values = RUN["parse_parameters"](path, given)
    assert values == {"mouse": "26872", "epochs": 5, "lr": 1, "kinds": ["b", "c"]}


def test_parse_parameters_finds_files_from_here(tmp_path, monkeypatch):
    path = notebook(tmp_path / "01_first.ipynb")
    (tmp_path / "mine.zip").write_text("")
    monkeypatch.chdir(tmp_path)
    values = RUN["parse_parameters"](path, [("mouse", "mine.zip")])
    assert values == {"mouse": str((tmp_path / "mine.zip").resolve())}


BAD = {
    "unknown parameter": (["01", "-p", "mice", "x"], "its parameters are mouse, epochs, lr, kinds"),
    "of one of two": (["-p", "mouse", "x"], "02_second has no parameter 'mouse'; its"),
    "no number": (["01", "-p", "epochs", "many"], "'many' as epochs; give a value such as 3"),
    "half a number": (["01", "-p", "epochs", "1.5"], "cannot take '1.5' as epochs"),
    "numbers for names": (["01", "-p", "kinds", "[1]"], "cannot take '[1]' as kinds"),
    "unknown notebook": (["01", "77"], "there is no notebook 77; choose of 01, 02"),
    "in place": (["01", "--in-place", "-p", "epochs", "1"], "leave out -p"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_main_refuses_in_one_sentence_before_anything_runs(clone, capsys, monkeypatch, name):
    arguments, words = BAD[name]
    ran = pretend(monkeypatch)
    assert call(monkeypatch, *arguments) == 2 and not ran
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("run.py: ") and err.count("\n") == 1
    assert words in err


# ---- runs ----


def test_main_gives_other_parameters_a_folder_of_their_own(clone, capsys, monkeypatch):
    ran = pretend(monkeypatch)
    first = clone / "notebooks" / "01_first.ipynb"
    build = clone / "build" / "notebooks"
    assert call(monkeypatch, "01") == 0
    assert call(monkeypatch, "01", "-p", "mouse", "99003-1-1", "-p", "epochs", "1") == 0
    own = build / "mouse-99003-1-1_epochs-1"
    assert ran == [(first, build / first.name, {}, clone),
                   (first, own / first.name, {"mouse": "99003-1-1", "epochs": 1}, own)]  # fmt: skip
    assert own.is_dir()


NAMED = {
    "none": ([], ["01_first", "02_second"]),
    "the first template": (["template"], ["template_core"]),
    "its whole name": (["template_core"], ["template_core"]),
    "the other": (["02", "template_recording"], ["02_second", "template_recording"]),
    "all": (["--in-place"], ["01_first", "02_second", "template_core", "template_recording"]),
}


@pytest.mark.parametrize("name", NAMED)
def test_find_notebooks_by_number_or_name(clone, monkeypatch, name):
    arguments, expected = NAMED[name]
    for template in ("template_core", "template_recording"):
        notebook(clone / "notebooks" / f"{template}.ipynb")
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    found = RUN["find_notebooks"](RUN["read_arguments"]())
    assert [path.stem for path in found] == expected


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_runs_a_notebook_on_another_mouse():
    command = ["make", "-n", "notebooks", "ONLY=03", "MOUSE=99003-1-1"]
    shown = subprocess.run(command, cwd=SCRIPT.parents[1], capture_output=True, text=True)
    assert 'notebooks/run.py 03 -p mouse "99003-1-1"\n' in shown.stdout
    shown = subprocess.run(command[:-1], cwd=SCRIPT.parents[1], capture_output=True, text=True)
    assert re.search(r"notebooks/run\.py 03 *\n", shown.stdout)


def test_main_prints_in_an_ascii_terminal(clone, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    pretend(monkeypatch)
    assert call(monkeypatch, "01") == 0
    terminal.flush()
    assert "01_first: 1 s" in terminal.buffer.getvalue().decode("ascii")


@pytest.mark.parametrize("program", ["install", "offline"])
def test_workshop_prints_in_an_ascii_terminal(program, monkeypatch):
    workshop = SCRIPT.parents[1] / "workshop"
    monkeypatch.syspath_prepend(workshop)
    main = runpy.run_path(str(workshop / f"{program}.py"))["main"]
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    print("M\u00e4use \u2026")  # as a folder may be called
    terminal.flush()
    assert terminal.buffer.getvalue().decode("ascii").endswith("M?use ?\n")


def test_no_program_needs_its_docstring():
    """python -OO leaves them out."""
    root = SCRIPT.parents[1]
    for folder in ("kit", "notebooks", "workshop", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            assert "__doc__." not in path.read_text(encoding="utf-8"), path.name


def test_main_names_a_place_that_cannot_be_written(clone, capsys, monkeypatch):
    (clone / "build").write_text("")
    assert call(monkeypatch, "01") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_main_gives_a_home_to_users_without_one(clone, monkeypatch):
    pretend(monkeypatch)
    monkeypatch.setenv("HOME", str(clone / "none"))
    assert call(monkeypatch, "01") == 0
    assert Path.home() == clone / "build" / "home"


@pytest.mark.slow
def test_execute_uses_this_python_whatever_kernel_is_installed(tmp_path, monkeypatch):
    foreign = tmp_path / "share" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "", "language": ""}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    path = notebook(tmp_path / "01_first.ipynb", "import sys; open('seen', 'w').write(sys.prefix)")
    result = RUN["execute"](path, tmp_path / "executed.ipynb", {"epochs": 1}, tmp_path)
    assert result.error == ""
    assert (tmp_path / "seen").read_text() == sys.prefix


@pytest.mark.slow
@pytest.mark.parametrize("mouse, error", [("mine.zip", ""), ("sample+", "asks for the truth")])
def test_execute_skips_cells_of_simulated_mice_on_others(tmp_path, mouse, error):
    path = notebook(tmp_path / "01_first.ipynb", "raise ValueError('asks for the truth')")
    written = nbformat.read(path, as_version=4)
    written.cells[1].metadata["tags"] = ["simulated"]
    nbformat.write(written, path)
    result = RUN["execute"](path, tmp_path / "executed.ipynb", {"mouse": mouse}, tmp_path)
    assert error in result.error and bool(result.error) == bool(error)


@pytest.mark.slow
def test_execute_all_runs_two_at_a_time_and_each_to_its_end(tmp_path, capsys, monkeypatch):
    """The first two wait for each other's file; the third waits until one of them has ended."""
    monkeypatch.syspath_prepend(SCRIPT.parent)  # other processes import it by its name
    execute_all = importlib.import_module("run").execute_all
    meet = (
        "import pathlib, time\npathlib.Path({!r}).touch()\n"
        "while not pathlib.Path({!r}).exists():\n    time.sleep(0.1)"
    )
    cells = {"a": meet.format("a", "b"), "b": meet.format("b", "a"), "c": "1 / 0"}
    jobs = {}
    for name, cell in cells.items():
        path = notebook(tmp_path / f"{name}.ipynb", cell)
        jobs[name] = path, tmp_path / f"{name}-done.ipynb", {}, tmp_path
    results = dict(execute_all(jobs, 2))
    assert sorted(results) == ["a", "b", "c"]
    assert [bool(results[name].error) for name in "abc"] == [False, False, True]
    assert "ZeroDivisionError" in results["c"].error
    assert capsys.readouterr().out == "a ...\nb ...\nc ...\n"


@pytest.mark.parametrize(
    "cores, memory, count, together", [(2, 8, 11, 2), (1, 8, 11, 1), (8, 3, 11, 1), (8, None, 1, 1)]
)
def test_share_cores(monkeypatch, cores, memory, count, together):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setattr("kit.machine.memory_gigabytes", lambda: memory)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert RUN["share_cores"](count) == together
    assert os.environ.get("OMP_NUM_THREADS") == (str(cores // 2) if together == 2 else None)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_run_stops_with_a_sentence(tmp_path):
    """Ctrl-C reaches all processes of a terminal, here those of a session."""
    script = tmp_path / "notebooks" / "run.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.read_text())
    notebook(script.parent / "01_first.ipynb", "import time; time.sleep(600)")
    running = subprocess.Popen(
        [sys.executable, script, "01"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    seen = ""
    while not seen.endswith("01_first ...\n"):
        seen += running.stdout.read(1)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=LIMIT)
    assert (running.returncode, err) == (130, "\nrun.py: stopped; run it again to start over\n")


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("thread", ["main", "other"])
def test_ctrl_c_waits_while_a_notebooks_process_starts(thread):
    """The system gives it to any thread that takes it: this one, or one that a library started."""
    before, reached = signal.signal(signal.SIGINT, signal.default_int_handler), []
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    try:
        with pytest.raises(KeyboardInterrupt), RUN["interrupts_held"]():
            signal.pthread_kill(
                waiting.ident if thread == "other" else threading.get_ident(), signal.SIGINT
            )
            time.sleep(0.1)
            reached.append("the end")
    finally:
        done.set()
        signal.signal(signal.SIGINT, before)
    assert reached == ["the end"]


def test_shrink_keeps_the_picture_in_fewer_bytes():
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(0, 9, (60, 80, 1), np.uint8) * 28, 3, 2)
    opaque = np.concatenate([pixels, np.full((60, 80, 1), 255, np.uint8)], 2)
    png = encode(opaque)
    smaller = RUN["shrink"](png)
    assert len(smaller) < 0.6 * len(png)
    shown = Image.open(io.BytesIO(base64.b64decode(smaller))).convert("RGB")
    np.testing.assert_array_equal(np.asarray(shown), pixels)
    transparent = encode(opaque // 2)
    assert RUN["shrink"](transparent) == transparent


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
