"""Make the notebooks that learners fill in, notebooks/exercises, from notebooks/solutions.

The tags of a solution's cells say what becomes of them. A text tagged `task` is kept, all other
text is left out. Code tagged `answer` becomes a blank, name = ..., for the name that its last line
sets; code tagged `solution` is left out; all other code is kept. Run by `make exercises`.
"""

import ast
import json
import os
from pathlib import Path

import badges

HERE = Path(__file__).resolve().parent
TITLE = """{title}

Replace each `...` by your answer, in as many lines as you need. Run all cells, save, and hand this
notebook in. A check prints your answer; it lets `...` pass. A wrong one stops *Run All*: go on from
the next cell (*Run > Run Selected Cell and All Below*).
[The tutorial](../{file}) has all that you need."""


def blank(cell):
    """A cell of a solution as learners get it; None if it is left out."""
    tags = cell["metadata"].get("tags", [])
    if cell["cell_type"] == "markdown":
        return cell if "task" in tags else None
    if "solution" in tags:
        return None
    cell = cell | {"outputs": [], "execution_count": None}
    if "answer" in tags:
        last = ast.parse("".join(cell["source"])).body[-1]
        cell["source"] = [f"{last.targets[0].id} = ...  # your line"]
    return cell


def exercise(path, name):
    """The text of the exercise notebook of a solution. name: OWNER/NAME of the repository."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    first, *cells = notebook["cells"]
    title = first["source"][0].strip().replace("Solutions", "Exercises")
    first["source"] = TITLE.format(title=title, file=path.name).splitlines(keepends=True)
    notebook["cells"] = [first, *filter(None, map(blank, cells))]
    text = badges.with_badges(json.dumps(notebook), f"notebooks/exercises/{path.name}", name)
    return badges.with_setup(text, name)


def main(root=HERE.parent):
    """Write all of them. Returns their names."""
    name, solutions = badges.repository(root), root / "notebooks" / "solutions"
    folder = root / "notebooks" / "exercises"
    folder.mkdir(exist_ok=True)
    paths = sorted(solutions.glob("[0-9][0-9]_*.ipynb"))
    for path in paths:
        part = folder / f".{path.name}.part"
        part.write_text(exercise(path, name), encoding="utf-8", newline="\n")
        os.replace(part, folder / path.name)
    return [path.name for path in paths]


if __name__ == "__main__":
    print(f"wrote {len(main())} notebooks to notebooks/exercises")
