"""Every command in README, in the workshop's page and on the site is run as it is written.

Lines of the pages' blocks and code in their sentences and tables are collected. Each is in `RUN`,
with what runs it, or in `NOT_RUN`, with the reason. Recordings are tiny; folders that a page names
are replaced by folders of the test.
"""

import ast
import functools
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import tiny
from packaging.requirements import Requirement

import kit
from kit.challenge import watching

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "workshop/README.md"]
PAGES += sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))
PROGRAMS = r"(?:\w+=\S+ +)?(?:\S*python[\d.]*|py|pip|conda|make|jupyter|apt|torchrun|export|cd|\.) "
BINARIES = Path(sys.executable).parent  # of the environment that the tests run in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the pages' commands are written for a POSIX shell"),
]


# ---- what the pages say ----


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), flags=re.S | re.M)


def spans(page):
    """Code of several words, or with a call, in sentences and tables."""
    prose = re.sub(r"^```.*?^```|\{[\w:]+\}`[^`]+`", "", read(page), flags=re.S | re.M)
    return [span for span in re.findall(r"`([^`\n]+)`", prose) if re.search(r"[ (]", span)]


def is_python(span):
    try:
        return any(isinstance(node, ast.Call) for node in ast.walk(ast.parse(span)))
    except SyntaxError:
        return False


def commands():
    """All commands, each once, in the order of the pages."""
    found = []
    for page in PAGES:
        lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
        found += [re.sub(r"\s+#.*", "", line).strip() for line in lines]
        found += spans(page)
    return list(dict.fromkeys(filter(None, found)))


# ---- where they run ----


def notebook(source):
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [nbformat.v4.new_code_cell(source)]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A folder that looks like the repository, with one notebook of one cell and one test."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "kit", folder / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("notebooks", "tests"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "notebooks" / "run.py", folder / "notebooks")
    nbformat.write(notebook("print(1)"), folder / "notebooks" / "01_short.ipynb")
    (folder / "tests" / "test_short.py").write_text("def test_nothing():\n    pass\n")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


class Names(dict):
    """What the lines on the pages call by name: small, and untrained."""

    def __init__(self, folder):
        images = {"test": (4, 4, 3, 3), "final_test": (4, 3, 3)}
        arrays, self.folder = tiny.arrays(test=images), folder
        for each in ("hidden", "open"):
            (folder / each).mkdir()
        self.zip = tiny.write(folder / "open", arrays)
        self.hidden = tiny.write(folder / "hidden", arrays, withholds=["responses"])
        self.responses = tiny.standardised(arrays)
        data = kit.load(self.hidden)
        model = kit.linear_baseline(data, channels=2)
        truths = kit.write_ground_truth(data, self.responses, folder / "truth")
        mine, yours = (folder / "entries" / name for name in ("mine", "yours"))
        entries = [kit.submit(model, data, each)[0] for each in (mine, yours)]
        config = kit.TrainConfig(epochs=1)
        super().__init__(
            kit=kit, data=data, model=model, twin=model,
            core=kit.layers.ConvCore(4), configs=[config], submission=entries[0],
            ground_truth=truths[0], mine=entries[0],
            yours=entries[1], recording=kit.load(self.zip).mouse,
            images=data.mouse.first("train", 2).images,
        )  # fmt: skip


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_DATA_DIR", str(folder / "data"))
        return Names(folder)


class Place:
    """Where a command runs, and what runs it."""

    def __init__(self, sandbox, names, tmp_path, monkeypatch, capsys):
        self.sandbox, self.names, self.tmp_path = sandbox, names, tmp_path
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def shell(self, command, folder, **variables):
        """Run a command, with folders of the page replaced; return what it printed."""
        data = os.environ["KIT_DATA_DIR"]
        folders = {"/mnt/course": data, "/srv/kit-data": data, "/opt/sensorium-kit": folder,
                   "/usr/local": self.tmp_path / "prefix"}  # fmt: skip
        for written, here in folders.items():
            command = command.replace(written, shlex.quote(str(here)))
        path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True,
            env=os.environ | {"PATH": path} | variables,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kit(self, command):
        """Run `python -m kit …` as Python would, in this process; return what it printed."""
        program, *words = shlex.split(command)
        assert program in ("python", ".venv/bin/python") and words[:2] == ["-m", "kit"]
        self.monkeypatch.delitem(sys.modules, "kit.__main__", raising=False)
        self.monkeypatch.setattr(sys, "argv", words[1:])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("kit", run_name="__main__", alter_sys=True)
        said = self.capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    def python(self, line, **names):
        """Run a line of Python; return the value of an expression."""
        names = {**self.names, **names}
        if isinstance(ast.parse(line).body[-1], ast.Expr) and len(ast.parse(line).body) == 1:
            return eval(line, names)
        return exec(line, names)


