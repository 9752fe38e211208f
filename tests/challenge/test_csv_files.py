"""The official files: order does not matter; every problem is counted, named and not graded."""

import json

import csv_rows
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kit
from kit.challenge.csv_files import SUBMISSION_FILES

LIVE = SUBMISSION_FILES["test"]


# ---- write_rows ----


def test_write_rows_in_the_official_layout(challenge, live_rows):
    header, rows = live_rows
    assert header == ["trial_indices", "image_ids", "prediction", "neuron_ids"]
    mouse = challenge.data.mouse
    test = mouse.rows("test")
    assert [row[0] for row in rows] == mouse.trial_ids[test].tolist()
    assert [int(row[1]) for row in rows] == mouse.image_ids[test].tolist()
    assert all(row[3] == mouse.unit_ids.tolist() for row in rows)
    predictions = kit.predict(challenge.model, challenge.data, "test")
    np.testing.assert_allclose([row[2] for row in rows], predictions, rtol=1e-6)


# ---- read_rows and match_rows ----


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_match_rows_in_any_order(challenge, tmp_path, random):
    header, rows = csv_rows.read(challenge.live)
    random.shuffle(rows)
    for row in rows:
        pairs = list(zip(row[2], row[3], strict=True))
        random.shuffle(pairs)
        row[2], row[3] = (list(column) for column in zip(*pairs, strict=True))
    mixed = csv_rows.write(tmp_path / LIVE, header, rows)
    assert kit.check(mixed, challenge.data)
    ours, theirs = kit.grade(challenge.live, challenge.truth), kit.grade(mixed, challenge.truth)
    for name, values in ours.per_neuron.items():
        np.testing.assert_array_equal(values, theirs.per_neuron[name], err_msg=name)


def test_read_rows_with_other_columns_in_any_order(challenge, live_rows, tmp_path):
    header, rows = live_rows
    header, rows = ["comment", *reversed(header)], [["", *reversed(row)] for row in rows]
    mixed = csv_rows.write(tmp_path / LIVE, header, rows)
    mixed.write_text(mixed.read_text(), encoding="utf-8-sig")  # as a spreadsheet saves it
    assert kit.check(mixed, challenge.data)
    grade = kit.grade(mixed, challenge.truth)
    assert grade.single_trial == kit.grade(challenge.live, challenge.truth).single_trial


def test_read_rows_with_ids_of_a_spreadsheet(challenge, live_rows, tmp_path):
    header, rows = live_rows
    for row in rows:
        row[1], row[3] = f" {row[1]}.0 ", [float(neuron) for neuron in row[3]]
    assert kit.check(csv_rows.write(tmp_path / LIVE, header, rows), challenge.data)


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


# ---- find_problems ----


def drop(row, place):
    row[2].pop(place)
    row[3].pop(place)


def add(row, neuron):
    row[2].append(0.5)
    row[3].append(neuron)


def put(cells, place, value):
    cells[place] = value


FAULTS = {  # how rows are damaged, and what is reported; an int stands for the id of that trial
    "missing trial": (lambda r: r.pop(4), ["1 trial (", ") missing", 4]),
    "duplicated trial": (lambda r: r.append(r[2]), ["1 trial (", ") duplicated", 2]),
    "unknown trial": (lambda r: put(r[3], 0, "f" * 32), [f"1 trial ({'f' * 32}) unknown"]),
    "missing neuron": (lambda r: drop(r[3], 7), ["1 neuron (", ") missing, first in trial", 3]),
    "neuron missing everywhere": (
        lambda r: [drop(row, 0) for row in r],
        ["1 neuron (", ") missing, first in trial", 0],
    ),
    "duplicated neuron": (
        lambda r: add(r[5], r[5][3][1]),
        ["1 neuron (", ") duplicated, first in trial", 5],
    ),
    "unknown neuron": (
        lambda r: add(r[6], 123456),
        ["1 neuron (123456) unknown, first in trial", 6],
    ),
    "nan": (lambda r: put(r[1][2], 0, np.nan), ["1 trial (", "that are not finite", 1]),
    "infinite": (
        lambda r: [put(r[1][2], 0, np.inf), put(r[8][2], 3, -np.inf)],
        ["2 trials (", "that are not finite", 1],
    ),
    "absurdly large": (  # its square is infinite, and so would be the scores
        lambda r: put(r[7][2], 5, -1e300),
        ["1 trial (", "values that are not finite, or beyond 1e+30", 7],
    ),
    "null": (
        lambda r: put(r[2], 2, json.dumps([None, *r[2][2][1:]])),
        ["1 trial (", "that are not finite", 2],
    ),
    "other image": (lambda r: put(r[9], 1, "1"), ["1 trial (", "the image_ids of another", 9]),
    "lists of unequal length": (
        lambda r: [r[0][2].pop(), r[3][2].append(1.0)],
        ["2 rows (2, 5) without two lists of equal length"],
    ),
    "no list": (lambda r: put(r[4], 2, "0.1 0.2 0.3"), ["1 row (6) without two lists"]),
    "empty lists": (
        lambda r: [r[4][2].clear(), r[4][3].clear()],
        ["24 neurons (", "missing, first in trial", 4],
    ),
    "fractional neuron": (lambda r: put(r[4][3], 0, 0.5), ["1 row (6)"]),
    "endless neuron": (lambda r: put(r[4][3], 0, 1e300), ["1 row (6)"]),
}


def problems(path, challenge):
    """What the check reports; the same is refused by the grading."""
    report = kit.check(path, challenge.data)
    assert not report
    assert str(report).startswith("NOT OK")
    with pytest.raises(ValueError, match="cannot be graded") as error:
        kit.grade(path, challenge.truth)
    assert str(error.value).endswith("; ".join(report.problems))
    return "; ".join(report.problems)


@pytest.mark.parametrize("fault", FAULTS)
def test_find_problems_counts_and_names(challenge, live_rows, tmp_path, fault):
    header, rows = live_rows
    trials = [row[0] for row in rows]
    change, expected = FAULTS[fault]
    change(rows)
    found = problems(csv_rows.write(tmp_path / LIVE, header, rows), challenge)
    for part in expected:
        assert (trials[part] if isinstance(part, int) else part) in found


def test_find_problems_reports_all(challenge, live_rows, tmp_path):
    header, rows = live_rows
    for fault in ("nan", "unknown trial", "other image"):
        FAULTS[fault][0](rows)
    found = problems(csv_rows.write(tmp_path / LIVE, header, rows), challenge)
    assert [part.split()[-1] for part in found.split("; ")] == [
        "missing",
        "unknown",
        "1e+30",
        "image",
    ]


def test_find_problems_shows_three_of_many(challenge, live_rows, tmp_path):
    header, rows = live_rows
    found = problems(csv_rows.write(tmp_path / LIVE, header, rows[:6]), challenge)
    assert "5 trials (" + ", ".join(row[0] for row in rows[6:9]) + ", …) missing" in found


def test_find_problems_without_rows(challenge, live_rows, tmp_path):
    path = csv_rows.write(tmp_path / LIVE, live_rows[0], [])
    assert "11 trials (" in problems(path, challenge)


def test_find_problems_of_a_file_cut_off_anywhere(challenge, tmp_path):
    """However a download or a full disk cuts a file, what is left is never graded."""
    content = challenge.live.read_bytes()
    last = len(content) - len(content.splitlines(keepends=True)[-1])  # start of the last row
    path = tmp_path / LIVE
    for end in [last // 2, last - 1, last, *range(last + 1, len(content) - 4, 7)]:
        path.write_bytes(content[:end])
        assert problems(path, challenge), end
