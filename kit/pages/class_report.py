"""The answers of a class to the exercises, as one page for the teacher.

What learners hand in is untrusted: it is read and never run, its size is bounded, and the page
escapes it. The right answers are those of the checks in notebooks/solutions.
"""

import ast
import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import orjson

from kit.checks import one_line, require_path, system_words
from kit.pages.html import write_html

SOLUTIONS = Path(__file__).resolve().parents[2] / "notebooks" / "solutions"
LARGEST = {".ipynb": 20_000_000, ".py": 50_000}  # bytes of a file
MOST = 50  # files of one learner
CHECK = re.compile(r"^assert (\w+) is \.\.\. or (?:abs\(\1 - (\S+)\) < (\S+)|\1 == (\S+)),", re.M)
PRINTED = re.compile(r"^(\w{1,60}) = (.{1,200})$", re.M)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")


@dataclass(frozen=True)
class Exercise:
    """One exercise: the name of its answer, and which answers are right."""

    notebook: str  # such as "03"
    name: str
    expected: float | str
    tolerance: float  # how far off a number may be; 0 for a text

    def accepts(self, answer: float | str) -> bool:
        """Whether an answer is right."""
        if isinstance(answer, str) or isinstance(self.expected, str):
            return answer == self.expected
        return answer == self.expected or abs(answer - self.expected) < self.tolerance


@dataclass(frozen=True)
class Learner:
    """What one learner gave."""

    name: str
    answers: dict[str, float | str]  # name of an exercise -> what was given
    notes: list[str]  # a sentence for each file that cannot be read


@dataclass(frozen=True)
class ClassReport:
    """The answers of a class. It prints a summary, and `page` writes all of it."""

    exercises: list[Exercise]
    learners: list[Learner]

    def totals(self, exercise: Exercise) -> tuple[int, int, tuple[str, int] | None]:
        """How many are right, how many wrong, and the most frequent wrong answer with its count."""
        each = [learner.answers.get(exercise.name) for learner in self.learners]
        given = [answer for answer in each if answer is not None]
        wrong = Counter(show(answer) for answer in given if not exercise.accepts(answer))
        most = wrong.most_common(1)[0] if wrong else None
        return len(given) - wrong.total(), wrong.total(), most

    def page(self, path: str | Path) -> Path:
        """Write one self-contained HTML page. Returns its path; OSError if it cannot be written."""
        filters = {"show": show, "plain": one_line}
        template = Path(__file__).with_name("class_report.html")
        return write_html(path, template, {"report": self}, filters)

    def __str__(self) -> str:
        right, wrong, _ = zip(*map(self.totals, self.exercises), strict=True)
        unreadable = sum(len(learner.notes) for learner in self.learners)
        return (
            f"learners: {len(self.learners)}, exercises: {len(self.exercises)}, answers right: "
            f"{sum(right)}, wrong: {sum(wrong)}, files that cannot be read: {unreadable}"
        )


def class_report(folder: str | Path, solutions: str | Path = SOLUTIONS) -> ClassReport:
    """Compare what a class handed in with the solutions. Nothing of it is run.

    folder: holds a folder for each learner, with executed exercise notebooks or an answers.py
    (lines such as linear_score = 0.3), or one such file called by the learner's name. solutions:
    the folder notebooks/solutions of the repository. Raises ValueError if there is no learner or no
    solution, OSError if the folder cannot be read.
    """
    exercises = read_exercises(require_path("solutions", solutions))
    handed_in: dict[str, list[Path]] = {}
    for entry in sorted(require_path("folder", folder).iterdir()):
        if entry.is_dir() and entry.name[0] not in "._":
            handed_in.setdefault(entry.name, []).extend(_files(entry))
        elif entry.suffix in LARGEST:
            handed_in.setdefault(entry.stem, []).append(entry)
    if not handed_in:
        raise ValueError(
            f"{folder} holds no work; make a folder in it for each learner, with exercise "
            "notebooks or an answers.py"
        )
    names = {exercise.name for exercise in exercises}
    return ClassReport(exercises, [_learner(*item, names) for item in handed_in.items()])


def read_exercises(solutions: Path) -> list[Exercise]:
    """The exercises of a folder of solutions, by their checks. Raises ValueError without any."""
    exercises = []
    for path in sorted(solutions.glob("[0-9][0-9]_*.ipynb")):
        for cell in orjson.loads(path.read_bytes())["cells"]:
            for name, value, tolerance, exact in CHECK.findall("".join(cell["source"])):
                expected = ast.literal_eval(value or exact)
                exercises.append(Exercise(path.name[:2], name, expected, float(tolerance or 0)))
    if not exercises:
        raise ValueError(
            f"{solutions} holds no solutions; give the folder notebooks/solutions of the kit's "
            "repository: --solutions PATH"
        )
    return exercises


def show(answer: float | str) -> str:
    """An answer as the page shows it."""
    return one_line(answer, 40) if isinstance(answer, str) else f"{answer:.5g}"


# ---- untrusted files ----


def _files(folder):
    """The notebooks and answers.py in a learner's folder, as many as are read."""
    paths = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        wanted = [name for name in sorted(files) if name == "answers.py" or name[-6:] == ".ipynb"]
        paths += [Path(place, name) for name in wanted]
        if len(paths) >= MOST:
            break
    return paths[:MOST]


def _learner(name, paths, names):
    learner = Learner(name, {}, [])
    for path in paths:
        try:
            for each, text in _read(path):
                if each in names and text not in ("Ellipsis", "..."):
                    number = NUMBER.fullmatch(text.strip())
                    learner.answers[each] = float(text) if number else text.strip("'\" ")
        except OSError as problem:
            learner.notes.append(f"{path.name} cannot be read: {system_words(problem)}")
        except (ValueError, SyntaxError, MemoryError, RecursionError) as problem:
            learner.notes.append(f"{path.name} cannot be read: {problem or 'it is too deep'}")
    return learner


def _read(path):
    """The pairs (name, text) of all answers in a file."""
    if path.is_symlink() or not path.is_file():
        raise ValueError("it is not a file")
    if path.stat().st_size > LARGEST[path.suffix]:
        raise ValueError(f"it is larger than {LARGEST[path.suffix] / 1e6:g} MB; clear its pictures")
    if path.suffix == ".ipynb":
        return _printed(orjson.loads(path.read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the learner's code
        lines = ast.parse(path.read_text(encoding="utf-8-sig")).body
    assigned = [line for line in lines if isinstance(line, ast.Assign)]
    return [(ast.unparse(line.targets), ast.unparse(line.value)[:200]) for line in assigned]


def _printed(notebook):
    """What the cells of a notebook printed. Anything may stand where a list or a text should."""
    parts = []
    for cell in _list(notebook, "cells"):
        for output in _list(cell, "outputs"):
            text = output.get("text") if isinstance(output, dict) else None
            lines = text if isinstance(text, list) else [text]
            parts += [line for line in [*lines, "\n"] if isinstance(line, str)]
    if not "".join(parts).strip():
        raise ValueError("no cell has printed anything; run all cells, save, and hand it in again")
    return PRINTED.findall("".join(parts))


def _list(value, name):
    items = value.get(name) if isinstance(value, dict) else None
    return items if isinstance(items, list) else []
