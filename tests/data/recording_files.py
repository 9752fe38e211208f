"""Checks that several tests of recordings share."""

import dataclasses

import numpy as np
import pytest

import kit

TOP = "static7-1-1-GrayImageNet-tiny"
TRIALS, NEURONS = 70, 24


def left_in(folder):
    """What lies in a data folder, locks of downloads aside."""
    return [path for path in folder.rglob("*") if path.name != "packed"]


def refused(path, folder, kind=ValueError, size=(36, 64)):
    """The sentence with which a recording is refused; nothing stays of it."""
    with pytest.raises(kind) as caught:
        kit.load(path, size, folder)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 700
    assert left_in(folder) == []
    return said


def shown(said, folder):
    """A sentence as the table shows it: without the test's own folder."""
    return said.replace(f"{folder}/", "").replace(TOP, "static…")


def assert_same(one, other):
    for field in [each for each in dataclasses.fields(one) if each.init]:
        if field.name == "statistics":
            assert one.statistics.keys() == other.statistics.keys()
            for name in one.statistics:
                np.testing.assert_array_equal(one.statistics[name], other.statistics[name])
        else:
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
