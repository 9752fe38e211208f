"""Two mice of 18 x 32 pixels whose neurons like brightness at one place each."""

import pytest
import tiny

import kit


@pytest.fixture(scope="module")
def data(folder):
    """300 trials for training: enough to learn."""
    arrays = tiny.arrays(tiers={"train": 300, "validation": 80})
    return kit.load(tiny.write(folder, arrays), size=(18, 32), folder=folder / "data")


@pytest.fixture(scope="module")
def small(folder):
    """40 trials for training: enough for the tests of the loop itself."""
    return kit.load(tiny.write(folder, mouse="8-1-1"), size=(18, 32), folder=folder / "data")
