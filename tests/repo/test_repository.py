"""The files around the package agree with each other and with what the README promises."""

import ast
import json
import re
import runpy
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
CONDA = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}  # conda-forge's name: PyPI's
TARGETS = ["tutorial", "test", "lab", "notebooks", "refresh", "weights", "exercises", "badges",
           "offline", "lint", "peer", "widgets", "elsewhere", "lowest", "site", "help",
           "clean"]  # fmt: skip


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def specifiers(lines):
    """Requirement lines as a dict of name to specifier, comments left out."""
    lines = (line.partition("#")[0].strip() for line in lines)
    return {r.name: r.specifier for r in map(Requirement, filter(None, lines))}


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads(read("pyproject.toml"))


@pytest.fixture(scope="module")
def runtime(pyproject):
    return specifiers(pyproject["project"]["dependencies"])


@pytest.fixture(scope="module")
def extras(pyproject):
    found = pyproject["project"]["optional-dependencies"]
    return {name: specifiers(lines) for name, lines in found.items()}


@pytest.fixture(scope="module")
def build(pyproject):
    return specifiers(pyproject["build-system"]["requires"])


@pytest.fixture(scope="module")
def pins():
    return specifiers(read("requirements.txt").splitlines())


@pytest.fixture(scope="module")
def makefile():
    return read("Makefile")


