"""What a check found, and hints for error messages."""

import difflib
from dataclasses import dataclass


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