@pytest.fixture
def place(sandbox, names, tmp_path, monkeypatch, capsys):
    return Place(sandbox, names, tmp_path, monkeypatch, capsys)


# ---- what runs them ----


def run_target(place, command):
    """A target of the Makefile: its recipe is expanded, not run."""
    assert place.shell(f"{command} --dry-run", ROOT).count("\n") > 0


def run_shell(place, command):
    place.shell(command, place.sandbox)


def run_notebooks(place, command):
    assert "01_short" in place.shell(command, place.sandbox)


def run_notebook_with_parameters(place, command):
    """Number 03 stands in for the notebook: it prints the parameters."""
    given = dict(re.findall(r"-p (\w+) (\S+)", command))
    book = notebook("\n".join(f'{name} = "sample"' for name in given))
    path = place.sandbox / "notebooks" / "03_mouse.ipynb"
    book.cells[0].metadata["tags"] = ["parameters"]
    book.cells.append(nbformat.v4.new_code_cell(f"print({', '.join(given)})"))
    nbformat.write(book, path)
    try:
        place.shell(command, place.sandbox)
    finally:
        path.unlink()
    (executed,) = (place.sandbox / "build" / "notebooks").glob(
        f"*{[*given.values()][-1]}/{path.name}"
    )
    text = nbformat.read(executed, as_version=4).cells[-1].outputs[0].text
    assert text.split() == [*given.values()]


def run_tests(place, command):
    assert "2 passed" in place.shell(command, place.sandbox)  # a cell and a function


def run_lab(place, command):
    own = {f"JUPYTER_{kind}_DIR": str(place.tmp_path) for kind in ("CONFIG", "DATA", "RUNTIME")}
    shown = place.shell(f"{command} --show-config-json", place.sandbox, **own)
    assert '"root_dir": "notebooks"' in shown


def run_pip(place, command):
    """What pip would do without a network, where all that it asks for is installed already."""
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [Requirement(line.partition("#")[0]) for line in pins if line.partition("#")[0].strip()]
    if not all(version(pin.name) in pin.specifier for pin in pins):
        pytest.skip("this environment has other versions than requirements.txt")
    place.shell(f"python -m {command} --dry-run --no-index", place.sandbox)


def run_venv(place, command):
    place.shell(f"{command} --without-pip", place.tmp_path)
    python = place.shell(". .venv/bin/activate && which python", place.tmp_path)
    assert Path(python.strip()) == place.tmp_path / ".venv" / "bin" / "python"


def run_kernel(place, command):
    place.shell(command, place.sandbox, KIT_DATA_DIR="mice")
    (kernel,) = (place.tmp_path / "prefix").rglob("sensorium-kit/kernel.json")
    assert '"KIT_DATA_DIR": "mice"' in kernel.read_text()


def run_all_commands(place, command):
    """The list of all commands of the kit: each says how it is used."""
    first, *others = command.split(" | ")
    listed = [first.split()[-1], *others]
    _, usage = place.kit("python -m kit --help")
    assert set(re.search(r"\{(.*?)\}", usage)[1].split(",")) == set(listed)
    for each in listed:
        status, usage = place.kit(f"python -m kit {each} --help")
        assert status == 0 and each in usage


PUBLIC = "/mnt/course/staticmy-GrayImageNet-withheld.zip"
RANK = ".venv/bin/python -m kit rank /mnt/course/entries challenge/private"
CONTEST = [
    '.venv/bin/python -c "from pathlib import Path; from secrets import randbits; from '
    "kit.data.simulation import Mouse, simulate; simulate(Mouse('99005-1-1', randbits(60)), "
    "Path('my.zip'))\"",
    ".venv/bin/python -m kit withhold my.zip challenge",
    f"KIT_DATA_DIR=/mnt/course .venv/bin/python -m kit fetch {PUBLIC}",
    f".venv/bin/python -m kit train {PUBLIC} model.safetensors --channels 16 --recipe quick",
    f".venv/bin/python -m kit submit model.safetensors {PUBLIC} /mnt/course/entries/anna",
    f"{RANK} --page page.html --watch",
    f'{RANK} --final --save results --archive season.zip --title "Our contest"',
    ".venv/bin/python -m kit rank bulk_submissions.zip challenge/private --final --save results "
    '--archive season.zip --title "Our contest"',
    ".venv/bin/python -m kit rank season.zip --save again",
    f'{RANK} --board board --title "Our contest"',
    ".venv/bin/python -m kit board board --check",
]


