"""The format is read strictly: what is allowed changes nothing, all else is counted and named."""

import contextlib
import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import orjson
import pytest

from kit.challenge import matching, reader
from kit.challenge.tracks import SUBMISSION_FILES

LIVE = SUBMISSION_FILES["test"]
DECODERS = {"orjson": orjson.loads, "json": json.loads}
HEADER = "trial_indices,image_ids,prediction,neuron_ids\n"
FIRST = 'ab,7,"[0.5,15]","[3,5]"\n'
SECOND = 'cd,8,"[2.25,-1]","[3,5]"\n'
PLAIN = HEADER + FIRST + SECOND


# ---- read_rows: what is allowed ----


ALLOWED = {  # other files with the same rows
    "a byte-order mark at the start": "\ufeff" + PLAIN,
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "no line end at the end": PLAIN.rstrip(),
    "white space around names": PLAIN.replace("image_ids", " image_ids\t", 1),
    "white space around ids": PLAIN.replace("ab,7", " ab\t,  7 ").replace("cd", '"\r\n cd\n"'),
    "white space around numbers": PLAIN.replace("[", " [ ").replace(",15", "\n,\t15\r\n"),
    "blank lines": "\n" + PLAIN.replace("\n", "\n\r\n \t\n\n"),
    "rows in another order": HEADER + SECOND + FIRST,
    "neurons in another order": HEADER + 'ab,7,"[15,0.5]","[5,3]"\n' + SECOND,
    "columns in another order": "neuron_ids,prediction,trial_indices,image_ids\n"
    '"[3,5]","[0.5,15]",ab,7\n"[3,5]","[2.25,-1]",cd,8\n',
    "quotes around ids": PLAIN.replace("ab,7", '"ab","7"').replace("image_ids", '"image_ids"'),
    "numbers in other ways": PLAIN.replace(",-1", ",-10E-1").replace("0.5,15", "5E-01,1.50e+1"),
}  # fmt: skip


@pytest.fixture(params=DECODERS)
def decode(request, monkeypatch):
    """With the decoder of JSON that the kit has, and with the one that the scorer has."""
    monkeypatch.setattr(reader, "loads", DECODERS[request.param])


def read(folder, content, column="prediction"):
    path = folder / "file.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return reader.read_rows(path, column)


@pytest.mark.parametrize("name", ALLOWED)
def test_read_rows_allows(tmp_path, decode, name):
    rows = read(tmp_path, ALLOWED[name])
    assert matching.find_problems(rows, ["ab", "cd"], ["7", "8"], np.array([5, 3])) == []
    values = matching.match_rows(rows, ["cd", "ab"])
    assert values.dtype == np.float64
    assert values.tolist() == [[2.25, -1], [0.5, 15]]


# ---- read_rows: what is refused ----


def values(text):
    """A file whose first list is another text, and the sentence about it."""
    sentence = (
        "1 trial (ab in row 2) where prediction is not a JSON list of finite numbers up to 1e+30"
    )
    return PLAIN.replace("[0.5,15]", text), sentence


def number(text):
    """A file with another text for the number 15."""
    return values(f"[0.5,{text}]")


def neuron(text):
    """A file with another text for the neuron 5."""
    sentence = (
        "2 trials (ab in row 2, cd in row 3) where neuron_ids is not a JSON list of whole num"
    )
    return PLAIN.replace("[3,5]", f"[3,{text}]"), sentence


def image(text):
    sentence = "1 trial (ab in row 2) where image_ids is not a plain id (first:"
    return PLAIN.replace("ab,7", f"ab,{text}"), sentence


def trial(text):
    return PLAIN.replace("ab,7", f"{text},7"), "1 row (2) where trial_indices is not a plain id"


def cells(first, count):
    return HEADER + first + SECOND, f"1 row (2) without exactly 4 cells (first: {count})"


def no_csv(content, row):
    return content, f"is not a CSV file of four columns from row {row} on; unpack it"


def no_columns(content):
    return (
        content,
        "its first line must name trial_indices, image_ids, prediction, neuron_ids, once",
    )


