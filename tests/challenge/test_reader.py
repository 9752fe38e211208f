"""The format is read strictly: what is allowed changes nothing, all else is counted and named."""

import errno
import json
import os
from pathlib import Path

import csv_rows
import numpy as np
import orjson
import pytest

import kit
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


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("-0", 0), ("1e30", 1e30), ("-1" + "0" * 30, -1e30), ("1e-400", 0), ("1E+2", 100),
     ("9007199254740993", 2**53), ("18446744073709551616", 2**64), ("0.1" + "0" * 5000, 0.1)],
)  # fmt: skip
def test_read_rows_of_unusual_numbers(tmp_path, decode, text, value):
    (row,) = read(tmp_path, HEADER + FIRST.replace("15", text))
    assert row.values.tolist() == [0.5, value]


def test_read_rows_of_the_2022_writer(decode):
    folder = Path(__file__).parents[1] / "fixtures" / "reference"
    columns = {"submission": "prediction", "ground": "responses"}
    for path in sorted(folder.glob("*.csv")):
        rows = reader.read_rows(path, columns[path.name.split("_")[0]])
        _, expected = csv_rows.read(path)
        assert [row.fault for row in rows] == [""] * len(expected)
        assert [[row.trial, row.image] for row in rows] == [row[:2] for row in expected]
        assert [row.values.tolist() for row in rows] == [row[2] for row in expected]
        assert [list(row.neurons) for row in rows] == [row[3] for row in expected]


# ---- read_rows: what is refused ----


def values(text):
    """A file whose first list is another text, and the sentence about it."""
    return PLAIN.replace("[0.5,15]", text), "1 trial (ab in row 2) whose prediction cell is not"


def number(text):
    """A file with another text for the number 15."""
    content, sentence = values(f"[0.5,{text}]")
    return (
        content,
        f"{sentence} a JSON list of finite numbers up to 1e+30, such as [0.1, 2] (first:",
    )


def neuron(text):
    """A file with another text for the neuron 5."""
    sentence = "2 trials (ab in row 2, cd in row 3) whose neuron_ids cell is not a JSON "
    sentence += "list of whole numbers below 2^53, such as [3, 5] (first:"
    return PLAIN.replace("[3,5]", f"[3,{text}]"), sentence


def image(text):
    sentence = "1 trial (ab in row 2) whose image_ids cell is not a plain id (first:"
    return PLAIN.replace("ab,7", f"ab,{text}"), sentence


def trial(text):
    sentence = "1 row (2) whose trial_indices cell is not a plain id (first:"
    return PLAIN.replace("ab,7", f"{text},7"), sentence


def cells(first, count):
    return HEADER + first + SECOND, f"1 row (2) without exactly 4 cells (first: {count})"


def no_csv(content, row):
    return content, f"is not a CSV file from row {row} on ("