def run_contest(place, command):
    """All lines of the contest, on a mouse with few neurons and a drive that holds the new zip.

    Looking for entries ends at the first pause.
    """

    def interrupt(_):
        raise KeyboardInterrupt

    place.monkeypatch.setattr(watching.time, "sleep", interrupt)
    place.monkeypatch.chdir(place.tmp_path)
    place.monkeypatch.setenv("KIT_DATA_DIR", str(place.tmp_path / "data"))
    course = place.tmp_path / "course"
    (course / "entries").mkdir(parents=True)
    Path(".venv").symlink_to(sys.prefix)
    few = "randbits(60), neurons=9, train=40, validation=10, test=5, final_test=5"
    place.shell(CONTEST[0].replace("randbits(60)", few), place.tmp_path)
    for line in CONTEST[1:]:
        if line.startswith("KIT_DATA_DIR="):
            place.monkeypatch.setenv("KIT_DATA_DIR", str(course))
        line_here = line.removeprefix("KIT_DATA_DIR=/mnt/course ").replace(
            "/mnt/course", str(course)
        )
        status, said = place.kit(line_here + " --epochs 1" * (" train " in line))
        assert status == 130 * line.endswith("--watch"), said
        assert "anna" in said or " rank " not in line
        if " withhold " in line:
            (public,) = Path("challenge/public").glob("*.zip")
            shutil.copy(public, course)
        if " fetch " in line:
            packed = list((course / "packed").iterdir())
        if " submit " in line:  # what the platform would give
            entry = "downloads/17_anna_PhaseId5_2027-06-30_08-00_entry"
            shutil.make_archive(entry, "zip", course / "entries" / "anna")
            shutil.make_archive("bulk_submissions", "zip", "downloads")
            assert list((course / "packed").iterdir()) == packed, "the drive may be read-only"
    assert (
        "anna" in Path("page.html").read_text() and "anna" in Path("board/index.html").read_text()
    )
    pages = [Path(folder, "ranking.html").read_bytes() for folder in ("results", "again")]
    assert pages[0] == pages[1] and b"Our contest" in pages[0]


ENTRY = [
    "python -m kit train sample+ model.safetensors --channels 16 --recipe quick",
    "python -m kit submit model.safetensors sample+ entries/mine",
    "python -m kit check entries/mine sample+",
    "python -m kit rank entries truth --page ranking.html",
]


BOARD = [
    'python -m kit rank entries truth --board board --title "Our mice"',
    "python -m kit board board",
    "python -m kit board board --check",
]


def run_board(place, command):
    """All lines from a ranking to a checked board."""
    place.monkeypatch.chdir(place.tmp_path)
    for name in ("entries", "truth"):
        shutil.copytree(place.names.folder / name, name)
    for line in BOARD:
        status, said = place.kit(line)
        assert status == 0, said
    assert "Our mice" in Path("board/index.html").read_text()


def run_entry(place, command):
    """All lines from a training to a ranking, on a small mouse and with one epoch."""
    place.monkeypatch.chdir(place.tmp_path)
    place.monkeypatch.setenv("KIT_DATA_DIR", str(place.tmp_path / "data"))
    shutil.copytree(place.names.folder / "truth", "truth")
    for line in ENTRY:
        line = line.replace("sample+", shlex.quote(str(place.names.hidden)))
        status, said = place.kit(line + " --epochs 1" * (" train " in line))
        assert status == 0, said
    assert "mine" in Path("ranking.html").read_text()


def run_write_recording(place, command):
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (70, 40, 50)), "responses": rng.gamma(1, size=(70, 9))}
    place.monkeypatch.chdir(place.tmp_path)
    assert place.python(command, **arrays)


def run_class_report(place, command):
    place.monkeypatch.chdir(place.tmp_path)
    Path("handed-in", "anna").mkdir(parents=True)
    Path("handed-in", "anna", "answers.py").write_text("narrow_score = 0.25")
    status, said = place.kit(command)
    assert status == 0 and "right: 1, wrong: 0" in said
    assert "anna" in Path("class-report.html").read_text()


def run_python(place, command):
    place.monkeypatch.chdir(place.tmp_path)
    for name in ("entries", "truth"):
        shutil.copytree(place.names.folder / name, name)
    place.python(command)