@pytest.fixture(scope="module")
def dockerfile():
    """Its instructions as (name, rest), with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", read("Dockerfile"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_requirements_name_the_packages_of_pyproject(runtime, extras, build, pins):
    wanted = runtime | build
    for extra in extras.values():
        wanted |= extra
    assert set(pins) == set(wanted)
    for name, pin in pins.items():
        (spec,) = pin
        assert spec.operator == "==", f"{name} is not pinned"
        assert spec.version in wanted[name], f"{name} {spec.version} is not {wanted[name]}"


def test_pyproject_has_no_upper_bounds(runtime, extras):
    """But for a version that does not work."""
    for group in (runtime, *extras.values()):
        for name, bounds in group.items():
            assert sorted({s.operator for s in bounds} - {"!="}) == [">="], name


def test_environment_has_the_bounds_of_pyproject(runtime, extras, build, pyproject):
    environment = yaml.safe_load(read("environment.yml"))
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    conda = specifiers(entry for entry in environment["dependencies"] if isinstance(entry, str))
    assert str(conda.pop("python")) == pyproject["project"]["requires-python"]
    assert not conda.pop("pip")
    named = {CONDA.get(name, name): bounds for name, bounds in conda.items()} | specifiers(pip)
    assert named == runtime | extras["notebooks"] | build
    assert set(specifiers(pip)) == {"lightning-fabric"}
    assert "defaults" not in environment["channels"]


def test_version_is_the_same_everywhere(pyproject):
    code = read("kit/__init__.py")
    literal = re.search(r'^__version__ = "([^"]+)"', code, flags=re.M)[1]
    version = pyproject["project"]["version"]
    assert literal == version
    assert str(yaml.safe_load(read("CITATION.cff"))["version"]) == version
    assert f"## [{version}]" in read("CHANGELOG.md")


def test_import_contract_has_seven_layers_and_every_module(pyproject):
    layered, acyclic = pyproject["tool"]["importlinter"]["contracts"]
    assert acyclic["type"] == "acyclic_siblings"
    layers = [re.split(r" [|:] ", layer) for layer in layered["layers"]]
    assert len(layers) == 7
    entries = [entry for layer in layers for entry in layer]
    named = [entry.strip("()") for entry in entries]
    assert len(named) == len(set(named))
    present = {p.stem for p in (ROOT / "kit").glob("*.py")} - {"__init__", "__main__"}
    present |= {p.parent.name for p in (ROOT / "kit").glob("*/__init__.py")}
    assert present <= set(named)
    assert {entry for entry in entries if not entry.startswith("(")} <= present


def test_dockerfile_fits_binder(dockerfile):
    names = [name for name, _ in dockerfile]
    of = {name: [rest for n, rest in dockerfile if n == name] for name in names}
    (base,) = of["FROM"]
    assert re.fullmatch(r"[\w./-]+:\d[\w.-]*", base), "the base image's tag is not pinned"
    assert {"NB_USER=jovyan", "NB_UID=1000"} <= set(of["ARG"])
    assert any("environment.yml" in rest and "env create" in rest for rest in of["RUN"])
    assert any("useradd" in rest and "${NB_UID}" in rest for rest in of["RUN"])
    assert any(rest.startswith("--chown=${NB_UID}") and "${HOME}" in rest for rest in of["COPY"])
    assert of["USER"] == ["${NB_UID}"], "notebooks would run as root"
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert ast.literal_eval(of["ENTRYPOINT"][0]) == ["tini", "--"]  # execs what it is given
    assert ast.literal_eval(of["CMD"][0])[:2] == ["jupyter", "lab"]


def test_dockerfile_keeps_no_cache_and_no_second_copy(dockerfile):
    assert any("PIP_NO_CACHE_DIR=1" in rest for name, rest in dockerfile if name == "ENV")
    runs = [rest for name, rest in dockerfile if name == "RUN"]
    assert any("conda clean --all" in rest for rest in runs)
    assert not any(re.search(r"chown .*\$\{HOME\}(?!/)", rest) for rest in runs)


def test_devcontainer_installs_like_make(makefile, pyproject):
    container = json.loads(read(".devcontainer/devcontainer.json"))
    version = re.fullmatch(r"python:([\d.]+)-\w+", container["image"])[1]
    assert version in SpecifierSet(pyproject["project"]["requires-python"])
    program, target = container["postCreateCommand"].split()
    assert program == "make" and f"\n{target}: " in makefile
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["jupyter.widgetScriptSources"] == [], "a CDN would be asked"
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")


def test_make_help_lists_every_target(makefile):
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make (\w+) ", helped.stdout, flags=re.M)) >= set(TARGETS)
    assert set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.M)[1].split()) >= set(TARGETS)


def test_ci_runs_what_the_readme_says(makefile):
    """The last command closes the log with pytest's own summary."""
    assert re.findall(r"^make \w+", read("README.md"), flags=re.M)[:2] == [
        "make tutorial",
        "make test",
    ]
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
    assert read(".ci/run").rstrip().endswith("\nmake elsewhere\nmake test")
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    commands = {step.get("run") for job in jobs for step in job["steps"]}
    assert {"make tutorial", "make elsewhere", "make test", "make lowest"} <= commands
    assert "s/^torch==" in makefile and "torch==2" not in makefile  # it reads the pinned one
    recipe = re.search(r"^test: .*\n((?:\t.*\n)+)", makefile, flags=re.M)[1]
    assert recipe.count("-m pytest") == 1 and recipe.rstrip().endswith(" tests")


def test_network_is_refused_in_tests():
    with socket.socket() as probe, pytest.raises(RuntimeError, match="tried to reach"):
        probe.connect(("192.0.2.1", 80))  # an address kept for examples


def test_pre_commit_hooks_are_local():
    repos = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert {repo["repo"] for repo in repos} == {"local"}


def test_citation_names_the_benchmark():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert any("2206.08666" in reference["url"] for reference in citation["references"])