REFUSED = {  # files, and words of the sentence
    "surplus cell": cells(FIRST.replace("\n", ",\n"), 5),
    "missing cell": cells('ab,7,"[0.5,15]"\n', 3),
    "list without quotes": cells('ab,7,[0.5,15],"[3,5]"\n', 5),
    "space before a quote": cells('ab,7, "[0.5,15]","[3,5]"\n', 5),
    "extra column": (PLAIN.replace("\n", ",x\n"), "the unknown column 'x'"),
    "index column": ("," + PLAIN.replace("\n", "\n0,"), "the unknown column ''"),
    "two byte-order marks": ("\ufeff\ufeff" + PLAIN, "has no column trial_indices;"),
    "byte-order mark inside": (PLAIN.replace("ab", "\ufeffab"), "1 row (2) whose trial_ind"),
    "nested": values("[[0.5,15]]"),
    "nested twice": values("[[[0.5, 15]]]"),
    "nested inside": number("[15]"),
    "two lists": values("[0.5,15][]"),
    "an object": values('{""a"":1}'),
    "a number": values("0.5"),
    "text": values('""[0.5,15]""'),
    "empty": values(""),
    "no commas": values("[0.5 15]"),
    "no closing bracket": values("[0.5,15"),
    "no opening bracket": values("0.5,15]"),
    "round brackets": values("(0.5,15)"),
    "a comma too many": number("15,"),
    "deep": values("[" * 100_000),
    "deep and closed": values("[" * 100_000 + "]" * 100_000),
    "deep objects": values('{""a"":' * 100_000),
    **{f"number {text}": number(text)
       for text in ("NaN", "nan", "inf", "-inf", "Infinity", "-Infinity", "1e400", "-1e400", "1e31",
                    "null", "None", "true", "false", '""15""', "'15'", "+15", "015", "15.", ".5",
                    "0x0f", "1_5", "１５", "15\xa0", "\u200315", "15\x0c", "15\ufeff", "15f",
                    "15 15", "np.float64(15.0)", '""\\ud800""')},
    "number of 400 digits": number("9" * 400),
    "number of 5000 digits": number("9" * 5000),
    **{f"neuron {text[:20]}": neuron(text)
       for text in ("5.0", "5.5", "5e0", "true", "null", '""5""', "NaN", "[5]", "05", "٥",
                    "9007199254740992", "-9007199254740992", "1" + "0" * 25, "7" * 5000)},
    **{f"image {text}": image(text)
       for text in ("7.0", "7.", '""', "７.0", "７", "7\xa0", "7 8", "7\u200b")},
    **{f"trial {text}": trial(text) for text in ("", "12.0", "é", "a b", "ab\xa0", 'a"b')},
    "lists of unequal length": (
        PLAIN.replace("0.5,15", "0.5"),
        "1 trial (ab in row 2) whose prediction and neuron_ids cells differ in length (first: 1 a",
    ),
    "duplicated trial": (PLAIN + FIRST, "1 trial (ab in row 4) duplicated"),
    "duplicated neuron": (
        PLAIN.replace("[3,5]", "[3,3]", 1),
        "1 neuron (3) duplicated, first in trial ab in row 2",
    ),
    "unclosed quote at the end": no_csv(PLAIN.rstrip()[:-1], 3),
    "unclosed quote": no_csv(PLAIN.replace("[0.5,15]\"", "[0.5,15]"), 2),
    "text after a closing quote": no_csv(PLAIN.replace('15]"', '15]"x'), 2),
    "space after a closing quote": no_csv(PLAIN.replace('15]"', '15]" '), 2),
    "a cell without an end": no_csv(PLAIN.replace("15]", "15" + "0" * 2**24), 2),
    "other space around a name": (PLAIN.replace("_ids", "_ids\xa0", 1), "no column image_ids"),
    "NUL byte": no_csv(PLAIN.replace("cd", "c\0d"), 3),
    "NUL bytes at the end": no_csv(PLAIN + "\0\0", 4),
    "lines that end with CR": no_csv(PLAIN.replace("\n", "\r"), 1),
    "lines that end with CRCRLF": no_csv(PLAIN.replace("\n", "\r\r\n"), 1),
    "Latin-1": (PLAIN.replace("ab", "é").encode("latin-1"), "is not a CSV file in UTF-8"),
    "UTF-16": (PLAIN.encode("utf-16"), "is not a CSV file in UTF-8"),
    "UTF-16 without a mark": no_csv(PLAIN.encode("utf-16-le"), 1),
    "semicolons": (PLAIN.replace(",", ";"), "has no column trial_indices, image_ids"),
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
    ("text", "found"),
    [("0.5,NaN", "'NaN' at place 2"), ("0.5 15", "no comma after place 1"), ("1e99,1", "1e99"),
     ("0.5,,15", "'' at place 2"), ("0.5,\xa015", r"'\xa015' at place 2")],
)  # fmt: skip
def test_read_rows_shows_the_first_fault(tmp_path, decode, text, found):
    row, _ = read(tmp_path, PLAIN.replace("0.5,15", text))
    assert found in row.found


def refuses(path, message):
    with pytest.raises(ValueError, match=message):
        reader.read_rows(path, "prediction")


def test_read_rows_counts_blank_lines_as_rows(tmp_path, decode):
    path = tmp_path / LIVE
    path.write_text(PLAIN + "\n" * (reader.MAX_ROWS - 3))
    assert len(reader.read_rows(path, "prediction")) == 2
    for blank in ("\n", " \t\n", "\r\n"):
        path.write_bytes((PLAIN + blank * reader.MAX_ROWS).encode())
        refuses(path, "has more than 100,000 rows, the most that are read")


def test_read_rows_bounds_a_row_of_many_lines(tmp_path, decode, monkeypatch):
    monkeypatch.setattr(reader, "MAX_CELL", 1000)
    path = tmp_path / LIVE
    path.write_text(PLAIN * 1 + SECOND * 200)  # the length is that of each row alone
    assert len(reader.read_rows(path, "prediction")) == 202
    path.write_text(HEADER + '"a\n",' * 1000)
    refuses(path, r"from row 2 on \(a row of more than 2,000 characters\)")


