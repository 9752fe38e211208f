"""Spoiled files: the kit, with either decoder, sees what a second, strict reader sees, or refuses.

KIT_FUZZ_FILES=10000 tries more files than the 500 of CI. A file depends on its number only.
"""

import json
import os
import random
import re
from functools import partial
from unittest import mock

import numpy as np
import orjson
import pytest
import strict_csv

import kit
from kit.challenge import reader
from kit.evaluation import compute_scores

FILES = int(os.environ.get("KIT_FUZZ_FILES", 500))
DECODERS = (orjson.loads, json.loads)
NUMBER = re.compile(r"[-+.\w]+")
GOOD_NUMBERS = ["-0", "-0.0", "0", "7", "1e3", "1E+2", "25e-1", "1e-400", "0e9999999", "1e30"]
GOOD_NUMBERS += ["-1e30", "9007199254740993", "18446744073709551616", "-9223372036854775809"]
GOOD_NUMBERS += ["1" + "0" * 30, "0." + "1" * 400, "123456789012345678901234.5", "1e0005"]
BAD_NUMBERS = ["NaN", "nan", "-nan", "inf", "-Infinity", "Infinity", "None", "null", "true", "1e31"]
BAD_NUMBERS += ["1e400", "-1e400", "1" * 40, "9" * 400, "8" * 5000, "01", "+1", "1.", ".5", "1e"]
BAD_NUMBERS += ["0x10", "1_0", "1f", "٣", "１", "²", "½", "−1", "", "1 2", "--1", "1.2.3", "7L"]
BAD_NUMBERS += ['""1""', "'1'", "[1]", "[]", "{}", '{""a"":1}', '""\\ud800""', "np.float64(1.0)"]
BAD_NUMBERS += ["7.0", "9007199254740992", "1,", ",1", "/*1*/1", "[" * 3000, "[" * 99 + "]" * 99]
IDS = ["7.0", "7.", "+7.0", "7.5", "07", "7", "8", "-7", "1e1", "٧", "７", "a", "b", "A", "", "a b"]
IDS += ["a\0", "é", "a\u200b", "\ufeffa", 'a"b', '"a"', '"a""b"', "'a'", "NaN", "a\x0b", "x" * 99]
SPACES = [" ", "\t", "\n", "\r\n", "\r", "  ", "\x0b", "\x0c", "\xa0", "\u2003", "\u2028", "\x85"]
SPACES += ["\ufeff", "\x1c", "\0", "\u200b"]
LETTERS = b'"",,[]{}()\'\n\r \t\0\\;:#-+.eE059aN\x80\xc3\xe2\xf0\xff\x1a'
BYTES = [bytes([value]) for value in LETTERS]
BYTES += [b"\xef\xbb\xbf", b"\xc2\xa0", b"\xef\xbb", b"\xff\xfe", b"\xed\xa0\x80", b'""', b"\r\n"]
ENDS = ["\r\n"] * 4 + ["\n\n", "\n \t\n", "\r", "\r\r\n", "\n\r", "\n,,,\n", '\n""\n', "\x85"]


# ---- files to spoil: a header and four rows of cells ----


def table(column, random):
    rows = [["trial_indices", "image_ids", column, "neuron_ids"]]
    for trial, image in zip("abcd", "7788", strict=True):
        values = [repr(random.uniform(0, 9)), str(random.randrange(9)), str(random.random())]
        rows.append([trial, image, f'"[{", ".join(values)}]"', '"[3, 5, 12]"'])
    return rows


def some_row(rows, random):
    return random.choice(rows[1:] or [[""] * 4])


def some_cell(rows, random):
    row = random.choice([row for row in rows if row] or [[""]])
    return row, random.randrange(len(row))


def change_number(numbers, rows, random):
    row = some_row(rows, random)
    place = random.choice([2, 2, 3]) % max(1, len(row))
    found = list(NUMBER.finditer(row[place])) if row else []
    if found:
        start, end = random.choice(found).span()
        row[place] = row[place][:start] + random.choice(numbers) + row[place][end:]


def change_id(rows, random):
    row = some_row(rows, random)
    if len(row) > 1:
        row[random.randrange(2)] = random.choice(IDS)


