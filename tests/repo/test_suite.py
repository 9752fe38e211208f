"""The tests themselves: what waits says what it saw, a busy machine is not an error, none idles."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from waiting import TooLong, begin, wait_for_process, wait_until

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


# ---- waiting ----


def test_wait_until_returns_what_it_waited_for():
    states = iter([None, 0, "ready"])
    assert wait_until(lambda: next(states), "it is ready", str, pause=lambda _: None) == "ready"


def test_wait_until_says_what_it_saw_instead():
    with pytest.raises(TooLong, match=r"0 s until the cells run; seen instead: cells '\[ \]'"):
        wait_until(lambda: False, "the cells run", lambda: "cells '[ ]'", limit=0)


def test_begin_asks_again_for_what_was_lost():
    asked = []
    begin(lambda: asked.append(1), lambda: len(asked) == 3, "it begins", str, limit=0)
    assert len(asked) == 3


def test_begin_gives_up_and_says_how_often_it_asked():
    asked = []
    with pytest.raises(TooLong, match=r"it begins, asked for 5 times; seen instead: idle"):
        begin(lambda: asked.append(1), lambda: False, "it begins", lambda: "idle", limit=0)
    assert len(asked) == 5


def test_wait_for_process_notices_its_end():
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="a file appears: it ended with 3; its log"):
        wait_for_process(process, lambda: False, "a file appears", lambda: "its log")


def test_limits_of_time_are_those_of_waiting():
    """A number of seconds in a test is a machine on which it fails; `waiting` has the only ones."""
    own = r"time\.(?:monotonic|perf_counter)\(|timeout=\d+[,)]|wait\(\d|join\(\d|deadline=\d"
    found = []
    for path in TESTS.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{path.name}: {line.strip()}" for line in lines if re.search(own, line)]
    allowed = ("waiting.py", "test_suite.py")
    assert [line for line in found if not line.startswith(allowed)] == []


# ---- the order of the groups ----


def item(path, name, *marks):
    marks = {mark.name: mark.mark for mark in marks}
    found = SimpleNamespace(path=ROOT / path, name=name, get_closest_marker=marks.get)
    found.add_marker = lambda mark: marks.update({mark.name: mark.mark})
    return found


def test_groups_begin_with_the_longest(pytestconfig):
    """And the tests of a file stay together, in their order."""
    slow, browser = pytest.mark.slow, pytest.mark.browser
    items = [
        item("tests/a/test_one.py", "test_x"),
        item("tests/a/test_two.py", "test_x"),
        item("tests/a/test_two.py", "test_y", slow),
        item("tests/browser/test_lab.py", "test_x", slow, browser),
        item("tests/b/test_one.py", "test_x", slow),
        item("tests/repo/test_notebooks.py", "test_execute_x", slow, pytest.mark.xdist_group("00")),
        item("notebooks/00.ipynb", "Cell 0"),
        item("notebooks/solutions/00.ipynb", "Cell 0"),
    ]
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    conftest.pytest_collection_modifyitems(pytestconfig, items)
    groups = ["notebooks/00.ipynb", "notebooks/solutions/00.ipynb", "tests/browser/test_lab.py",
              "00", *["tests/a/test_two.py"] * 2, "tests/b/test_one.py",
              "tests/a/test_one.py"]  # fmt: skip
    assert [conftest.group(each) for each in items] == groups
    assert [each.name for each in items[4:6]] == ["test_x", "test_y"]


# ---- notebooks whose outputs come late ----

LATE = """
import time
from ipykernel.iostream import IOPubThread

send = IOPubThread._really_send


def send_late(thread, message, *arguments, **options):
    if any(b'"idle"' in part for part in message):
        IOPubThread._really_send = send
        time.sleep(6)
    send(thread, message, *arguments, **options)


IOPubThread._really_send = send_late
print("late")
"""


@pytest.mark.slow
def test_nbval_waits_for_late_outputs(tmp_path):
    """As on a busy machine: a cell has replied, and the last of its messages is 6 s behind."""
    cell = nbformat.v4.new_code_cell(LATE)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "late.ipynb")
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "conftest",
               "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env",
               "--nbval-cell-timeout=600", tmp_path / "late.ipynb"]  # fmt: skip
    own = os.environ | {"PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
