"""Settings of the site for Sphinx. `docs/build.py` gathers its pages first; run `make site`."""

import ast
import dataclasses
import inspect
import re
import runpy
from pathlib import Path

from docutils import nodes

import kit

HERE = Path(__file__).resolve().parent
repository = runpy.run_path(HERE.parent / "notebooks" / "badges.py")["repository"]

project = "sensorium-kit"
author = "The sensorium-kit authors"
project_copyright = author
version = release = kit.__version__
html_title = project
root_doc = "index"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]

# Notebooks are shown with the outputs that are committed, and nothing is fetched for widgets.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# One file of MathJax, with its fonts in it, which build.py copies from the package. No menu, and no
# speech: both would ask for further files.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {
    "options": {"enableMenu": False},
}

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
default_role = "py:obj"
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "glossary": []}
html_theme_options = {
    "logo": {"text": project},
    "github_url": f"https://github.com/{repository()}",
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    "footer_start": ["sphinx-version"],
    "footer_end": ["theme-version"],
    "secondary_sidebar_items": ["page-toc"],
}


def in_rst(text):
    """A line of a docstring as reStructuredText: its words are meant literally but for `code`."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*|\\_])", r"\\\1", p) for p in parts)


ARGUMENTS = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (.*)")


def reformat(lines):
    """The kit's plain docstrings as reStructuredText: arguments as a list, formulas and examples.

    `name: text`, with its further lines indented, is an argument; an indented paragraph behind an
    empty line is a formula; what begins with `>>>` stays as it is until the next empty line.
    """
    done, in_example, previous = [], False, ""
    for line in lines:
        begins = not previous.strip() or previous.rstrip().endswith((".", ":"))
        argument = ARGUMENTS.fullmatch(line) if begins else None
        indented = line.startswith("    ")
        if not line.strip():
            in_example = False
            done.append("")
        elif line.startswith(">>>") or in_example:
            in_example = True
            done.append(line)
        elif argument:
            names = ", ".join(f"``{name}``" for name in argument[1].split(", "))
            done += ["", f"- {names}: {in_rst(argument[2])}"]
        elif indented and not previous.strip():
            done += ["::", "", line, ""]
        elif indented:
            done.append("  " + in_rst(line.strip()))
        elif done and done[-1].startswith(("- ", "  ")):  # the list has ended
            done += ["", in_rst(line)] if begins else ["  " + in_rst(line)]
        else:
            done.append(in_rst(line))
        previous = line
    return done


def has_fields(found):
    """Whether a class is a dataclass or a named tuple."""
    return dataclasses.is_dataclass(found) or hasattr(found, "_fields")


def field_table(settings):
    """The fields of such a class, with the comments that stand behind them in the source."""
    source = inspect.getsource(settings)
    lines = source.splitlines()
    rows = []
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign) and not node.target.id.startswith("_"):
            default = f" = {ast.unparse(node.value)}" if node.value else ""
            default = default.replace("field(default_factory=list)", "[]")
            comment = lines[node.end_lineno - 1].partition("  # ")[2].removesuffix("  # fmt: skip")
            rows.append(f"- ``{node.target.id}: {ast.unparse(node.annotation)}{default}``")
            rows[-1] += f" {in_rst(comment)}" if comment else ""
    return ["", *rows, ""]


def on_docstring(app, what, name, found, options, lines):
    """Autodoc's hook: docstrings are written for `help()`, and shown here as lists and code."""
    lines[:] = reformat(lines)
    if what == "class" and has_fields(found):
        example = next((i for i, line in enumerate(lines) if line.startswith(">>>")), len(lines))
        lines[example:example] = field_table(found)


def on_signature(app, what, name, found, options, signature, returns):
    """Autodoc's hook: the fields of a class stand below it, once."""
    return ("", "") if what == "class" and has_fields(found) else None


def on_page(app, doctree):
    """Sphinx's hook: a table that Markdown gave a header without a word has none."""
    for header in list(doctree.findall(nodes.thead)):
        if not header.astext().strip():
            header.parent.remove(header)


def on_body(app, pagename, templatename, context, doctree):
    """Sphinx's hook: the empty corner of a table with headers on two sides is no header."""
    empty = re.compile(r'<th class="head[^"]*"><p></p></th>')
    context["body"] = empty.sub("<td></td>", context.get("body", ""))


def setup(app):
    """Sphinx calls this once."""
    app.connect("doctree-read", on_page)
    app.connect("html-page-context", on_body)
    app.connect("autodoc-process-docstring", on_docstring)
    app.connect("autodoc-process-signature", on_signature)
