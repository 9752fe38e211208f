"""The answers of a class to the exercises, as one page for the teacher.

What learners hand in is untrusted: it is read and never run, its size is bounded, and the page
escapes it. The right answers are those of the checks in notebooks/solutions.
"""

import ast
import os
import re
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from kit.checks import one_line, require_path, suggest, system_words
from kit.pages.html import write_html

SOLUTIONS = Path(__file__).resolve().parents[2] / "notebooks" / "solutions"
LARGEST = {".ipynb": 20_000_000, ".py": 50_000}  # bytes of a file
MOST = 50  # files of one learner
REMARKS = 3  # of one kind on one file
CHECK = re.compile(r"^assert (\w+) is \.\.\. or (?:abs\(\1 - (\S+)\) < (\S+)|\1 == (\S+)),", re.M)
PRINTED = re.compile(r"^(\w{1,60}) = (.{1,200})$", re.M)
DIGITS = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
CALL = r"[\w.]*\b(?:tensor|array|float\d*|int\d+)\("
NUMBER = re.compile(rf"(?:{CALL})?{DIGITS}(?: ?/ ?{DIGITS})?(?:, \w+=[^()]*)?\)?")
NOT_PYTHON = SyntaxError, ValueError, MemoryError, RecursionError


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
    answers: dict[str, float | str | None]  # name of an exercise -> what was given; None: a blank
    notes: list[str]  # a sentence for whatever cannot be read or is not asked for


@dataclass(frozen=True)
class ClassReport:
    """The answers of a class. It prints a summary, and `page` writes all of it."""

    exercises: list[Exercise]  # of the notebooks that somebody handed in
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

    def summary(self) -> str:
        """The counts, on one line."""
        right, wrong, _ = zip(*map(self.totals, self.exercises), strict=True)
        remarks = sum(len(learner.notes) for learner in self.learners)
        return (
            f"learners: {len(self.learners)}, exercises: {len(self.exercises)}, answers right: "
            f"{sum(right)}, wrong: {sum(wrong)}, remarks: {remarks}"
        )

    def __str__(self) -> str:
        notes = [f"{each.name}: {note}" for each in self.learners for note in each.notes]
        return "\n".join([self.summary(), *map(one_line, notes)])


def class_report(folder: str | Path, solutions: str | Path = SOLUTIONS) -> ClassReport:
    """Compare what a class handed in with the solutions. Nothing of it is run.

    folder: holds a folder for each learner, with executed exercise notebooks or an answers.py
    (lines such as other_fev = 0.5), or one such file called by the learner's name. Of two answers
    the later file's counts, and answers.py is the last. solutions: the folder notebooks/solutions
    of the repository. Raises ValueError if there is no learner or no solution, OSError if the
    folder cannot be read.
    """
    exercises = {each.name: each for each in read_exercises(require_path("solutions", solutions))}
    handed_in: dict[str, list[Path]] = {}
    for entry in sorted(require_path("folder", folder).iterdir()):
        if entry.is_dir() and entry.name[0] not in "._":
            handed_in.setdefault(entry.name, []).extend(_files(entry))
        elif entry.suffix in (*LARGEST, ".zip"):
            handed_in.setdefault(entry.stem, []).append(entry)
    if not handed_in:
        raise ValueError(
            f"{folder} holds no work; make a folder in it for each learner, with exercise "
            "notebooks or an answers.py"
        )
    learners = [_learner(*item, exercises) for item in handed_in.items()]
    seen = {exercises[name].notebook for learner in learners for name in learner.answers}
    shown = [each for each in exercises.values() if each.notebook in seen or not seen]
    return ClassReport(shown, learners)


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
    """A learner's notebooks, then answers.py; some of the other files if there is neither."""
    paths = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        paths += [Path(place, name) for name in sorted(files) if name[0] != "."]
        if len(paths) >= 20 * MOST:
            break
    wanted = [path for path in paths if path.name == "answers.py" or path.suffix == ".ipynb"]
    return sorted(wanted[:MOST], key=lambda path: path.suffix == ".py") or paths[:REMARKS]


def _learner(name, paths, exercises):
    learner, origin = Learner(name, {}, []), {}
    for path in paths:
        try:
            pairs, notes = _read(path)
            learner.notes.extend(notes)
            _take(learner, path.name, pairs, exercises, origin)
        except OSError as problem:
            learner.notes.append(f"{path.name} cannot be read: {system_words(problem)}")
        except NOT_PYTHON as problem:
            learner.notes.append(f"{path.name} cannot be read: {problem or 'it is too deep'}")
    if not learner.answers:
        learner.notes.insert(0, "nothing found")
    return learner


def _take(learner, file, pairs, exercises, origin):
    """Take the answers of one file. origin: name -> file of each answer so far."""
    found = {}
    for name, text in pairs:
        if name in exercises and text not in ("Ellipsis", "..."):
            found[name] = _answer(text, exercises[name].expected)
        elif name in exercises:
            learner.answers.setdefault(name, None)
    for name, answer in found.items():
        if name in origin and learner.answers[name] != answer:
            learner.notes.append(f"{name} differs between {origin[name]} and {file}: {file} counts")
        learner.answers[name], origin[name] = answer, file
        if isinstance(answer, str) and not isinstance(exercises[name].expected, str):
            learner.notes.append(f"{name} is not a plain number in {file}; give one, such as 0.5")
    stray = [name for name, _ in pairs if name not in exercises] if file.endswith(".py") else []
    for name in stray[:REMARKS]:
        asked = suggest(name, exercises.keys() - found)
        learner.notes.append(f"{name} is not asked for; {asked}".rstrip("; "))


def _answer(text, expected):
    """A text such as 0.3, -1/4, tensor(0.998) or np.float64(0.252) as a number, if one is due."""
    number = None if isinstance(expected, str) else NUMBER.fullmatch(text.strip())
    with suppress(ZeroDivisionError):
        if number:
            return float(number[1]) / float(number[2] or 1)
    return text.strip("'\" ")


def _read(path):
    """The pairs (name, text) of all answers in a file, and what is to be said of it."""
    if path.is_symlink() or not path.is_file():
        raise ValueError("it is not a file")
    if path.suffix not in LARGEST:
        raise ValueError("it is no notebook and no answers.py; unpack a zip into a folder")
    if path.stat().st_size > LARGEST[path.suffix]:
        raise ValueError(f"it is larger than {LARGEST[path.suffix] / 1e6:g} MB; clear its pictures")
    if path.suffix == ".ipynb":
        return _printed(orjson.loads(path.read_bytes())), []
    content = path.read_bytes()
    coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # PowerShell
    return _assigned(path.name, content.decode(coding, errors="replace"))


def _assigned(file, code):
    """The same of Python code, line by line if it is none as a whole: a bad line loses itself."""
    pairs, bad = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the learner's code
        try:
            pairs = _pairs(code)
        except NOT_PYTHON:
            for number, line in enumerate(map(str.strip, code.splitlines()), 1):
                try:
                    pairs += _pairs(line)
                except NOT_PYTHON:
                    bad.append(f"line {number} ({one_line(line, 40)})")
    more = f" and {len(bad) - REMARKS} more" if len(bad) > REMARKS else ""
    said = f"{file}, {', '.join(bad[:REMARKS])}{more}, cannot be read; a line is name = number"
    return pairs, [said] if bad else []


def _pairs(code):
    assigned = [line for line in ast.parse(code).body if isinstance(line, ast.Assign)]
    pairs = [(target, line.value) for line in assigned for target in line.targets]
    return [(a.id, ast.unparse(b)[:200]) for a, b in pairs if isinstance(a, ast.Name)]


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
