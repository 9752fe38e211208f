"""Every notebook runs with other parameters than its own, and is built the way a reader expects."""

import ast
import base64
import json
import re
import runpy
import shutil
import statistics
from itertools import pairwise
from pathlib import Path

import nbformat
import papermill
import pytest
import short
import tiny
from waiting import LIMIT

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
TUTORIALS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
TEMPLATES = sorted(NOTEBOOKS.glob("template_*.ipynb"))
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
ALL = TUTORIALS + TEMPLATES + SOLUTIONS


def name(path):
    return path.relative_to(NOTEBOOKS).with_suffix("").as_posix()


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=name)


def tags(cell):
    return cell.metadata.get("tags", [])


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def pictures(path):
    """The decoded PNGs among a notebook's outputs."""
    encoded = [o.data["image/png"] for o in outputs(path) if "image/png" in o.get("data", {})]
    return [base64.b64decode(png) for png in encoded]


RUN = runpy.run_path(str(NOTEBOOKS / "run.py"))
IGNORE = shutil.ignore_patterns(".*", "build")  # what notebooks wrote before


# Runs. Each notebook is a group of its own, so that several workers share them out.


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=name(p), marks=pytest.mark.xdist_group(name(p)))
     for p in ALL],
)  # fmt: skip
def test_execute_with_short_parameters(path, tmp_path, request):
    """Without nbval in the same session all, else those that nbval runs as they are committed."""
    own = path in {item.path for item in request.session.items}
    if own and (path in SOLUTIONS or short.number(path) in {*OTHER, *short.LONG}):
        pytest.skip("nbval runs it, and a tutorial runs on other mice below")

    # In a copy: what a notebook writes beside itself must not reach the checkout.
    copy = shutil.copytree(NOTEBOOKS, tmp_path / "notebooks", ignore=IGNORE)
    given = short.parameters(path)
    notebook = nbformat.read(path, as_version=4)
    if given:
        for cell in notebook.cells:
            short.drop_assert(cell)
    papermill.execute_notebook(
        notebook, tmp_path / "executed.ipynb", given,
        cwd=copy, execution_timeout=2 * LIMIT, **RUN["kernel_options"](),
    )  # fmt: skip


# Other mice: of a recording each notebook computes what it allows, or says what it is for.

OTHER = {  # beside the short parameters
    "00": {"folder": "mine"},
    "01": {},
    "03": {},
    "06": {"counts": [16, 24, 40]},
    "08": {},
    "09": {"first": ["ln", "shifter-1"], "more": [], "members": 1},
    "template_core": {"folder": "mine"},
}
ONLY_SAMPLE = {
    "02": "is not one simulated mouse; the names are sample, sample+",
    "04": "is not one simulated mouse; the names are sample, sample+",
    "05": "mouse 7-1-1 has no tier 'final_test'; its tiers are train, validation, test",
    "07": "is not one simulated mouse; the names are sample, sample+",
    "10": "is not one simulated mouse; the names are sample, sample+",
}


def execute_on(number, mouse, folder):
    """The error of a notebook on a recording, as the runner says it; empty if there is none."""
    (path,) = (path for path in ALL if short.number(path) == number)
    given = short.PARAMETERS[number] | OTHER.get(number, {}) | {"mouse": str(mouse)}
    return RUN["execute"](path, folder / "executed.ipynb", given, folder).error