def run_report_card(place, command):
    """The one line that needs a model of the mouse that it names; two neurons are enough."""
    card = functools.partial(kit.lab.report_card, neurons=[3, 17])
    place.monkeypatch.setattr(kit.lab, "report_card", card)
    place.python(command, model=kit.pretrained("sample+-cnn"))
    assert "orientation" in place.capsys.readouterr().out


def run_monitor(place, command):
    monitor = place.python(command)
    monitor.stop()
    assert monitor.wait().stopped


RUN = {
    "make tutorial": run_target,
    "make test": run_target,
    "make lab": run_target,
    "make site": run_target,
    "make offline": run_target,
    "make offline SOLUTIONS=no": run_target,
    "make bench": run_target,
    "make exercises": run_target,
    "pip install -r requirements.txt": run_pip,
    "pip install --no-deps --no-build-isolation -e .": run_pip,
    "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu": run_pip,
    "make notebooks ONLY=03 MOUSE=99003-1-1": run_target,
    "python notebooks/run.py": run_notebooks,
    "python notebooks/run.py 03 -p mouse 99003-1-1": run_notebook_with_parameters,
    "python notebooks/run.py 03 -p epochs 3 -p channels 8": run_notebook_with_parameters,
    "python -m pytest --nbval-lax --nbval-current-env notebooks tests": run_tests,
    "jupyter lab --notebook-dir notebooks": run_lab,
    "python3 -m venv .venv": run_venv,
    "kit.Model(core, data.neurons)": run_python,
    "kit.card(model)": run_python,
    "kit.check_core(core)": run_python,
    "kit.grade(submission, ground_truth)": run_python,
    "kit.doctor()": run_python,
    'kit.truth("sample+")': run_python,
    "kit.ensemble(kit.train_many(configs, data))": run_python,
    "kit.strong_baseline(data)": run_python,
    "kit.TrainConfig.strong()": run_python,
    "kit.lab.orientation_tuning(model)": run_python,
    "kit.lab.receptive_fields(model, [3, 17])": run_python,
    "kit.lab.most_exciting_images(model, [3, 17])": run_python,
    'print(kit.lab.report_card(model, kit.truth("sample+")))': run_report_card,
    'kit.lab.page(model, "twin.html")': run_python,
    "kit.compare(mine, yours, ground_truth)": run_python,
    'kit.rank("entries", "truth")': run_python,
    'kit.withhold(recording, "challenge")': run_python,
    'kit.bundle(data, "truth", "challenge.zip", model)': run_python,
    "python -m kit fetch | train | submit | check | grade | rank | board | withhold | bundle "
    "| class-report | doctor":
        run_all_commands,
    "kit.widgets.playground(model)": run_python,
    "kit.widgets.trial_explorer(data)": run_python,
    "kit.widgets.neuron_explorer(model, data)": run_python,
    "kit.widgets.training_monitor(model, data)": run_monitor,
    'kit.pretrained("sample+-cnn")': run_python,
    "twin(kit.Batch.typical(images))": run_python,
    "KIT_DATA_DIR=/mnt/course .venv/bin/python -c \"import kit; [kit.load(n) for n in ('sample', "
    "'sample+', 'sample-pretrain')]\"": run_shell,
    "export KIT_DATA_DIR=/srv/kit-data": run_shell,
    "cd /opt/sensorium-kit": run_shell,
    ".venv/bin/python -c \"import kit; [kit.load(n) for n in ('sample', 'sample+', "
    "'sample-pretrain')]\"": run_shell,
    ".venv/bin/python -m ipykernel install --prefix /usr/local --name sensorium-kit --env "
    "KIT_DATA_DIR $KIT_DATA_DIR": run_kernel,
    "import kit; kit.doctor()": run_python,
    CONTEST[-1]: run_contest,
    ENTRY[-1]: run_entry,
    BOARD[-1]: run_board,
    'kit.write_recording("mine.zip", kit.RecordingArrays(images, responses))': run_write_recording,
    ".venv/bin/python -m kit class-report handed-in": run_class_report,
}  # fmt: skip

