"""The examples in the docstrings of the kit are run, on the sample mice, in an empty folder."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch

import kit

MODULES = [
    module.name
    for module in pkgutil.walk_packages(kit.__path__, "kit.")
    if module.name[-6:] != "main__"
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ["kit", *MODULES]:
        for test in finder.find(importlib.import_module(name), name):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("test", list(examples()))
def test_example_shows_what_comes(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test.globs = {"kit": kit, "np": np, "torch": torch}
    said = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not failed, "".join(said)
