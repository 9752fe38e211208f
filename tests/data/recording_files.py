"""Checks that several tests of recordings share."""

import dataclasses
import re
import zipfile

import numpy as np
import pytest

import kit

TOP = "static7-1-1-GrayImageNet-tiny"
TRIALS, NEURONS = 70, 24


def unpack(path, folder):
    """The folder of a recording, unpacked from its zip."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder / TOP


def left_in(folder):
    """What lies in a data folder, locks of downloads aside."""
    return [path for path in folder.rglob("*") if path.name != "packed"]


def refused(path, folder, kind=ValueError, size=(36, 64)):
    """The sentence with which a recording is refused; nothing stays of it."""
    with pytest.raises(kind) as caught:
        kit.load(path, size, folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    assert left_in(folder) == []
    return message


def in_table(message, folder):
    """A sentence as the table of faults has it: without the test's own folder."""
    return message.replace(f"{folder}/", "").replace(TOP, "static…")


def assert_same(mouse, expected):
    for field in [each for each in dataclasses.fields(mouse) if each.init]:
        np.testing.assert_equal(getattr(mouse, field.name), getattr(expected, field.name))


def relisted(content, offset, byte):
    """A zip with another byte at an offset of each entry in its list of members."""
    return re.sub(b"(PK\x01\x02.{%d})." % (offset - 4), b"\\g<1>" + byte, content, flags=re.S)


def encrypted(content):
    """A zip with the flag that says so."""
    return relisted(content, 8, b"\x01")
