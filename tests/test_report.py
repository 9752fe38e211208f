"""Results of checks, and parts of error messages."""

from pathlib import Path

import numpy as np
import pytest

from kit.report import Report, one_line, require_int, require_path, suggest


def test_report():
    good, bad = Report("file", (), "3 rows"), Report("file", ("too short", "duplicated"), "")
    assert good and not bad
    assert str(good) == "OK: file: 3 rows"
    assert str(bad) == "NOT OK: file:\n  - too short\n  - duplicated"


def test_suggest():
    assert suggest("sampel", ["sample", "cnn"]) == "did you mean 'sample'? "
    assert suggest("x", ["sample", "cnn"]) == ""


@pytest.mark.parametrize("value", [2, 5, np.int64(3), np.uint8(5)])
def test_require_int(value):
    found = require_int("epochs", value, 2, 5)
    assert type(found) is int and found == value


@pytest.mark.parametrize("value", [1, 6, 3.0, True, np.float32(3), "3", None])
def test_require_int_refuses(value):
    with pytest.raises(
        ValueError, match=r"epochs=.* not possible; give a whole number from 2 to 5"
    ):
        require_int("epochs", value, 2, 5)


def test_require_int_without_an_upper_bound():
    assert require_int("epochs", 10**9, 1) == 10**9
    with pytest.raises(ValueError, match=r"epochs=0 is not possible; give .* of 1 or more"):
        require_int("epochs", 0, 1)


def test_require_path_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert require_path("out", "~/mine") == tmp_path / "mine"
    assert str(require_path("out", "mine/~")) == str(Path("mine") / "~")
    with pytest.raises(ValueError, match="out='7' is not a path"):
        require_path("out", 7)


def test_one_line_shows_no_control_characters():
    assert one_line("a\nb\x1b[2Jc é团") == "a?b?[2Jc é团"
    assert len(one_line("x" * 999)) == 200
