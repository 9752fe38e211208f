"""What a check found, and hints for error messages."""

import difflib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Report:
    """What is wrong with something: true when nothing is. Prints every problem, with counts."""

    what: object     # what was checked: a path, a core's name
    problems: tuple  # sentences
    summary: str     # what was found

    def __bool__(self):
        return not self.problems

    def __str__(self):
        if self:
            return f"OK: {self.what}: {self.summary}"
        return "\n".join([f"NOT OK: {self.what}:", *(f"  - {line}" for line in self.problems)])

    __repr__ = __str__


def suggest(name, known):
    """"Did you mean …? " for an error message, or nothing where no known name is near."""
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.4)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def require_int(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int. Raises ValueError unless it is a whole number from `low` to `high`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole and value >= low and (high is None or value <= high):
        return int(value)
    allowed = f"of {low} or more" if high is None else f"from {low} to {high}"
    raise ValueError(f"{name}={value!r} is not possible; give a whole number {allowed}")
