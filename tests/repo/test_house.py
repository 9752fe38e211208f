"""The rules of the house that a machine can check: sizes, hints, and how far imports reach."""

import ast
import importlib
import operator
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType

import grimp

KIT = Path(__file__).resolve().parents[2] / "kit"
FILES = sorted(KIT.rglob("*.py"))


def test_files_are_short():
    lines = {str(path.relative_to(KIT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > 350} == {}


def public_functions(body):
    """Functions that others may call, methods of public classes included."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        public = not getattr(node, "name", "_").startswith("_")
        if isinstance(node, ast.FunctionDef) and (public or node.name == "__init__"):
            yield node


def test_public_functions_have_type_hints():
    arguments = []
    for path in FILES:
        for function in public_functions(ast.parse(path.read_text()).body):
            every = [*function.args.args, *function.args.kwonlyargs]
            arguments += [each for each in every if each.arg not in ("self", "cls")]
    hinted = [each for each in arguments if each.annotation is not None]
    assert len(hinted) >= 0.95 * len(arguments)


def test_public_functions_have_docstrings():
    for path in FILES:
        for function in public_functions(ast.parse(path.read_text()).body):
            known = function.name in ("__init__", "forward", "backward", "main")
            assert known or ast.get_docstring(function), f"{path.name}: {function.name}"


def test_stages_can_be_read_in_one_sitting():
    """A folder inside a stage, such as `models/cores`, is read by itself."""
    lines = Counter()
    for path in FILES:
        lines[str(path.parent.relative_to(KIT))] += len(path.read_text().splitlines())
    assert {folder: count for folder, count in lines.items() if count > 1500} == {}


def test_no_submodule_is_hidden_behind_a_name_of_its_package():
    kit = importlib.import_module("kit")
    for path in FILES:
        module = ".".join(path.relative_to(KIT.parent).with_suffix("").parts)
        if path.name not in ("__init__.py", "__main__.py") and path.parent.name != "bundle_files":
            importlib.import_module(module)
            assert isinstance(operator.attrgetter(module.partition(".")[2])(kit), ModuleType), (
                module
            )


def test_imports_are_at_most_seven_deep():
    """Only files that hold code are steps, not what a stage exports; nor are imports for hints."""
    graph = grimp.build_graph("kit", exclude_type_checking_imports=True)
    packages = {name for name in graph.modules if graph.find_children(name)}

    @cache
    def depth(module):
        below = graph.find_modules_directly_imported_by(module) - packages
        return 1 + max(map(depth, below), default=0)

    assert max(map(depth, graph.modules - packages)) <= 7