def test_read_rows_bounds_lines_and_numbers(tmp_path, decode, monkeypatch):
    path = tmp_path / LIVE
    monkeypatch.setattr(reader, "MAX_LINES", 8)
    path.write_text(HEADER + FIRST.replace(",15", "\n,\n15") + SECOND)
    assert len(reader.read_rows(path, "prediction")) == 2
    path.write_text(HEADER + FIRST.replace(",15", ",\n\n\n\n\n\n15") + SECOND)
    refuses(path, r"from row 3 on \(more than 8 lines of text\)")
    monkeypatch.setattr(reader, "MAX_NUMBERS", 3)
    path.write_text(PLAIN)
    refuses(path, "has more than 3 numbers, the most that are read")


def test_read_rows_refuses_a_file_of_more_than_400_megabytes(tmp_path, decode):
    path = tmp_path / LIVE
    with path.open("wb") as file:
        file.truncate(400_000_001)  # a hole, which takes no room
    refuses(path, f"{LIVE} is larger than 400 MB, the most that is read; write its numbers")


def test_read_rows_says_why_it_cannot_read(tmp_path, decode, monkeypatch):
    path = tmp_path / LIVE
    path.write_text(PLAIN)

    def closed(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(PermissionError, match=f"{LIVE} cannot be read: permission denied; mend"):
        reader.read_rows(path, "prediction")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_read_rows_waits_for_no_pipe(tmp_path, decode):
    path = tmp_path / LIVE
    os.mkfifo(path)
    refuses(path, f"{LIVE} is not an ordinary file; write the entry to one")


def test_read_rows_looks_into_one_damaged_list_of_a_kind(tmp_path, decode, monkeypatch):
    looks, look = [], reader._first_fault
    monkeypatch.setattr(reader, "_first_fault", lambda *given: looks.append(1) or look(*given))
    damaged = FIRST.replace("15", "x") + FIRST.replace("5]", "y]", 1).replace("[3,5", "[3,z")
    rows = read(tmp_path, HEADER + damaged * 50)
    assert len(rows) == 100 and len(looks) == 1
    assert all("is not a JSON list" in row.fault for row in rows)
    rows = read(tmp_path, HEADER + (FIRST.replace("15", "x") + FIRST.replace("3,", "z,")) * 9)
    assert len(looks) == 3 and [bool(row.found) for row in rows] == [True, True] + 16 * [False]


def test_read_rows_gives_neurons_that_no_hash_confuses(tmp_path, decode):
    """-1 and -2 have the same hash in Python, so have all tuples of them."""
    rows = read(tmp_path, PLAIN.replace("[3,5]", "[-1,-2]", 1) + FIRST * 2)
    assert all(row.neurons.dtype == np.int64 for row in rows)
    assert rows[1].neurons is rows[2].neurons is rows[3].neurons  # the same text is read once


# ---- read_rows, through check and grade ----


def refused(path, challenge, message):
    """Neither checked nor graded."""
    with pytest.raises(ValueError, match=message):
        kit.check(path, challenge.data)
    with pytest.raises(ValueError, match=message):
        kit.grade(path, challenge.truth)


def test_read_rows_names_missing_columns(challenge, live_rows, tmp_path):
    header = ["trial", "image_ids", "response", "neuron_ids"]
    path = csv_rows.write(tmp_path / LIVE, header, live_rows[1])
    refused(path, challenge, "no column trial_indices, prediction; its first")


def test_read_rows_names_duplicated_columns(challenge, live_rows, tmp_path):
    header, rows = live_rows
    rows = [[*row, row[2]] for row in rows]
    path = csv_rows.write(tmp_path / LIVE, [*header, "prediction"], rows)
    refused(path, challenge, "column prediction more than once")


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"PK\x03\x04\x00\x00\xff\xfe\x00", bytes(range(256))]
)
def test_read_rows_refuses_other_files(challenge, tmp_path, content):
    path = tmp_path / LIVE
    path.write_bytes(content)
    refused(path, challenge, f"{LIVE} (is not a CSV file|has no column)")


def test_read_rows_bounds_what_it_reads(tmp_path, decode, monkeypatch):
    """No small archive grows without end: the rows, a line, and what is looked at are limited."""
    path = tmp_path / LIVE
    path.write_text(HEADER + "a\n" * reader.MAX_ROWS)
    with pytest.raises(ValueError, match=r"has more than 100,000 rows, the most that are read"):
        reader.read_rows(path, "prediction")
    monkeypatch.setattr(reader, "MAX_CELL", 1000)
    path.write_text(HEADER + "a," * 1000)
    with pytest.raises(ValueError, match=r"row 2 on \(a row of more than 2,000 characters\)"):
        reader.read_rows(path, "prediction")
    monkeypatch.setattr(reader, "MAX_PLACES", 10)
    row, _ = read(tmp_path, PLAIN.replace("0.5,15", "1," * 12 + "x"))
    assert row.found == "one that lies after place 10"
