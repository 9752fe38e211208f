"""Gather the pages of the site and build it in build/site/html. Run by `make site`.

Nothing is written twice: pages lie in docs/, notebooks, the teacher's page and the models' card
where they are, the reference in the docstrings. Here all of them are copied into one folder; links
between them follow, and links to other files of the repository lead to its page on GitHub.
"""

import json
import os
import re
import runpy
import shutil
import sys
import sysconfig
from pathlib import Path

from sphinx.cmd.build import build_main

import kit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SITE = ROOT / "build" / "site"
TWIN = "sample+-cnn"  # the model of the page to play with

# Pages that lie elsewhere: path in the repository -> name in the site.
ELSEWHERE = {
    "README.md": "index.md",
    "workshop/README.md": "teach.md",
    "kit/weights/README.md": "models.md",
    "benchmarks/climb/tried.md": "tried.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
BADGES = {
    "https://colab.research.google.com/assets/colab-badge.svg": "/_static/colab.svg",
    "https://mybinder.org/badge_logo.svg": "/_static/binder.svg",
}
INCLUDE = re.compile(r"^```\{include\} (\S+)\n:start-after: (.*)\n:end-before: (.*)\n```\n", re.M)
LINK = re.compile(r'(\]\(|(?:src|href)=")(?![a-z]+:|[#/])([^)#\s"]+)(?=[)#"])')
TERM = re.compile(r"\[([^\]]+)\]\([^)\s]*\bglossary\.md#([\w-]+)\)")

FIGURE = (
    "![Single-trial correlation against CPU seconds of training, for each step of the ladder, with "
    "the true rates as a line above all](ladder.png)"
)

# The reference: page -> its title and the stage whose names it lists, those of `kit` first.
STAGES = {
    "data": "Recordings",
    "models": "Models",
    "layers": "Parts of models",
    "training": "Training",
    "evaluation": "Scores",
    "metrics": "Metrics",
    "challenge": "Submissions and rankings",
    "hosting": "Hosting a challenge",
    "lab": "The laboratory",
    "plots": "Figures",
    "widgets": "Widgets",
    "machine": "Machine and files",
}


# ---- pages ----


def site_paths():
    """Path in the repository -> path in the site, of every page, notebook and picture."""
    paths = dict(ELSEWHERE)
    for path in [*HERE.glob("*.md"), *ROOT.glob("kit/weights/*.md")]:
        name = path.relative_to(ROOT).as_posix()
        paths.setdefault(name, path.name if path.parent == HERE else f"cards/{path.name}")
    for pattern in ("notebooks/*.ipynb", "notebooks/solutions/*.ipynb", "benchmarks/*.png"):
        for path in ROOT.glob(pattern):
            paths[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT).as_posix()
    return paths


def with_links(text, origin, target, paths, address):
    """The text of the page `origin`, with links as they are from the site's page `target`."""

    def moved(match):
        linked = os.path.normpath(os.path.join(os.path.dirname(origin), match[2]))
        if linked in paths:
            return match[1] + os.path.relpath(paths[linked], os.path.dirname(target))
        if (ROOT / linked).exists():
            kind = "tree" if (ROOT / linked).is_dir() else "blob"
            return f"{match[1]}{address}/{kind}/main/{linked}"
        return match[0]

    for far, near in BADGES.items():
        text = text.replace(far, near)
    text = TERM.sub(lambda found: f"{{term}}`{found[1]} <{spelled(found[2])}>`", text)
    return LINK.sub(moved, text)


def spelled(anchor):
    """The glossary's term for the anchor of a link: `tuning-curve` is `tuning curve`."""
    glossary = (HERE / "glossary.md").read_text(encoding="utf-8").partition("{glossary}\n")[2]
    terms = re.findall(r"^(\w.*)$", glossary, flags=re.M)
    return next((term for term in terms if slug(term) == anchor), anchor)


def slug(term):
    """A term as the anchor of a link."""
    return re.sub(r"\W+", "-", term.lower()).strip("-")


def page(path, target, paths, address):
    """A Markdown page for the site, with the parts of other pages that it includes."""
    text = path.read_text(encoding="utf-8")
    origin = path.relative_to(ROOT).as_posix()

    def included(match):
        source = (path.parent / match[1]).resolve()
        part = source.read_text(encoding="utf-8").split(match[2], 1)[1].split(match[3], 1)[0]
        return with_links(part, source.relative_to(ROOT).as_posix(), target, paths, address)

    pieces = INCLUDE.split(text)[::4]
    parts = [included(match) for match in INCLUDE.finditer(text)]
    pieces = [with_links(piece, origin, target, paths, address) for piece in pieces]
    return "".join(a + b for a, b in zip(pieces, [*parts, ""], strict=True))


def notebook(path, target, paths, address):
    """A notebook for the site: with its links, and a text for whoever cannot see a figure."""
    book, heading = json.loads(path.read_text(encoding="utf-8")), ""
    origin = path.relative_to(ROOT).as_posix()
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ (.*)$", source, flags=re.M)
            heading = re.sub(r"[`*$]", "", headings[-1]) if headings else heading
            cell["source"] = with_links(source, origin, target, paths, address)
        elif any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            alternative = {"image": {"alt": f"Figure of “{heading}”; the text around it reads it"}}
            cell["metadata"].setdefault("mystnb", alternative)
    return json.dumps(book, ensure_ascii=False)


# ---- reference ----


def reference_names():
    """Page of the reference -> the names that it explains, as they are typed."""
    names = {stage: [] for stage in STAGES}
    for name, found in vars(kit).items():
        if is_public(name, found):
            stage = found.__module__.split(".")[1].replace("files", "machine")
            names[stage].append(f"kit.{name}")
    flat = {id(found) for found in vars(kit).values()}
    for stage in list(STAGES)[:-1]:
        module = getattr(kit, stage)
        own = [name for name in vars(module)
               if getattr(vars(module)[name], "__module__", "") == module.__name__]  # fmt: skip
        for name in getattr(module, "__all__", own):
            found = getattr(module, name)
            if is_public(name, found) and id(found) not in flat:
                names[stage].append(f"kit.{stage}.{name}")
    return names


def is_public(name, found):
    """Whether a name is a function or a class of the kit."""
    ours = str(getattr(found, "__module__", "")).startswith("kit.")
    return not name.startswith("_") and ours and callable(found)


def reference_page(stage, names):
    """The names of a stage in reStructuredText: a table, then each with its docstring."""
    title, module = STAGES[stage], getattr(kit, stage)
    about = (module.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    lines = [title, "=" * len(title), "", about, "", ".. autosummary::", "   :nosignatures:", ""]
    lines += [f"   {name}" for name in names]
    for name in names:
        found = kit
        for part in name.split(".")[1:]:
            found = getattr(found, part)
        is_class = isinstance(found, type)
        lines += ["", f".. auto{'class' if is_class else 'function'}:: {name}"]
        lines += ["   :members:"] if is_class else []
        if hasattr(found, "_fields"):
            lines.append(f"   :exclude-members: {', '.join(found._fields)}")
    return "\n".join([*lines, ""])


# ---- the site ----


def gather(folder):
    """Write all pages of the site into an empty folder."""
    address = (
        "https://github.com/" + runpy.run_path(ROOT / "notebooks" / "badges.py")["repository"]()
    )
    paths = site_paths()
    for origin, target in paths.items():
        path, out = ROOT / origin, folder / target
        if origin == "README.md":  # the start page takes what it shows of it
            continue
        out.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            shutil.copy(path, out)
        else:
            write = notebook if path.suffix == ".ipynb" else page
            out.write_text(write(path, target, paths, address), encoding="utf-8")
    draw_ladder(folder / "ladder.png")
    page_of_it = folder / "ladder.md"
    page_of_it.write_text(page_of_it.read_text("utf-8").replace("<!-- figure -->", FIGURE), "utf-8")
    for path in folder.glob("*.md"):  # a pattern in a list of pages may have nothing to list
        lines = re.split(r"(?m)^([\w/]+\*\n)", path.read_text(encoding="utf-8"))
        empty = {line for line in lines[1::2] if not any(folder.glob(line.strip()))}
        path.write_text("".join(line for line in lines if line not in empty), encoding="utf-8")
    shutil.copytree(HERE / "_static", folder / "_static")
    (folder / "reference").mkdir()
    for stage, names in reference_names().items():
        text = reference_page(stage, names)
        (folder / "reference" / f"{stage}.rst").write_text(text, encoding="utf-8")


def draw_ladder(path):
    """Draw the ladder from its records, as notebook 10 does."""
    ladder = json.loads((ROOT / "kit" / "weights" / "ladder.json").read_text())
    ax = kit.plots.ladder(ladder["steps"])
    ax = kit.plots.ladder(ladder["tried"], ax, "tried, does not pay", kit.plots.GREY)
    kit.plots.reference_line(ladder["true rates"], "true rates", ax)
    ax.figure.savefig(path, dpi=150, bbox_inches="tight")


def build(out=SITE / "html"):
    """Build the site; a warning is an error. Returns the exit status of Sphinx."""
    source, static = SITE / "source", out / "_static"
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    gather(source)
    options = ["-W", "--keep-going", "-q", "-j", "2", "-b", "html", "-d", str(SITE / "doctrees")]
    status = build_main([*options, "-c", str(HERE), str(source), str(out)])
    mathjax = Path(sysconfig.get_path("purelib"), "sphinx-mathjax-offline", "static", "mathjax")
    (static / "mathjax").mkdir(parents=True, exist_ok=True)
    shutil.copy(mathjax / "tex-svg.js", static / "mathjax")
    kit.lab.page(kit.pretrained(TWIN), out / "twin.html")
    return status


if __name__ == "__main__":
    status = build()
    print(f"the site is in {(SITE / 'html' / 'index.html').relative_to(ROOT)}")
    sys.exit(status)
