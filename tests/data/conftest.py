"""One recording of the official layout, written once."""

import pytest
import tiny

import kit


@pytest.fixture(scope="session")
def arrays():
    arrays = tiny.arrays()
    arrays["responses"][:, 4] *= 1e-6  # a neuron that is all but silent
    return arrays


@pytest.fixture(scope="session")
def source(tmp_path_factory, arrays):
    """The path of its zip."""
    return tiny.write(tmp_path_factory.mktemp("source"), arrays)


@pytest.fixture(scope="session")
def mouse(source, tmp_path_factory):
    return kit.load(source, folder=tmp_path_factory.mktemp("data")).mouse
