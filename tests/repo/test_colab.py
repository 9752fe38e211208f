"""Installed beside what Colab has, the kit replaces nothing: not numpy, not torch, nothing else.

pip is asked, without a network, what it would install into an environment that holds the kit's
dependencies as empty shells: names and versions without code. It may choose among newer shells of
all of them, and answers with a report that programs read.
"""

import importlib.metadata
import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
LOWEST = {r.name: next(s.version for s in r.specifier if s.operator == ">=") for r in RUNTIME}

# What a Colab session of August 2026 holds, where known; the rest at its lower bound.
COLAB = {"numpy": "2.1.3", "torch": "2.11.0+cu128", "ipywidgets": "7.7.1", "matplotlib": "3.10.0",
         "tqdm": "4.67.1", "joblib": "1.5.1", "platformdirs": "4.3.8", "safetensors": "0.6.2",
         "requests": "2.32.4", "filelock": "3.19.1"}  # fmt: skip
BESIDE_COLAB = {name: COLAB.get(name, lowest) for name, lowest in LOWEST.items()}
NEWEST = "9999.0"  # of every dependency, what pip would take if it were to fetch one
PYTHONS = ["3.12", "3.13"]  # what Colab has had lately; pip is asked with the one at hand


def pip(*arguments):
    """Run pip, which must succeed, apart from this machine's settings and its PYTHONPATH."""
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *arguments]
    own = os.environ | {"PIP_CONFIG_FILE": os.devnull, "PYTHONPATH": ""}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr


def info(name, version):
    """The name of a package's folder of metadata, and the metadata."""
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return f"{name.replace('-', '_')}-{version}.dist-info", text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The kit, built from a copy: setuptools leaves its own build folder where it works."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "kit", source / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    built = tmp_path_factory.mktemp("built")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", built]
    pip("wheel", *options, source)
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def offered(tmp_path_factory):
    """A folder with an empty wheel of every dependency, newer than any that is there."""
    folder = tmp_path_factory.mktemp("offered")
    for name in LOWEST:
        inside, text = info(name, NEWEST)
        path = folder / f"{inside.removesuffix('.dist-info')}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{inside}/METADATA", text)
            archive.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{inside}/RECORD", "")
    return folder


@pytest.fixture
def beside(tmp_path):
    """A function from {name: version} to the Python of an environment that holds just these."""

    def make(versions):
        venv = [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"]
        subprocess.run(venv, check=True)
        python = next((tmp_path / "venv").glob("[bS]*/python*"))
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
        for name, version in versions.items():
            inside, text = info(name, version)
            shell = Path(site.stdout.strip()) / inside
            shell.mkdir()
            (shell / "METADATA").write_text(text, encoding="utf-8")
        return python

    return make


@pytest.fixture
def would_install(beside, wheel, offered, tmp_path):
    """A function from {name: version} to what pip would install beside these: {name: version}."""

    def ask(versions):
        report = tmp_path / "report.json"
        options = ["--dry-run", "--no-index", "--find-links", offered, "--report", report]
        pip("--python", beside(versions), "install", *options, wheel)
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
        return {item["metadata"]["name"]: item["metadata"]["version"] for item in items}

    return ask


@pytest.mark.parametrize("versions", [BESIDE_COLAB, LOWEST], ids=["colab", "lowest"])
def test_install_adds_only_the_kit(versions, would_install):
    assert would_install(versions) == {"sensorium-kit": PROJECT["version"]}


@pytest.mark.parametrize("python", PYTHONS)
def test_install_on_each_python_of_colab(python, wheel):
    """No dependency depends on Python's version, and the wheel fits all that the kit allows."""
    assert wheel.name.endswith("-py3-none-any.whl")
    assert python in SpecifierSet(PROJECT["requires-python"])
    assert [r for r in RUNTIME if r.marker or r.url or r.extras] == []
    for versions in (BESIDE_COLAB, LOWEST):
        assert [r for r in RUNTIME if versions[r.name] not in r.specifier] == []


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_install_replaces_a_version_below_the_bound(name, would_install):
    """The tests above can fail: they would where a bound is higher than what Colab has."""
    found = would_install(BESIDE_COLAB | {name: "0.1"})
    assert found == {"sensorium-kit": PROJECT["version"], name: NEWEST}


def test_install_fetches_a_missing_dependency(would_install):
    versions = {name: version for name, version in BESIDE_COLAB.items() if name != "platformdirs"}
    assert would_install(versions).keys() == {"sensorium-kit", "platformdirs"}


# The lines that install the kit there.

BADGES = runpy.run_path(str(ROOT / "notebooks" / "badges.py"))
SETUP = BADGES["SETUP"].replace("%pip install", "pass  # %pip install")
INSTALLING = [*(ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")]
INSTALLING += [*(ROOT / "notebooks").glob("exercises/*.ipynb"), *ROOT.glob("notebooks/t*.ipynb")]


@pytest.mark.parametrize("path", INSTALLING, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_setup_is_the_same_in_every_notebook(path):
    text = path.read_text(encoding="utf-8")
    same = BADGES["with_setup"](text, BADGES["repository"]()) == text
    assert same, "make badges"


@pytest.fixture
def on_colab(monkeypatch):
    """A function that runs the lines as on Colab, where numpy has this version on the disk."""
    monkeypatch.setitem(sys.modules, "google.colab", object())

    def run(version):
        monkeypatch.setattr(importlib.metadata, "version", {"numpy": version}.get)
        exec(SETUP, {})

    return run


def test_setup_says_restart_if_numpy_has_been_replaced(on_colab, monkeypatch):
    on_colab(np.__version__)
    with pytest.raises(RuntimeError, match="replaced numpy: Runtime > Restart session"):
        on_colab("9999.0")
    monkeypatch.delitem(sys.modules, "numpy")
    on_colab("9999.0")  # not in memory yet


def test_setup_does_nothing_elsewhere(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9999.0")
    exec(SETUP, {})
