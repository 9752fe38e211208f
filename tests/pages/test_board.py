"""A board of scored entries: the page that their files give, ties, and what is refused."""

import json
import os
import shutil

import pytest
from html_page import Page, assert_loads_nothing
from rankings import change, ranking

from kit.pages.board import add_to_board, check_board, write_board

HOSTILE = "../<img src=x onerror=alert(1)>"


def made(*names, **changes):
    """A ranking as it is scored: with hashes and a date."""
    found = ranking(names, truth_sha256="a" * 64, date="2027-06-30", **changes)
    for place in range(len(names)):
        found = change(found, place, sha256=f"{place:064x}")
    return found


def rows(folder):
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    return [[text for _, text in row] for row in page.rows()]


def test_board_shares_ranks_and_counts_no_baseline(tmp_path):
    found = made("a", "b", "c", "baseline-ln", "d")
    found = change(change(found, 1, score=0.39996), 3, baseline=True)  # a and b print alike
    add_to_board(found, tmp_path)
    shown = rows(tmp_path)
    assert [row[0] for row in shown] == ["1", "1", "3", "–", "4"]
    assert [row[1] for row in shown] == ["a", "b", "c", "baseline-ln out of competition", "d"]
    assert shown[2][2:5] == ["0.3600", "0.3500 to 0.3900", "0.3600"]


def test_board_is_made_again_to_the_byte(tmp_path):
    page = add_to_board(made("a", HOSTILE, "\udcff"), tmp_path / "board")
    first = page.read_bytes()
    names = sorted(path.name for path in page.parent.iterdir())
    assert len(names) == 4 and all(name.isascii() and name[0] not in ".-" for name in names)
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in page.parent.glob("*.json"):
        shutil.copy(path, copy)
    assert write_board(copy).read_bytes() == first
    check_board(copy)
    assert add_to_board(made("a", HOSTILE, "\udcff"), copy).read_bytes() == first


def test_board_grows_and_replaces(tmp_path):
    add_to_board(made("a", "b", title="First"), tmp_path)
    later = change(made("b").titled("Second", "2028-01-01"), 0, score=0.5)
    page = Page(add_to_board(later, tmp_path).read_text(encoding="utf-8"))
    assert [(row[1], row[-1]) for row in rows(tmp_path)] == [
        ("b", "2028-01-01"),
        ("a", "2027-06-30"),
    ]
    assert page.find("h1")[0][1] == "Second"


def test_board_escapes_names_and_loads_nothing(tmp_path):
    page = Page(add_to_board(made(HOSTILE, title=HOSTILE), tmp_path).read_text(encoding="utf-8"))
    assert_loads_nothing(page)
    assert not page.find("img") and [text for _, text in page.find("bdi")] == [HOSTILE] * 2


def test_check_board_notices_what_differs(tmp_path):
    page = add_to_board(made("a", "b"), tmp_path)
    check_board(tmp_path)
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))  # as Git may on Windows
    check_board(tmp_path)
    file = next(tmp_path.glob("a-*.json"))
    entry = json.loads(file.read_text())
    for changed in ({"score": 0.40001}, {"sha256": "f" * 64}, {"low": 0.1}, {"feve": None}):
        file.write_text(json.dumps(entry | changed))
        with pytest.raises(ValueError, match="is not what its entries give"):
            check_board(tmp_path)
    file.write_text(json.dumps(entry))
    check_board(tmp_path)
    page.write_text(page.read_text().replace("0.4000", "0.4001"))
    with pytest.raises(ValueError, match="is not what its entries give"):
        check_board(tmp_path)
    page.unlink()
    with pytest.raises(ValueError, match="is not what its entries give"):
        check_board(tmp_path)
    assert not page.exists()


@pytest.mark.parametrize("changes, message", [
    ({"score": float("nan")}, "score=nan is not possible"),
    ({"score": "0.4"}, "score='0.4' is not possible"),
    ({"score": 10**400}, "is not possible; give a number from -100 to 100"),
    ({"feve": 10**400}, "is not possible"),
    ({"baseline": 1}, "baseline=1 is not possible"),
    ({"sha256": "../x"}, "sha256 or truth_sha256 is not 64"),
    ({"date": "today"}, "is not a date; give one such as 2027-06-30"),
    ({"date": "2027-99-99"}, "is not a date"),
    ({"tier": "train"}, "tier='train' is not possible"),
    ({"more": 1}, "more"),
    ({"title": "x" * 20_001}, "larger than 20,000 bytes"),
    ({"entry": "b"}, "the file of this entry is called b-"),
    ({"truth_sha256": "b" * 64}, "differ in truth_sha256"),
    ({"images": 61}, "differ in images"),
])  # fmt: skip
def test_board_refuses(tmp_path, changes, message):
    page = add_to_board(made("a", "b"), tmp_path)
    before = page.read_bytes()
    file = next(tmp_path.glob("a-*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        write_board(tmp_path)
    assert page.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="there are no such links")
def test_board_reads_no_device(tmp_path):
    add_to_board(made("a"), tmp_path)
    (tmp_path / "x.json").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"x\.json is not the file of an entry: it is not a file"):
        write_board(tmp_path)


def test_board_replaces_no_page_of_another_kind(tmp_path):
    (tmp_path / "index.html").write_text("<!DOCTYPE html>home")
    with pytest.raises(FileExistsError, match="is not a board's page; give a folder without one"):
        add_to_board(made("a"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_board_refuses_other_truths_and_nonsense(tmp_path):
    with pytest.raises(ValueError, match="holds no entry's file; python -m kit rank"):
        write_board(tmp_path)
    add_to_board(made("a"), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ValueError, match="differ in tier"):
        add_to_board(made("b", tier="final_test"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    for text in ("", "[" * 9999, "[]", "{}", "\0"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.json is not the file of an entry"):
            write_board(tmp_path)