def add_space(rows, random):
    row, place = some_cell(rows, random)
    cell = row[place]
    spots = [0, len(cell), 1, len(cell) - 1] + [spot.start() for spot in NUMBER.finditer(cell)]
    at = max(0, random.choice(spots))
    row[place] = cell[:at] + random.choice(SPACES) + cell[at:]


def change_marks(rows, random):
    row, place = some_cell(rows, random)
    marks = ["[]", "()", "{}", '""', "''", "“”", ";", ",,", "[[", "]]", '"[', ']"', "", " "]
    mark, replacement = random.choice('[],"'), random.choice(marks)
    row[place] = row[place].replace(mark, replacement, random.choice([1, -1]))


def change_cells(rows, random):
    row, place = some_cell(rows, random)
    other, other_place = some_cell(rows, random)
    kind = random.randrange(3)
    if kind == 0:
        row[place], other[other_place] = other[other_place], row[place]
    elif kind == 1:
        row.insert(place, random.choice(["", " ", "x", other[other_place]]))
    else:
        del row[place]


def change_quotes(rows, random):
    """A quote that is not closed, or text behind one that is."""
    row = random.choice([rows[-1], some_row(rows, random)]) or [""]
    place = random.choice([-1, -1, random.randrange(len(row))])
    longer = row[place] + random.choice("x1] ")
    row[place] = random.choice([row[place][:-1], row[place][1:], longer])


def change_length(rows, random):
    """A list or a row that is too long or too short."""
    row = some_row(rows, random) or [""]
    place = random.randrange(len(row))
    longer = [row[place].replace("]", ", 9]"), re.sub(r",[^,\]]*\]", "]", row[place])]
    if random.random() < 0.6:
        row[place] = random.choice(longer)
    else:
        row.append(random.choice(["", "0", row[-1]]))


def change_rows(rows, random):
    place, other = random.randrange(len(rows)), random.randrange(len(rows))
    kind = random.randrange(4)
    if kind == 0:
        rows[place], rows[other] = rows[other], rows[place]
    elif kind == 1:
        rows.insert(place, list(rows[other]))
    elif kind == 2:
        blank = [[], [" "], ["\t "], ['""'], ["", ""], ["\xa0"], ["", "", "", ""]]
        rows.insert(place, random.choice(blank))
    elif len(rows) > 1:
        del rows[place]


def reorder(rows, random):
    """Rows, neurons and columns in another order, which changes nothing."""
    rows[1:] = random.sample(rows[1:], len(rows) - 1)
    order = random.sample(range(4), 4)
    for row in rows:
        if len(row) == 4:
            row[:] = [row[place] for place in order]


def shuffle_neurons(rows, random):
    row = some_row(rows, random)
    lists = [re.fullmatch(r'"\[([^\[\]]*)\]"', cell) for cell in row]
    lengths = {len(each[1].split(",")) for each in lists if each}
    if len(lengths) == 1:
        order = random.sample(range(max(lengths)), max(lengths))
        for place, each in enumerate(lists):
            if each:
                parts = each[1].split(",")
                row[place] = '"[' + ",".join(parts[at] for at in order) + ']"'


def change_column(rows, random):
    names = ["prediction", "responses", "trial_indices", "comment", "", "Prediction", "image_id"]
    kind = random.randrange(3)
    if kind == 0 and rows[0]:
        rows[0][random.randrange(len(rows[0]))] = random.choice(names)
    elif kind == 1:
        for row in rows:
            row.append("" if row is not rows[0] else random.choice(names))
    else:
        for row in rows:
            row[:] = row[:3]


def change_bytes(content, random):
    start = random.randrange(len(content) + 1)
    end = min(len(content), start + random.choice([0, 1, 1, 2, 9, 60]))
    kind = random.randrange(5)
    letter = random.choice(BYTES)
    return [
        content[:start] + content[end:],
        content[:end] + content[start:],
        content[:start],
        letter + content,
        content[:start] + letter + content[start + random.randrange(2) :],
    ][kind]


HARMLESS = [partial(change_number, GOOD_NUMBERS), reorder, shuffle_neurons]
HARMFUL = [partial(change_number, BAD_NUMBERS)] * 4
HARMFUL += [change_quotes, change_length, add_space, change_id, change_marks, change_cells]
HARMFUL += [change_rows, change_column]