def tracked_files():
    """Files that git would commit, or skip outside a checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file() and name]


def test_files_have_no_absolute_paths():
    folders = "|".join(["home", "Users", "root", "tmp", "work"])
    pattern = re.compile(rf"(?<![\w.~$}}/-])/(?:{folders})/[\w.]+")
    allowed = {"/tmp/environment.yml"}  # inside the container that the Dockerfile makes
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture, an array
            continue
        hits = set(pattern.findall(text)) - allowed
        found += [f"{path.relative_to(ROOT)}: {hit}" for hit in sorted(hits)]
    assert not found


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "workshop/README.md",
        *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
    ],
)
def test_relative_links_exist(page):
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", read(page))
    links += re.findall(r"(?:src|href)=\"(?![a-z]+:|#)([^\"#]+)\"", read(page))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


# The repository's name: set in pyproject.toml, written everywhere else by notebooks/badges.py.


@pytest.fixture(scope="module")
def badges():
    return runpy.run_path(str(ROOT / "notebooks" / "badges.py"))


@pytest.fixture(scope="module")
def tutorials():
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def test_links_to_the_repository_have_its_name(pyproject, tutorials):
    url = pyproject["project"]["urls"]["Repository"]
    owner_and_name = url.removeprefix("https://github.com/")
    solutions = (ROOT / "notebooks" / "solutions").glob("*.ipynb")
    pages = ["README.md", "CONTRIBUTING.md", "CITATION.cff", "Dockerfile", "workshop/README.md"]
    found = []
    for path in [*tutorials, *solutions, *map(ROOT.joinpath, pages)]:
        text = path.read_text(encoding="utf-8")
        found += re.findall(r"colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/main/", text)
        found += re.findall(r"mybinder\.org/v2/gh/([^/]+/[^/]+)/HEAD\?labpath=", text)
        found += re.findall(r"sensorium-kit @ git\+https://github\.com/([\w.-]+/[\w.-]+)", text)
        found += re.findall(r"repository-code: \"?https://github\.com/([\w.-]+/[\w.-]+)", text)
    assert set(found) == {owner_and_name}, "make badges"
    assert len(found) >= 2 + 3 * len(tutorials)


def test_badges_open_their_own_notebook(tutorials):
    for path in tutorials:
        first_cell = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
        assert f"/blob/main/notebooks/{path.name})" in first_cell, "make badges"
        assert f"/HEAD?labpath=notebooks%2F{path.name})" in first_cell, "make badges"


OLD_SETUP = """if "google.colab" in sys.modules:
    %pip install -q "sensorium-kit @ git+https://github.com/old/na.me"
"""


def test_badges_rewrites_the_name_of_the_repository(badges, tmp_path):
    theirs = ("[a](https://github.com/sinzlab/sensorium) git+https://github.com/sinzlab/sensorium "
              "https://colab.research.google.com/github/fastai/x/blob/main/a.ipynb")  # fmt: skip
    cell = {"cell_type": "code", "source": ["import sys\n", "\n", OLD_SETUP, "\n", "import kit"]}
    ours = ("[b](https://colab.research.google.com/github/{0}/blob/main/notebooks/00_a.ipynb) "
            "[c](https://mybinder.org/v2/gh/{0}/HEAD?labpath=notebooks%2F00_a.ipynb) "
            'pip install "sensorium-kit[test] @ git+https://github.com/{0}".')  # fmt: skip
    source = ["# Title\n", "\n", "Text with é.\n", theirs]
    notebook = {"cells": [{"cell_type": "markdown", "source": source}, cell], "nbformat": 4}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    (tmp_path / "README.md").write_text(ours.format("old/na.me") + theirs, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[project.urls]\nRepository = "https://github.com/new-owner/new.kit"\n'
    )
    assert badges["stamp"](tmp_path) == ["README.md", "notebooks/00_a.ipynb"]
    assert badges["stamp"](tmp_path) == [], "twice is the same as once"
    assert (tmp_path / "README.md").read_text("utf-8") == ours.format("new-owner/new.kit") + theirs
    text = (tmp_path / "notebooks" / "00_a.ipynb").read_text("utf-8")
    setup = badges["SETUP"].format(name="new-owner/new.kit")
    assert "".join(json.loads(text)["cells"][1]["source"]) == f"{setup}\nimport kit"
    lines = "".join(json.loads(text)["cells"][0]["source"]).split("\n")
    line = badges["badge_line"]("notebooks/00_a.ipynb", "new-owner/new.kit")
    assert lines == ["# Title", "", line, "", "Text with é.", theirs]


def test_badges_refuses_other_hosts(badges, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project.urls]\nRepository = "https://example.org/kit"\n'
    )
    with pytest.raises(ValueError, match="need https"):
        badges["stamp"](tmp_path)
