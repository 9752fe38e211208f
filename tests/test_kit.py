"""The public face of the kit: its names, and what an import brings."""

import subprocess
import sys

import pytest

import kit


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_all_is_sorted_and_leaves_room():
    assert kit.__all__ == sorted(kit.__all__)
    assert len(kit.__all__) <= 38
    assert all(hasattr(kit, name) for name in kit.__all__)
    assert dir(kit) == kit.__all__


BESIDE = [
    "BundleConfig",
    "Dataset",
    "History",
    "Recording",
    "Runs",
    "Scores",
    "ViTConfig",
    "WithholdConfig",
]


@pytest.mark.parametrize("name", BESIDE)
def test_types_beside_all_are_importable(name):
    assert name not in kit.__all__ and getattr(kit, name).__doc__


def test_getattr_of_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'kit' has no attribute 'plot'"):
        kit.plot  # noqa: B018


def test_import_is_light():
    loaded = run("import sys, kit; print(*sys.modules)")
    heavy = ("lightning_fabric", "joblib", "jinja2", "matplotlib", "distributed", "ipywidgets")
    for module in (*heavy, "IPython", "kit.plots", "kit.widgets"):
        assert module not in loaded


def test_import_leaves_threads_alone():
    before, after = run(
        "import torch; print(torch.get_num_threads()); import kit; print(torch.get_num_threads())"
    )
    assert before == after


@pytest.mark.parametrize("use", ["plots.images", "widgets.trial_explorer"])
def test_plots_and_widgets_are_loaded_on_first_use(use):
    loaded = f"print('kit.{use.partition('.')[0]}' in sys.modules)"
    assert run(f"import kit, sys; {loaded}; kit.{use}; {loaded}") == ["False", "True"]
