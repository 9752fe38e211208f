"""Every test ends without widgets, which keep models and pictures, and without pyplot's figures."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def nothing_left():
    figures = plt.get_fignums()
    yield
    ipywidgets.Widget.close_all()
    assert plt.get_fignums() == figures