WINDOWS = "runs on Windows alone"
INSTALLER = "test_workshop.py runs install.py from a stick, which only the stick's folder holds"
NOT_RUN = {
    "py -m venv .venv": WINDOWS,
    ".venv\\Scripts\\activate": WINDOWS,
    ".venv\\Scripts\\python workshop\\offline.py": WINDOWS,
    "set KIT_DATA_DIR=S:\\course": WINDOWS,
    '$env:KIT_DATA_DIR = "S:\\course"': WINDOWS,
    ". .venv/bin/activate": "run_venv runs it after the line that makes .venv",
    "conda env create -f environment.yml": "downloads; test_repository.py compares the file",
    "conda activate sensorium-kit": "needs the environment of the line before",
    'twin = kit.pretrained("sensorium+-cnn")': "downloads; test_pretrained.py opens a local copy",
    "apt install python3-venv": "changes the machine",
    "python -m kit fetch sensorium+": "downloads 412 MB; test_download.py does it small",
    "python benchmarks/coverage.py": "takes ten minutes",
    "python benchmarks/profile_step.py": "times fifteen large steps",
    "python benchmarks/agreement.py": "trains four models",
    'python -m kit rank bulk_submissions.zip challenge/private --final --save results --archive '
    'season.zip --title "Our contest"': "run_contest runs it with .venv/bin/python",
    "python -m kit rank season.zip --save again": "run_contest runs it with .venv/bin/python",
    "python benchmarks/planning.py": "trains fourteen models",
    "kit.lab.data_needed(data, build)": "trains twelve; test_planning.py does it small",
    **dict.fromkeys(ENTRY[:-1], "run_entry runs them before its last line"),
    **dict.fromkeys(BOARD[:-1], "run_board runs them before its last line"),
    **dict.fromkeys(
        ["torchrun --nproc-per-node=4 script.py",
         "torchrun --nproc-per-node=4 -m kit train sample+ model.safetensors",
         "torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
         "script.py"],
        "test_distributed.py trains in two processes of torchrun",
    ),
    **dict.fromkeys(
        ["CUDA_VISIBLE_DEVICES=0 dask worker HOST:8786 --nthreads 1",
         "python benchmarks/lost_worker.py"],
        "test_sweeps.py trains on workers, and loses one",
    ),
    **dict.fromkeys(CONTEST[:-1], "run_contest runs them before the last line of the contest"),
    **dict.fromkeys(
        ["python install.py my-kit", "python3 install.py ../sensorium-kit",
         "python3.11 install.py", "python install.py /opt/sensorium-kit", "py -3.11 install.py",
         "py install.py ..\\sensorium-kit", "py install.py C:\\kit"],
        INSTALLER,
    ),
}  # fmt: skip


# ---- the tests ----


def test_commands_are_all_run_or_listed_with_a_reason():
    assert sorted(commands()) == sorted([*RUN, *NOT_RUN])


def test_commands_are_found_in_blocks_sentences_and_tables():
    assert {"make test", "make bench", CONTEST[1], "kit.check_core(core)"} <= set(commands())
    assert all(re.match(PROGRAMS, span) or is_python(span) for page in PAGES for span in spans(page)
               if span not in NOT_RUN)  # fmt: skip


@pytest.mark.parametrize("command", RUN)
def test_command_runs(command, place):
    RUN[command](place, command)


def test_readme_five_lines_run_on_a_small_mouse(names, tmp_path, monkeypatch):
    (block,) = blocks("README.md", "python")
    asked = []
    monkeypatch.setattr(kit, "load", lambda name: asked.append(name) or names["data"])
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    assert asked == ["sample+"]
    assert len(list((tmp_path / "submissions" / "first").iterdir())) == 2


@pytest.mark.parametrize("page", [page for page in PAGES[2:] if blocks(page, "python")])
def test_python_of_a_page_runs_on_a_small_mouse(page, names, tmp_path, monkeypatch):
    """All blocks of a page, one after the other: names mean small things, trainings are short."""
    rng, load, short = np.random.default_rng(0), kit.load, kit.TrainConfig(epochs=1, device="cpu")
    small = {"sample+": names["data"], "99003-1-1": load(names.zip)}
    train, train_many = kit.train, kit.train_many
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kit, "load", lambda name: small.get(name) or load(name))
    monkeypatch.setattr(kit, "pretrained", lambda name: names["model"])
    monkeypatch.setattr(kit, "truth", lambda name: SimpleNamespace(responses=names.responses))
    monkeypatch.setattr(kit, "train", lambda model, data, config=None: train(model, data, short))
    linear = kit.linear_baseline
    monkeypatch.setattr(
        kit, "train_many", lambda configs, data, folder: train_many([short], data, linear, folder)
    )
    monkeypatch.setattr("distributed.Client", lambda address: nullcontext())
    own = {
        "images": rng.integers(0, 256, (110, 40, 50)),
        "responses": rng.gamma(1, size=(140, 16)),
        "image_ids": np.r_[:110, 100:110, 100:110, 100:110],
        "speed": rng.uniform(0, 9, 140),
        "address": "HOST:8786",
    }
    for name in ("entries", "truth"):
        shutil.copytree(names.folder / name, name)
    for block in blocks(page, "python"):
        exec(block, own)
