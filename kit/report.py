"""The result of a check, and parts of error messages."""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Report:
    """The result of a check. It is true if there are no problems, and prints all that there are."""

    what: object                # what was checked: a path, a core's name
    problems: tuple[str, ...]   # one sentence each
    summary: str                # what was found

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self:
            return f"OK: {self.what}: {self.summary}"
        lines = [f"  - {problem}" for problem in self.problems]
        return "\n".join([f"NOT OK: {self.what}:", *lines])

    __repr__ = __str__


def suggest(name: object, known: Iterable[str]) -> str:
    """The question "did you mean …? " for an error message, or "" if no known name is similar."""
    similar = difflib.get_close_matches(str(name), known, n=2, cutoff=0.4)
    if not similar:
        return ""
    return f"did you mean {' or '.join(map(repr, similar))}? "


def require_int(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int. Raises ValueError unless it is a whole number from `low` to `high`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole and value >= low and (high is None or value <= high):
        return int(value)
    allowed = f"of {low} or more" if high is None else f"from {low} to {high}"
    raise ValueError(f"{name}={value!r} is not possible; give a whole number {allowed}")


def require_path(name: str, value: object) -> Path:
    """`value` as a Path, with the home folder for `~`.

    Raises ValueError unless it is a text or a Path that a file can have.
    """
    if isinstance(value, str | Path) and "\0" not in str(value):
        return Path(os.path.expanduser(value))
    raise ValueError(f"{name}={str(value)[:60]!r} is not a path; give a text or a Path")


def one_line(text: object, length: int = 200) -> str:
    """Untrusted text on one line, cut to a length, without controls and marks that turn letters."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    return plain if len(plain) <= length else plain[:length - 1] + "…"