REFUSED = {  # files, and words of the sentence
    "surplus cell": cells(FIRST.replace("\n", ",\n"), 5),
    "missing cell": cells('ab,7,"[0.5,15]"\n', 3),
    "list without quotes": cells('ab,7,[0.5,15],"[3,5]"\n', 5),
    "text in a list without quotes": (PLAIN.replace('"[0.5,15]","[3,5]"', '["5"],[3]'),
                                      "where prediction is not a JSON list of finite numbers"),
    "space before a quote": cells('ab,7, "[0.5,15]","[3,5]"\n', 5),
    "many cells": no_csv(HEADER + "a," * 1000, 2),
    "extra column": no_columns(PLAIN.replace("\n", ",x\n")),
    "index column": no_columns("," + PLAIN.replace("\n", "\n0,")),
    "other column": no_columns(PLAIN.replace("image_ids", "image")),
    "column twice": no_columns(PLAIN.replace("image_ids", "prediction")),
    "two byte-order marks": no_columns("\ufeff\ufeff" + PLAIN),
    "no line": no_columns(""),
    "blank lines alone": no_columns("\n\n"),
    "bytes": no_columns(b"PK\x03\x04\x00\x00\xff\xfe\x00"),
    "all bytes": no_columns(bytes(range(256))),
    "nested": values("[[0.5,15]]"),
    "nested twice": values("[[[0.5, 15]]]"),
    "nested inside": number("[15]"),
    "two lists": values("[0.5,15][]"),
    "an object": values("{}"),
    "a number": values("0.5"),
    "empty": values(""),
    "no commas": values("[0.5 15]"),
    "no closing bracket": values("[0.5,15"),
    "no opening bracket": values("0.5,15]"),
    "round brackets": values("(0.5,15)"),
    "a comma too many": number("15,"),
    "deep": values("[" * 100_000),
    "deep and closed": values("[" * 100_000 + "]" * 100_000),
    "deep objects": values("[{" * 100_000),
    **{f"number {text}": number(text)
       for text in ("NaN", "nan", "inf", "-inf", "Infinity", "-Infinity", "1e400", "-1e400", "1e31",
                    "null", "None", "true", "false", "'15'", "+15", "015", "15.", ".5",
                    "0x0f", "1_5", "１５", "15\xa0", "\u200315", "15\x0c", "15\ufeff", "15f",
                    "15 15", "np.float64(15.0)", "15,\r,")},
    "number of 400 digits": number("9" * 400),
    "number of 5000 digits": number("9" * 5000),
    **{f"neuron {text[:20]}": neuron(text)
       for text in ("5.0", "5.5", "5e0", "true", "null", "NaN", "[5]", "05", "٥",
                    "9007199254740992", "-9007199254740992", "1" + "0" * 25, "7" * 5000)},
    **{f"image {text}": image(text)
       for text in ("7.0", "7.", '""', "７.0", "７", "7\xa0", "7 8", "7\u200b")},
    **{f"trial {text}": trial(text)
       for text in ("", "12.0", "é", "a b", "ab\xa0", 'a"b', "\ufeffab", "a\0b")},
    "lists of unequal length": (
        PLAIN.replace("0.5,15", "0.5"),
        "1 trial (ab in row 2) where prediction and neuron_ids differ in length (first: 1 and 2)",
    ),
    "duplicated trial": (PLAIN + FIRST, "1 trial (ab in row 4) duplicated"),
    "duplicated neuron": (
        PLAIN.replace("[3,5]", "[3,3]", 1),
        "1 trial (ab in row 2) with other neurons (first: 1 neuron (5) missing, 1 neuron (3) dupli",
    ),
    "unclosed quote at the end": no_csv(PLAIN.rstrip()[:-1], 3),
    "unclosed quote": no_csv(PLAIN.replace("[0.5,15]\"", "[0.5,15]"), 2),
    "text after a closing quote": no_csv(PLAIN.replace('15]"', '15]"x'), 2),
    "space after a closing quote": no_csv(PLAIN.replace('15]"', '15]" '), 2),
    "a cell without an end": no_csv(PLAIN.replace("15]", "15" + "0" * 2**24), 2),
    "quotes in quotes": no_csv(PLAIN.replace("15]", '""15""]'), 2),
    "other space around a name": no_columns(PLAIN.replace("_ids", "_ids\xa0", 1)),
    "NUL bytes at the end": (PLAIN + "\0\0", "1 row (4) without exactly 4 cells (first: 1)"),
    "lines that end with CR": no_csv(PLAIN.replace("\n", "\r"), 1),
    "lines that end with CRCRLF": no_csv(PLAIN.replace("\n", "\r\r\n"), 1),
    "Latin-1": (trial("é")[0].encode("latin-1"), trial("é")[1]),
    "UTF-16": no_columns(PLAIN.encode("utf-16")),
    "UTF-16 without a mark": no_columns(PLAIN.encode("utf-16-le")),
    "semicolons": no_columns(PLAIN.replace(",", ";")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_read_rows_refuses(tmp_path, decode, name):
    content, expected = REFUSED[name]
    try:
        rows = read(tmp_path, content)
        problems = matching.find_problems(rows, ["ab", "cd"], ["7", "8"], np.array([5, 3]))
    except ValueError as problem:
        problems = [str(problem)]
    assert any(expected in sentence for sentence in problems), problems
    assert all(sentence.isprintable() and len(sentence) < 500 for sentence in problems)


@pytest.mark.parametrize(
    ("text", "detail"),
    [("0.5,NaN", "'NaN' at place 2"), ("0.5 15", "'0.5 15' at place 1"), ("1e99,1", "1e99"),
     ("0.5,,15", "'' at place 2"), ("0.5,\xa015", r"'\xa015' at place 2"), ("15]", "'15]'")],
)  # fmt: skip
def test_read_rows_shows_the_first_fault(tmp_path, decode, text, detail):
    row, _ = read(tmp_path, PLAIN.replace("0.5,15", text))
    assert detail in row.detail


def test_read_rows_looks_into_one_damaged_list_of_a_kind(tmp_path, decode, monkeypatch):
    looks, look = [], reader._first_fault
    monkeypatch.setattr(reader, "_first_fault", lambda *given: looks.append(1) or look(*given))
    damaged = FIRST.replace("15", "x") + FIRST.replace("5]", "y]", 1).replace("[3,5", "[3,z")
    rows = read(tmp_path, HEADER + damaged * 50)
    assert len(rows) == 100 and len(looks) == 1
    assert all("is not a JSON list" in row.fault for row in rows)
    rows = read(tmp_path, HEADER + (FIRST.replace("15", "x") + FIRST.replace("3,", "z,")) * 9)
    assert len(looks) == 3 and [bool(row.detail) for row in rows] == [True, True] + 16 * [False]


def test_read_rows_shares_neurons_of_the_same_text(tmp_path, decode):
    """-1 and -2 have the same hash in Python, so have all tuples of them."""
    rows = read(tmp_path, PLAIN.replace("[3,5]", "[-1,-2]", 1) + FIRST * 2)
    assert all(row.neurons.dtype == np.int64 for row in rows)
    assert rows[0].neurons.tolist() == [-2, -1] and rows[0].values.tolist() == [15, 0.5]
    assert rows[1].neurons is rows[2].neurons is rows[3].neurons


# ---- read_rows: what it costs ----


def test_read_rows_counts_blank_lines_as_rows(tmp_path, decode):
    assert len(read(tmp_path, PLAIN + "\n" * (reader.MAX_ROWS - 4))) == 2
    for row in ("\n", " \t\n", "\r\n", "a\n"):
        with pytest.raises(ValueError, match="has more than 100,000 rows, the most that are read"):
            read(tmp_path, PLAIN + row * reader.MAX_ROWS)


@pytest.mark.parametrize(
    ("limit", "content", "message"),
    [("MAX_CELL", PLAIN.replace("15]", "15" + " " * 40 + "]"), "of four columns from row 2 on"),
     ("MAX_CELL", HEADER + '"a' + "\n" * 40, "of four columns from row 2 on"),
     ("MAX_CELLS", HEADER + '"a\n",' * 31, "of four columns from row 2 on"),
     ("MAX_NUMBERS", HEADER + FIRST * 16, "has more than 30 numbers, the most that are read")],
)  # fmt: skip
def test_read_rows_bounds_what_it_reads(tmp_path, decode, monkeypatch, limit, content, message):
    monkeypatch.setattr(reader, limit, 30)
    assert len(read(tmp_path, HEADER + FIRST * 15)) == 15  # the length is that of each cell alone
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize("letter", ["[", '"', "\n", ",", "-", " ", '"\n",', "1,", "\r", '""'])
def test_read_rows_takes_linear_time(tmp_path, decode, letter):
    start = time.process_time()
    with contextlib.suppress(ValueError):
        read(tmp_path, PLAIN.replace("15", letter * (2_000_000 // len(letter)), 1))
    assert time.process_time() - start < 5


def pipe(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no named pipes")
    os.mkfifo(path)


def hole(path):
    path.touch()
    os.truncate(path, 400_000_001)  # takes no room


@pytest.mark.parametrize("make", [pipe, hole, Path.mkdir])
def test_read_rows_refuses_what_is_no_file_or_too_large(tmp_path, make):
    make(tmp_path / LIVE)
    with pytest.raises(ValueError, match=f"{LIVE} is not an ordinary file of at most 400 MB; give"):
        reader.read_rows(tmp_path / LIVE, "prediction")


def test_read_rows_says_why_it_cannot_read(tmp_path, decode, monkeypatch):
    path = tmp_path / LIVE
    path.write_text(PLAIN)

    def closed(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(PermissionError, match=f"{LIVE} cannot be read: permission denied; mend"):
        reader.read_rows(path, "prediction")
