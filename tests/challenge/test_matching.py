"""Rows match trials and neurons in any order; what differs is counted and named."""

import json

import csv_rows
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kit
from kit.challenge import matching, reader
from kit.challenge.tracks import SUBMISSION_FILES

LIVE = SUBMISSION_FILES["test"]


# ---- match_rows, through check and grade ----


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
    "unknown trial": (lambda r: put(r[3], 0, "f" * 32), [f"1 trial ({'f' * 32} in row 5) unknown"]),
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
    "nan": (
        lambda r: put(r[1][2], 0, np.nan),
        ["1 trial (", "in row 3) whose prediction cell is not a", "of finite", 1],
    ),
    "infinite": (
        lambda r: [put(r[1][2], 0, np.inf), put(r[8][2], 3, -np.inf)],
        ["2 trials (", "in row 3, ", "in row 10) whose prediction cell is not a", "of finite", 1],
    ),
    "absurdly large": (  # its square is infinite, and so would be the scores
        lambda r: put(r[7][2], 5, -1e300),
        ["1 trial (", "up to 1e+30, such as [0.1, 2] (first: '-1e+300' at place 6)", 7],
    ),
    "null": (
        lambda r: put(r[2], 2, json.dumps([None, *r[2][2][1:]])),
        ["1 trial (", "such as [0.1, 2] (first: 'null' at place 1)", 2],
    ),
    "other image": (lambda r: put(r[9], 1, "1"), ["1 trial (", "the image_ids of another", 9]),
    "lists of unequal length": (
        lambda r: [r[0][2].pop(), r[3][2].append(1.0)],
        [
            "2 trials (",
            "in row 2, ",
            "in row 5) whose prediction and neuron_ids cells differ in length",
        ],
    ),
    "no list": (
        lambda r: put(r[4], 2, "0.1 0.2 0.3"),
        ["in row 6) whose prediction cell is not a JSON list", "(first: no '[' at its start)"],
    ),
    "empty lists": (
        lambda r: [r[4][2].clear(), r[4][3].clear()],
        ["24 neurons (", "missing, first in trial", 4],
    ),
    "fractional neuron": (
        lambda r: put(r[4][3], 0, 0.5),
        ["1 trial (", "in row 6) whose neuron_ids cell is not", 4],
    ),
    "endless neuron": (
        lambda r: put(r[4][3], 0, 1e300),
        ["1 trial (", "in row 6) whose neuron_ids cell is not", 4],
    ),
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


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-4, 4), max_size=6), min_size=1, max_size=5))
def test_find_problems_of_neurons_is_what_sets_say(lists):
    expected = [-2, -1, 1, 3]
    rows = [
        reader.Row(place, f"t{place}", "7", np.ones(len(ids)), np.array(ids, np.int64))
        for place, ids in enumerate(lists, start=2)
    ]
    first = {"missing": {}, "duplicated": {}, "unknown": {}}
    for row, ids in zip(rows, lists, strict=True):
        for fault, found in {
            "missing": [id for id in expected if id not in ids],
            "duplicated": sorted({id for id in ids if ids.count(id) > 1}),
            "unknown": sorted(set(ids) - set(expected)),
        }.items():
            for id in found:
                first[fault].setdefault(id, row)
    trials = [row.trial for row in rows]
    problems = matching.find_problems(rows, trials, ["7"] * len(rows), np.array([3, -1, 1, -2]))
    sentences = []
    for fault, found in first.items():
        if found:
            noun = "neurons" if len(found) > 1 else "neuron"
            some = ", ".join(map(str, list(found)[:3])) + (", …" if len(found) > 3 else "")
            row = next(iter(found.values()))
            where = f"first in trial {row.trial} in row {row.number}"
            sentences.append(f"{len(found)} {noun} ({some}) {fault}, {where}")
    assert problems == sentences


def test_find_problems_reports_all(challenge, live_rows, tmp_path):
    header, rows = live_rows
    for fault in ("nan", "unknown trial", "other image"):
        FAULTS[fault][0](rows)
    found = problems(csv_rows.write(tmp_path / LIVE, header, rows), challenge).split("; ")
    assert ["of finite numbers" in sentence for sentence in found] == [True, False, False, False]
    assert [part.split()[-1] for part in found[1:]] == ["missing", "unknown", "image"]


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
    for end in [last // 2, last - 1, last, *range(last + 1, len(content) - 1)]:
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=LIVE):
            kit.grade(path, challenge.truth)
        try:
            assert not kit.check(path, challenge.data), end
        except ValueError as problem:  # within quotes
            assert f"{LIVE} is not a CSV file from row" in str(problem)
