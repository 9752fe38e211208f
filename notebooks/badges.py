"""Write the repository's name into badges and %pip lines, and the lines that install on Colab.

The name is set in one place: [project.urls] Repository of pyproject.toml. Notebooks that have no
badges yet get them below their title. Run by `make badges`, and by `make refresh`.
"""

import json
import os
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "Dockerfile",
    "workshop/README.md",
    "kit/hosting/bundle_files/starting_kit.md",
]
TUTORIALS = "notebooks/[0-9][0-9]_*.ipynb"
EXERCISES = "notebooks/exercises/[0-9][0-9]_*.ipynb"
TEMPLATES = "notebooks/template_*.ipynb"
NOTEBOOKS = [TUTORIALS, EXERCISES, TEMPLATES, "notebooks/solutions/[0-9][0-9]_*.ipynb"]

# The first lines of the first code cell. A session of Colab has numpy in memory before the first
# cell runs (colabtools issue 6072): if pip has replaced it, the next import fails without a reason.
SETUP = """\
import sys
from importlib.metadata import version

if "google.colab" in sys.modules:
    %pip install -q "sensorium-kit @ git+https://github.com/{name}"
    if "numpy" in sys.modules and sys.modules["numpy"].__version__ != version("numpy"):
        raise RuntimeError("pip has replaced numpy: Runtime > Restart session, then run again")
"""
OLD_SETUP = (
    r"import sys\n(?:from importlib.*\n)?\nif \"google\.colab\" in sys\.modules:\n(?: +.*\n)+"
)

# Only links to this repository's own notebooks, and to the kit itself: never other repositories.
OWNER_AND_NAME = r"[\w.-]+/[\w.-]*[\w-]"
SHAPES = [
    rf"(colab\.research\.google\.com/github/){OWNER_AND_NAME}(?=/blob/main/notebooks/\d\d_)",
    rf"(mybinder\.org/v2/gh/){OWNER_AND_NAME}(?=/HEAD\?labpath=notebooks)",
    rf"(sensorium-kit(?:\[[\w,-]+\])? @ git\+https://github\.com/){OWNER_AND_NAME}",
    rf"(repository-code: \"?https://github\.com/){OWNER_AND_NAME}",
]


def repository(root=ROOT):
    """OWNER/NAME as pyproject.toml has it."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    url = tomllib.loads(text)["project"]["urls"]["Repository"]
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", url)
    if not found:
        raise ValueError(f"Repository in pyproject.toml is {url!r}; badges and %pip lines need "
                         "https://github.com/OWNER/NAME")  # fmt: skip
    return found[1]


def renamed(text, name):
    """The text with this repository's name in every link of the shapes above."""
    for shape in SHAPES:
        text = re.sub(shape, lambda match: match[1] + name, text)
    return text


def badge_line(path, name):
    """Badges that open a notebook in Colab and in Binder. path: from the repository's root."""
    colab = f"https://colab.research.google.com/github/{name}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{name}/HEAD?labpath={quote(path, safe='')}"
    return (
        f"[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def with_badges(text, path, name):
    """A tutorial's JSON with the badge line right below its title, and only there."""
    notebook = json.loads(text)
    cell = notebook["cells"][0]
    title, *rest = "".join(cell["source"]).split("\n")
    rest = [line for line in rest if not line.startswith("[![")]
    while rest and not rest[0].strip():
        rest.pop(0)
    lines = [title, "", badge_line(path, name), "", *rest]
    cell["source"] = "\n".join(lines).rstrip().splitlines(keepends=True)
    return as_text(notebook)


def with_setup(text, name):
    """A notebook's JSON with the lines that install the kit on Colab in its first code cell."""
    notebook = json.loads(text)
    for cell in [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][:1]:
        rest = re.sub(OLD_SETUP, "", "".join(cell["source"])).lstrip("\n")
        cell["source"] = f"{SETUP.format(name=name)}\n{rest}".splitlines(keepends=True)
    return as_text(notebook)


def as_text(notebook):
    """A notebook as nbformat writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def stamp(root=ROOT):
    """Bring every badge and %pip line up to date. Returns the paths that changed."""
    name, changed = repository(root), []
    found = [path for pattern in NOTEBOOKS for path in sorted(root.glob(pattern))]
    badged = {*root.glob(TUTORIALS), *root.glob(EXERCISES)}
    installing = badged | set(root.glob(TEMPLATES))
    for path in [root / page for page in PAGES if (root / page).is_file()] + found:
        before = path.read_text(encoding="utf-8")
        after = renamed(before, name)
        if path in badged:
            after = with_badges(after, path.relative_to(root).as_posix(), name)
        if path in installing:
            after = with_setup(after, name)
        if after != before:
            part = path.with_name(f".{path.name}.part")
            part.write_text(after, encoding="utf-8", newline="\n")
            os.replace(part, path)
            changed.append(path.relative_to(root).as_posix())
    return changed


if __name__ == "__main__":
    try:
        print("\n".join(stamp()) or "every badge is up to date")
    except ValueError as problem:
        sys.exit(str(problem))
