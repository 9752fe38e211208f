"""Results of checks, and parts of error messages."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kit.checks import check_settings, one_line, require_array, require_int, require_path, suggest
from kit.report import Report


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
    number = require_int("epochs", value, 2, 5)
    assert type(number) is int and number == value


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


@dataclass(frozen=True)
class Settings:
    count: int = 1
    rate: float = 0.5
    on: bool = False
    kind: str = "a"
    size: tuple[int, int] = (1, 2)
    radii: tuple[float, ...] = (1, 2, 3)
    scale: float | None = None

    def __post_init__(self):
        check_settings(self, count=(1, 9), rate=(0, 1), kind=("a", "b"), radii=(1, 5), scale=(1, 2))


def test_check_settings_makes_plain_values():
    settings = Settings(np.int64(3), np.float32(1), np.True_, np.str_("b"), np.array([3, 4]),
                        [1, 2.5], np.float64(2))  # fmt: skip
    assert settings == Settings(3, 1.0, True, "b", (3, 4), (1, 2.5), 2.0)
    for value in (*vars(settings).values(), *settings.size):
        assert type(value) in (int, float, bool, str, tuple)
    assert type(Settings(size=(np.int64(3), 4)).size[0]) is int
    assert Settings(rate=1, scale=None) == Settings(rate=1)


@pytest.mark.parametrize("changes, allowed", [
    ({"count": 0}, "a whole number from 1 to 9"),
    ({"count": True}, "a whole number from 1 to 9"),
    ({"count": 2.0}, "a whole number from 1 to 9"),
    ({"rate": np.nan}, "a number from 0 to 1"),
    ({"rate": False}, "a number from 0 to 1"),
    ({"rate": "0.5"}, "a number from 0 to 1"),
    ({"on": "no"}, "True or False"),
    ({"on": 0}, "True or False"),
    ({"kind": "c"}, "one of a, b"),
    ({"kind": None}, "one of a, b"),
    ({"size": (1, 2, 3)}, "2 values, each a whole number"),
    ({"size": (1, 2.5)}, "2 values, each a whole number"),
    ({"size": 7}, "2 values, each a whole number"),
    ({"radii": [0, 1]}, "values, each a number from 1 to 5"),
    ({"scale": 3}, "a number from 1 to 2 or None"),
], ids=str)  # fmt: skip
def test_check_settings_refuses(changes, allowed):
    with pytest.raises(ValueError, match=rf"={'.*'} is not possible; give {allowed}$"):
        Settings(**changes)


@pytest.mark.parametrize("values, kind", [
    ([1, 2], r"\(2,\) int64"), (np.zeros((0, 2)), r"\(0, 2\) float64"), (None, "NoneType"),
    ("text", "str"), ([[1], [2, 3]], "list"), ([["a", "b"]], r"\(1, 2\) <U1"),
], ids=str)  # fmt: skip
def test_require_array_refuses(values, kind):
    with pytest.raises(ValueError, match=rf"places must be numbers \(N, 2\) or \(N, 3\), these are "
                       f"{kind}; give"):  # fmt: skip
        require_array("places", values, ("N", 2), ("N", 3))
