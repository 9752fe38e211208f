"""The exercise notebooks are the solutions without the answers, and every answer is checked."""

import ast
import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest

from kit.pages.class_report import SOLUTIONS, read_exercises

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
EXERCISES = read_exercises(SOLUTIONS)


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(NOTEBOOKS)  # it imports badges, which lies beside it
        return runpy.run_path(str(NOTEBOOKS / "make_exercises.py"))


def tags(cell):
    return cell.metadata.get("tags", [])


def cells(folder, path):
    return nbformat.read(NOTEBOOKS / folder / path.name, as_version=4).cells


def each(function):
    return pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)(function)


@each
def test_exercise_notebook_is_made_from_its_solution(path, script):
    made = script["exercise"](path, script["badges"].repository())
    committed = (NOTEBOOKS / "exercises" / path.name).read_text(encoding="utf-8")
    assert committed == made, "make exercises"
    nbformat.validate(nbformat.reads(made, as_version=4))


def test_exercise_notebooks_are_as_many_as_solutions():
    names = [path.name for path in (NOTEBOOKS / "exercises").glob("*.ipynb")]
    assert sorted(names) == [path.name for path in PATHS]


@each
def test_exercise_notebook_shows_no_answer(path):
    """No number, no line and no text of the solution."""
    shown = cells("exercises", path)
    text = "\n".join(cell.source for cell in shown)
    for cell in cells("solutions", path):
        kept = not {"answer", "solution"} & set(tags(cell))
        if cell.cell_type == "markdown":
            kept = "task" in tags(cell)
        assert (cell.source in text) == kept or cell.source.startswith("# ")
    assert all(not cell.get("outputs") for cell in shown)
    blanks = [cell.source for cell in shown if "answer" in tags(cell)]
    assert all(re.fullmatch(r"\w+ = \.\.\.  # your line", blank) for blank in blanks)


@each
def test_solution_names_two_to_five_answers_and_checks_each(path):
    found, last = [], None
    for cell in cells("solutions", path):
        if "answer" in tags(cell):
            last = ast.parse(cell.source).body[-1].targets[0].id
        if "check" in tags(cell):
            found.append(re.match(r'print\("(\w+) =", \1\)\nassert \1 is ', cell.source)[1])
            assert found[-1] == last, "a check stands behind its answer"
    assert 2 <= len(found) <= 5
    assert found == [each.name for each in EXERCISES if each.notebook == path.name[:2]]


@each
def test_solution_passes_its_checks_as_committed(path):
    """With room to spare: other processors train to slightly other numbers."""
    known = {each.name: each for each in EXERCISES}
    for cell in cells("solutions", path):
        if "check" in tags(cell):
            name, answer = cell.outputs[0].text.strip().split(" = ")
            exercise = known[name]
            if isinstance(exercise.expected, str):
                assert answer == exercise.expected
            else:
                off = abs(float(answer) - exercise.expected)
                assert off <= exercise.tolerance / 2
                assert not exercise.accepts(exercise.expected + 1.1 * exercise.tolerance + 1e-3)


def test_answers_have_names_of_their_own():
    names = [exercise.name for exercise in EXERCISES]
    assert len(names) == len(set(names)) >= 2 * len(PATHS)


def test_check_lets_a_blank_pass_and_stops_at_a_wrong_answer():
    (check,) = [
        cell.source
        for cell in cells("solutions", PATHS[0])
        if "check" in tags(cell) and "linear_score" in cell.source
    ]
    exec(check, {"linear_score": ...})
    exec(check, {"linear_score": 0.31})
    with pytest.raises(AssertionError, match="another builder"):
        exec(check, {"linear_score": 0.4})


def test_make_exercises_writes_the_notebooks_of_a_folder(tmp_path, script):
    (tmp_path / "pyproject.toml").write_text(
        '[project.urls]\nRepository = "https://github.com/some/kit"\n'
    )
    source = tmp_path / "notebooks" / "solutions" / PATHS[0].name
    source.parent.mkdir(parents=True)
    source.write_bytes(PATHS[0].read_bytes())
    assert script["main"](tmp_path) == [PATHS[0].name]
    assert script["main"](tmp_path) == [PATHS[0].name]
    (written,) = (tmp_path / "notebooks" / "exercises").iterdir()
    assert "git+https://github.com/some/kit" in written.read_text(encoding="utf-8")
    assert json.loads(written.read_text(encoding="utf-8"))["nbformat"] == 4
