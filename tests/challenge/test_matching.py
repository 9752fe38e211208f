"""Rows match trials and neurons in any order; what differs is counted and named."""

import csv_rows
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kit
from kit.challenge import matching, reader
from kit.challenge.tracks import SUBMISSION_FILES

LIVE = SUBMISSION_FILES["test"]


# ---- find_problems ----


def drop(row, place):
    row[2].pop(place)
    row[3].pop(place)


def add(row, neuron):
    row[2].append(0.5)
    row[3].append(neuron)


def put(cells, place, value):
    cells[place] = value


NOT_NUMBERS = "where prediction is not a JSON list of finite numbers up to 1e+30"
FAULTS = {  # how rows are damaged, and what is reported; an int stands for the id of that trial
    "no rows": (lambda r: r.clear(), ["11 trials (", ", …) missing", 0, 1, 2]),
    "missing trial": (lambda r: r.pop(4), ["1 trial (", ") missing", 4]),
    "duplicated trial": (lambda r: r.append(r[2]), ["1 trial (", " in row 13) duplicated", 2]),
    "unknown trial": (lambda r: put(r[3], 0, "f" * 32), [f"1 trial ({'f' * 32} in row 5) unknown"]),
    "neuron missing everywhere": (
        lambda r: [drop(row, 0) for row in r],
        ["11 trials (", "in row 4, …) with other neurons (first: 1 neuron (", ") missing)", 0],
    ),
    "unknown neuron": (lambda r: add(r[6], 123456), ["(first: 1 neuron (123456) unknown)", 6]),
    "nan": (lambda r: put(r[1][2], 0, np.nan), ["1 trial (", f"in row 3) {NOT_NUMBERS}", 1]),
    "absurdly large": (  # its square is infinite, and so would be the scores
        lambda r: put(r[7][2], 5, -1e300),
        ["1 trial (", NOT_NUMBERS, "(first: '-1e+300' at place 6)", 7],
    ),
    "other image": (lambda r: put(r[9], 1, "1"), ["1 trial (", "the image_ids of another", 9]),
    "lists of unequal length": (
        lambda r: [r[0][2].pop(), r[3][2].append(1.0)],
        ["2 trials (", "in row 2, ", "in row 5) where prediction and neuron_ids differ in length"],
    ),
    "empty lists": (
        lambda r: [r[4][2].clear(), r[4][3].clear()],
        ["with other neurons (first: 24 neurons (5, 8, 11, …) missing)", 4],
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
        reader.Row(number, f"t{number}", "7", np.ones(len(ids)), np.array(sorted(ids), np.int64))
        for number, ids in enumerate(lists, start=2)
    ]
    trials = [row.trial for row in rows]
    problems = matching.find_problems(rows, trials, ["7"] * len(rows), np.array([3, -1, 1, -2]))
    others = [row for row, ids in zip(rows, lists, strict=True) if sorted(ids) != expected]
    assert len(problems) == bool(others)
    if others:
        ids = others[0].neurons.tolist()
        assert f"{others[0].trial} in row {others[0].number}" in problems[0]
        assert ("missing" in problems[0]) == bool(set(expected) - set(ids))
        assert ("duplicated" in problems[0]) == (len(set(ids)) < len(ids))
        assert ("unknown" in problems[0]) == bool(set(ids) - set(expected))


def test_find_problems_reports_all(challenge, live_rows, tmp_path):
    header, rows = live_rows
    for fault in ("nan", "unknown trial", "other image"):
        FAULTS[fault][0](rows)
    found = problems(csv_rows.write(tmp_path / LIVE, header, rows), challenge).split("; ")
    words = ["missing", "finite numbers", "unknown", "the image_ids of another image"]
    assert all(part in sentence for part, sentence in zip(words, found, strict=True))


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
            assert f"{LIVE} is not a CSV file of four columns from row" in str(problem)