@pytest.mark.slow
@pytest.mark.parametrize("number", [*OTHER, *ONLY_SAMPLE])
def test_execute_on_an_open_recording(number, tmp_path):
    """Like the open mice: behaviour, all responses, numbered trials, one test set."""
    test = {"test": (4, 3, 4, 3, 4, 4, 3, 4)}
    error = execute_on(number, tiny.write(tmp_path, tiny.arrays(test=test, hashed=False)), tmp_path)
    if number in OTHER:
        assert error == ""
        return
    first_cells = re.match(r"cell \[([3-5])\] '.*': ValueError: (.*)", error)
    assert first_cells and ONLY_SAMPLE[number] in first_cells[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", ["00", "01", "03", "template_core"])
def test_execute_on_a_recording_that_withholds_all(number, tmp_path):
    withheld = tiny.write(tmp_path, withholds=("responses", "behavior"))
    assert execute_on(number, withheld, tmp_path) == ""


@pytest.mark.slow
def test_execute_reports_a_timeout(tmp_path, monkeypatch):
    monkeypatch.setitem(RUN["execute"].__globals__, "LIMIT", 0)  # minutes: a cell has a second
    cells = [nbformat.v4.new_code_cell(text) for text in ("1", "import time; time.sleep(9999)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "hangs.ipynb")
    result = RUN["execute"](tmp_path / "hangs.ipynb", tmp_path / "executed.ipynb")
    assert result.error.startswith("not done after 0 minutes, the limit for one notebook")
    assert result.seconds < 9999


@each(ALL)
def test_short_parameters_are_parameters(path):
    assert set(short.parameters(path)) <= set(papermill.inspect_notebook(path))


def test_short_parameters_are_of_existing_notebooks():
    assert set(short.PARAMETERS) | short.LONG <= set(map(short.number, ALL))


# What is committed: notebooks, templates and solutions alike.


@each(ALL)
def test_notebook_is_executed_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, "make refresh"
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata.language_info) == {"name"}, "make refresh"
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, "make refresh"
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "not executed from top to bottom"


@each(ALL)
def test_notebook_shows_no_errors_and_no_warnings(path):
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
        assert not re.search(r"\b0x[0-9a-f]{6,}", text), f"shows a memory address: {text}"


@each(ALL)
def test_notebook_hides_no_warnings_and_has_no_absolute_path(path):
    text = json.dumps(nbformat.read(path, as_version=4), ensure_ascii=False)
    assert "filterwarnings" not in text
    folders = "|".join(["home", "Users", "root", "tmp", "content", "work"])
    assert not re.search(rf"(?<![\w.~])/(?:{folders})/", text)
    assert not re.search(r"\b(?:exit|quit)\(", text)
    for cell in code_cells(path):
        assert "raises-exception" not in tags(cell), "papermill stops there; show it with try"
        assert ("skip-execution" in tags(cell)) == ("nbval-skip" in tags(cell))


@each(ALL)
def test_notebook_writes_below_its_working_directory(path):
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(re.sub(r"%pip .*", "pass", cell.source))):
            text = node.value if isinstance(node, ast.Constant) else None
            assert not (isinstance(text, str) and text.startswith(("../", "~"))), text


@each(ALL)
def test_notebook_has_short_cells(path):
    sizes = [len(lines(cell)) for cell in code_cells(path)]
    assert max(sizes) <= 25
    assert statistics.median(sizes) <= 4


@each(ALL)
def test_notebook_has_small_pictures(path):
    for png in pictures(path):
        assert len(png) < 60_000, f"a picture of {len(png)} bytes: lower its dpi"


@each(ALL)
def test_notebook_has_plain_parameters(path):
    parameters = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    assert len(parameters) <= 1
    for cell in parameters:
        statements = ast.parse(cell.source).body
        assert 1 <= len(statements) <= 6
        for statement in statements:
            assert isinstance(statement, ast.Assign), "only name = value"
            ast.literal_eval(statement.value)  # raises where a value is derived from another


# The tutorials' build, which solutions are free of.


@each(TUTORIALS)
def test_notebook_opens_like_the_others(path):
    cells = nbformat.read(path, as_version=4).cells
    first_code = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    opening = "\n".join(cell.source for cell in cells[:first_code])
    assert opening.startswith("# ")
    for row in ("You will be able to", "Time", "Before this", "Data", "What you will see"):
        assert row in opening, f"the table at the top has no {row!r}"
    imports, parameters, figure = code_cells(path)[:3]
    assert "import" in imports.source
    assert re.search(r"^if .*google\.colab.*:\n +%pip ", imports.source, flags=re.M)
    assert "parameters" in tags(parameters)
    assert len(lines(figure)) <= 5
    assert any("image/png" in o.get("data", {}) for o in figure.outputs), "the figure comes first"


@each(TUTORIALS)
def test_notebook_has_12_to_25_code_cells(path):
    assert 12 <= len(code_cells(path)) <= 25


@each(TUTORIALS)
def test_notebook_has_one_headline(path):
    (headline,) = (cell for cell in code_cells(path) if "headline" in tags(cell))
    assert headline.outputs


def test_notebook_numbers_are_unique():
    numbers = [path.name[:2] for path in TUTORIALS]
    assert numbers and len(numbers) == len(set(numbers))


@each(ALL)
def test_notebook_joins_printed_outputs(path):
    for cell in code_cells(path):
        names = [output.get("name") for output in cell.outputs]
        assert not any(a and a == b for a, b in pairwise(names)), "make refresh"