def spoil(column, random):
    """The bytes of a file with harmless changes, and with no, one or several harmful ones."""
    rows = table(column, random)
    harmful, of_bytes = random.choice([(0, 0)] * 6 + [(1, 0)] * 10 + [(0, 1)] * 3 + [(2, 1)])
    changes = random.choices(HARMLESS, k=random.randrange(4))
    changes += random.choices(HARMFUL, k=harmful)
    for change in changes:
        change(rows, random)
    end = random.choice([*["\n"] * 30, *ENDS])
    content = end.join(",".join(row) for row in rows).encode() + random.choice([b"", b"\n"])
    if random.random() < 0.2:
        content = b"\xef\xbb\xbf" + content
    for _ in range(of_bytes):
        content = change_bytes(content, random)
    return content


# ---- comparisons ----


def or_none(function, *arguments):
    """What a function of the strict reader returns, or None if it refuses."""
    try:
        return function(*arguments)
    except strict_csv.Refused:
        return None


def strict_scores(submission, truth):
    predictions = strict_csv.match(submission, truth)
    responses = strict_csv.match(truth, truth)
    images = [image for _, image, _, _ in truth]
    return compute_scores(predictions, responses, images, sorted(truth[0][3]))


def kit_rows(path, column, decode):
    """The rows of a file, or None if it or one of its rows is refused."""
    try:
        with mock.patch.object(reader, "loads", decode):
            rows = reader.read_rows(path, column)
    except ValueError as problem:
        assert_one_sentence(problem)
        return None
    return None if any(row.fault for row in rows) else rows


def kit_scores(submission, truth, decode):
    """The scores, or the sentence with which `kit.grade` refuses."""
    with mock.patch.object(reader, "loads", decode):
        try:
            return kit.grade(submission, truth)
        except ValueError as problem:
            assert_one_sentence(problem)
            return str(problem)


def assert_one_sentence(problem):
    assert type(problem) is ValueError
    assert str(problem).isprintable()  # so it has one line
    assert len(str(problem)) < 3000


def assert_same_rows(found, expected):
    assert (found is None) == (expected is None)
    for row, (trial, image, values, neurons) in zip(found or [], expected or [], strict=True):
        assert (row.trial, row.image, row.neurons.tolist()) == (trial, image, list(neurons))
        assert row.values.dtype == np.float64
        assert row.values.tolist() == values


def assert_same_scores(found, expected):
    if expected is None:
        assert isinstance(found, str)
        return
    assert found.per_neuron.keys() == expected.per_neuron.keys()
    for name, values in expected.per_neuron.items():
        np.testing.assert_array_equal(found.per_neuron[name], values, err_msg=name)


def compare(number, folder):
    """Compare the readers on one file and on its grade. Returns whether it is graded."""
    rng = random.Random(number)
    spoiled = rng.choice(["prediction", "prediction", "prediction", "responses"])
    contents, paths, expected = {}, {}, {}
    for column in ("prediction", "responses"):
        rows = "\n".join(",".join(row) for row in table(column, rng)).encode()
        contents[column] = spoil(column, rng) if column == spoiled else rows
        paths[column] = folder / f"{column}.csv"
        paths[column].write_bytes(contents[column])
        expected[column] = or_none(strict_csv.read, contents[column], column)
    by_orjson, by_json = (kit_rows(paths[spoiled], spoiled, decode) for decode in DECODERS)
    assert_same_rows(by_orjson, expected[spoiled])
    assert_same_rows(by_json, expected[spoiled])
    for one, other in zip(by_orjson or [], by_json or [], strict=True):
        assert one.values.tobytes() == other.values.tobytes()
    whole = None not in expected.values()
    scores = or_none(strict_scores, *expected.values()) if whole else None
    by_orjson, by_json = (kit_scores(*paths.values(), decode) for decode in DECODERS)
    assert_same_scores(by_orjson, scores)
    assert_same_scores(by_json, scores)
    assert scores is not None or by_orjson == by_json  # the same sentences
    return scores is not None


@pytest.mark.parametrize("part", range(5))
def test_read_rows_agrees_with_a_strict_reader(part, tmp_path):
    graded = refused = 0
    for number in range(part, FILES, 5):
        try:
            good = compare(number, tmp_path)
        except Exception as problem:
            problem.add_note(f"file {number}")
            raise
        graded, refused = graded + good, refused + (not good)
    print(f"{graded} graded, {refused} refused")
    assert min(graded, refused) > FILES / 50
