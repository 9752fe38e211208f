"""The result of a check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """The result of a check. It is true if there are no problems, and prints all that there are."""

    what: object  # what was checked: a path, a core's name
    problems: tuple[str, ...]  # one sentence each
    summary: str  # what was found

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self:
            return f"OK: {self.what}: {self.summary}"
        lines = [f"  - {problem}" for problem in self.problems]
        return "\n".join([f"NOT OK: {self.what}:", *lines])

    __repr__ = __str__
