"""The official files: written, checked and graded by id; every fault is named, none is graded."""

import csv
import json

import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kit
from kit.challenge.csv_files import FILES, TRUTH_FILES

LIVE, FINAL = FILES["test"], FILES["final_test"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny competition mouse, the two files of a model, and the two ground truths."""
    folder = tmp_path_factory.mktemp("submission")
    recording = tiny.arrays()
    data = kit.load(tiny.write(folder, recording, withholds=["responses"]), folder=folder / "data")
    model = kit.linear_baseline(data, channels=2)
    kit.submit(model, data, folder / "mine")
    kit.write_ground_truth(data, tiny.standardised(recording), folder / "truth")
    return folder, data, model


@pytest.fixture
def live(world):
    return read(world[0] / "mine" / LIVE)


@pytest.fixture
def truth(world):
    return world[0] / "truth" / TRUTH_FILES["test"]


def read(path):
    """Header and rows [trial, image, values, neurons] of a file."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, [[t, i, json.loads(v), json.loads(n)] for t, i, v, n in rows]


def write(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[t, i, str(v), str(n)] for t, i, v, n in rows])
    return path


# ---- what is written ----


def test_written_files_are_the_official_ones(world, live):
    folder, data, model = world
    paths = kit.submit(model, data, folder / "again")
    assert [path.name for path in paths] == [LIVE, FINAL]
    assert sorted(p.name for p in (folder / "again").iterdir()) == sorted([LIVE, FINAL])
    header, rows = live
    assert header == ["trial_indices", "image_ids", "prediction", "neuron_ids"]
    mouse = data.mouse
    at = mouse.rows("test")
    assert [row[0] for row in rows] == mouse.trial_ids[at].tolist()
    assert [int(row[1]) for row in rows] == mouse.image_ids[at].tolist()
    assert all(row[3] == mouse.unit_ids.tolist() for row in rows)
    predictions = kit.predict(model, data, "test")
    np.testing.assert_allclose([row[2] for row in rows], predictions, rtol=1e-6)


def test_a_submission_passes_the_check_file_by_file_and_as_a_folder(world):
    folder, data, _ = world
    for path in (folder / "mine" / LIVE, folder / "mine" / FINAL, folder / "mine"):
        report = kit.check(path, data)
        assert report, report
        assert str(report).startswith("OK")
    assert "11 trials of 24 neurons" in str(kit.check(folder / "mine" / LIVE, data))
    assert "7 trials of 24 neurons" in str(kit.check(folder / "mine" / FINAL, data))


def test_a_file_of_any_name_is_checked_against_the_tier_it_shares_trials_with(world, tmp_path):
    folder, data, _ = world
    for name, tier in ((LIVE, "test"), (FINAL, "final_test")):
        path = tmp_path / f"my-{tier}.csv"
        path.write_bytes((folder / "mine" / name).read_bytes())
        report = kit.check(path, data)
        assert report, report
        assert f"tier {tier}," in str(report)


def test_a_grade_is_the_score_of_the_predictions(world, truth):
    folder, data, model = world
    mouse = data.mouse
    grade = kit.grade(folder / "mine" / LIVE, truth)
    rows, order = mouse.rows("test"), np.argsort(mouse.unit_ids)
    responses = tiny.standardised(tiny.arrays())[rows][:, order]
    predictions = kit.predict(model, data, "test")[:, order]
    expected = kit.metrics.correlation(predictions, responses)
    np.testing.assert_array_equal(grade.per_neuron["unit_ids"], np.sort(mouse.unit_ids))
    np.testing.assert_allclose(grade.per_neuron["single_trial"], expected, atol=1e-6)
    assert grade.single_trial == pytest.approx(expected.mean(), abs=1e-6)


def test_the_truth_itself_has_perfect_single_trial_correlation(world, truth, tmp_path):
    header, rows = read(truth)
    header[header.index("responses")] = "prediction"
    scores = kit.grade(write(tmp_path / LIVE, header, rows), truth)
    assert scores.single_trial == pytest.approx(1, abs=1e-6)
    assert scores.to_average == pytest.approx(1, abs=1e-6)
    assert scores.feve > 1  # the noise of each trial is predicted too


def test_trials_with_integer_ids(tmp_path):
    recording = tiny.arrays(hashed=False)
    data = kit.load(tiny.write(tmp_path, recording), folder=tmp_path / "data")
    live, _ = kit.submit(kit.linear_baseline(data, channels=2), data, tmp_path)
    assert kit.check(tmp_path, data)
    truth, _ = kit.write_ground_truth(data, data.mouse.responses, tmp_path)
    assert np.isfinite(kit.grade(live, truth).single_trial)
    _, rows = read(live)
    assert [int(row[0]) for row in rows] == data.mouse.trial_ids[data.mouse.rows("test")].tolist()


def test_nothing_is_written_if_a_prediction_is_not_finite(world, tmp_path):
    _, data, _ = world
    model = kit.linear_baseline(data, channels=2)
    model.readouts[data.mouse.mouse].bias.data[3] = float("nan")
    with pytest.raises(ValueError, match=r"11 of 264 predictions for tier 'test' are not finite"):
        kit.submit(model, data, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_submission_there_is_replaced_whole(world, tmp_path):
    folder, data, model = world
    (tmp_path / LIVE).write_text("an older file\n" * 100_000)
    kit.submit(model, data, tmp_path)
    assert (tmp_path / LIVE).read_bytes() == (folder / "mine" / LIVE).read_bytes()


def test_a_submission_that_cannot_be_written_says_so(world, tmp_path):
    _, data, model = world
    (tmp_path / LIVE).mkdir()
    with pytest.raises(OSError, match=LIVE):
        kit.submit(model, data, tmp_path)


def test_a_recording_without_final_test_cannot_be_submitted(tmp_path):
    recording = tiny.arrays(test={"test": (3, 3)})
    data = kit.load(tiny.write(tmp_path, recording), folder=tmp_path / "data")
    with pytest.raises(ValueError, match="no tier 'final_test'; its tiers are train, validation"):
        kit.submit(kit.linear_baseline(data, channels=2), data, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_ground_truth_of_another_shape_is_refused(world, tmp_path):
    _, data, _ = world
    with pytest.raises(ValueError, match=r"\(5, 24\).*\(70, 24\)"):
        kit.write_ground_truth(data, np.ones((5, 24)), tmp_path / "truth")


# ---- any order ----


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_order_of_rows_and_of_neurons_does_not_matter(world, truth, tmp_path, random):
    folder, data, _ = world
    header, rows = read(folder / "mine" / LIVE)
    random.shuffle(rows)
    for row in rows:
        pairs = list(zip(row[2], row[3], strict=True))
        random.shuffle(pairs)
        row[2], row[3] = (list(column) for column in zip(*pairs, strict=True))
    mixed = write(tmp_path / LIVE, header, rows)
    assert kit.check(mixed, data)
    ours, theirs = kit.grade(folder / "mine" / LIVE, truth), kit.grade(mixed, truth)
    for name, values in ours.per_neuron.items():
        np.testing.assert_array_equal(values, theirs.per_neuron[name], err_msg=name)


def test_order_of_columns_does_not_matter_and_others_are_left_alone(world, truth, live, tmp_path):
    folder, data, _ = world
    header, rows = live
    mixed = tmp_path / LIVE
    with mixed.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
        writer = csv.writer(file)
        writer.writerow(["comment", *reversed(header)])
        writer.writerows(["", *map(str, reversed(row))] for row in rows)
    assert kit.check(mixed, data)
    grade = kit.grade(mixed, truth)
    assert grade.single_trial == kit.grade(folder / "mine" / LIVE, truth).single_trial


# ---- faults ----


def fault_missing_trial(rows):
    del rows[4]
    return ["1 trial (", "missing", 4]


def fault_three_trials_missing(rows):
    del rows[4:7]
    return ["3 trials (", "missing", 4]


def fault_doubled_trial(rows):
    rows.append(rows[2])
    return ["1 trial (", "doubled", 2]


def fault_unknown_trial(rows):
    rows.append(["f" * 32, *rows[0][1:]])
    return [f"1 trial ({'f' * 32}) unknown"]


def fault_missing_neuron(rows):
    neuron = rows[3][3].pop(7)
    rows[3][2].pop(7)
    return [f"1 neuron ({neuron}) missing, first in trial", 3]


def fault_neuron_missing_everywhere(rows):
    for row in rows:
        neuron = row[3].pop(0)
        row[2].pop(0)
    return [f"1 neuron ({neuron}) missing, first in trial", 0]


def fault_doubled_neuron(rows):
    rows[5][3].append(rows[5][3][1])
    rows[5][2].append(0.5)
    return [f"1 neuron ({rows[5][3][1]}) doubled, first in trial", 5]


def fault_unknown_neuron(rows):
    rows[6][3].append(123456)
    rows[6][2].append(0.5)
    return ["1 neuron (123456) unknown, first in trial", 6]


def fault_nan(rows):
    rows[1][2][0] = float("nan")
    return ["1 trial (", "values that are not finite", 1]


def fault_infinite(rows):
    rows[1][2][0] = float("inf")
    rows[8][2][3] = float("-inf")
    return ["2 trials (", "values that are not finite", 1]


def fault_absurdly_large(rows):
    rows[7][2][5] = -1e300  # its square is infinite, and so would be the scores
    return ["1 trial (", "values that are not finite, or beyond 1e+30", 7]


def fault_null(rows):
    rows[2] = [*rows[2][:2], json.dumps([None, *rows[2][2][1:]]), rows[2][3]]
    return ["1 trial (", "values that are not finite", 2]


def fault_other_image(rows):
    rows[9][1] = "1"
    return ["1 trial (", "image_ids of another image", 9]


def fault_lengths_differ(rows):
    rows[0][2].pop()
    rows[3][2].append(1.0)
    return ["2 rows (2, 5) without two lists of equal length"]


def fault_no_list(rows):
    rows[4][2] = "0.1 0.2 0.3"
    return ["1 row (6) without two lists"]


def fault_empty_lists(rows):
    rows[4][2], rows[4][3] = [], []
    return ["24 neurons (", "missing, first in trial", 4]


def fault_fractional_neuron(rows):
    rows[4][3] = [neuron + 0.5 for neuron in rows[4][3]]
    return ["1 row (6)"]


def fault_endless_neuron(rows):
    rows[4][3] = "[" + ",".join(["1e300", *map(str, rows[4][3][1:])]) + "]"
    return ["1 row (6)"]


FAULTS = [value for name, value in globals().items() if name.startswith("fault_")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.removeprefix("fault_"))
def test_a_fault_is_counted_named_and_not_graded(world, truth, live, tmp_path, fault):
    header, rows = live
    trials = [row[0] for row in rows]
    # an int says which row's trial is the first offender
    expected = [trials[e] if isinstance(e, int) else e for e in fault(rows)]
    path = write(tmp_path / LIVE, header, rows)
    report = kit.check(path, world[1])
    assert not report
    assert str(report).startswith("NOT OK")
    with pytest.raises(ValueError) as refused:
        kit.grade(path, truth)
    for part in expected:
        assert part in str(report)
        assert part in str(refused.value)


def test_several_faults_are_all_told(world, truth, live, tmp_path):
    header, rows = live
    fault_nan(rows)
    fault_unknown_trial(rows)
    del rows[5]
    path = write(tmp_path / LIVE, header, rows)
    assert len(kit.check(path, world[1]).problems) == 3
    with pytest.raises(ValueError, match=r"missing; .* unknown; .* not finite"):
        kit.grade(path, truth)


def test_many_offenders_are_counted_and_three_are_shown(world, live, tmp_path):
    header, rows = live
    report = kit.check(write(tmp_path / LIVE, header, rows[:6]), world[1])
    assert "5 trials (" + ", ".join(row[0] for row in rows[6:9]) + ", …) missing" in str(report)


def test_a_file_cut_off_anywhere_is_refused(world, truth, tmp_path):
    """However a download or a full disk cuts a file, what is left is never graded."""
    folder, data, _ = world
    whole = (folder / "mine" / LIVE).read_bytes()
    lines = whole.splitlines(keepends=True)
    last = len(whole) - len(lines[-1])
    path = tmp_path / LIVE
    for end in [last // 2, last - 1, last, *range(last + 1, len(whole) - 4, 7)]:
        path.write_bytes(whole[:end])
        assert not kit.check(path, data), end
        with pytest.raises(ValueError, match="cannot be graded"):
            kit.grade(path, truth)


def test_missing_columns_are_named(world, truth, live, tmp_path):
    _, rows = live
    path = write(tmp_path / LIVE, ["trial", "image_ids", "response", "neuron_ids"], rows)
    for call in (lambda: kit.check(path, world[1]), lambda: kit.grade(path, truth)):
        with pytest.raises(ValueError, match="no column trial_indices, prediction; its first"):
            call()


def test_a_column_named_twice_is_refused(world, truth, live, tmp_path):
    header, rows = live
    path = tmp_path / LIVE
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "prediction"])
        writer.writerows([t, i, str(v), str(n), str(v)] for t, i, v, n in rows)
    for call in (lambda: kit.check(path, world[1]), lambda: kit.grade(path, truth)):
        with pytest.raises(ValueError, match="column prediction more than once"):
            call()


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"PK\x03\x04\x00\x00\xff\xfe\x00", bytes(range(256))]
)
def test_what_is_no_table_is_refused(world, truth, tmp_path, content):
    path = tmp_path / LIVE
    path.write_bytes(content)
    for call in (lambda: kit.check(path, world[1]), lambda: kit.grade(path, truth)):
        with pytest.raises(ValueError, match=f"{LIVE} (is not a CSV file|has no column)"):
            call()


def test_a_table_without_rows_lacks_every_trial(world, truth, live, tmp_path):
    path = write(tmp_path / LIVE, live[0], [])
    assert "11 trials (" in str(kit.check(path, world[1]))
    with pytest.raises(ValueError, match=r"11 trials .* missing"):
        kit.grade(path, truth)


def test_missing_files_are_named(world, truth, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no file .*{LIVE}; kit.submit writes"):
        kit.check(tmp_path, world[1])
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.csv"):
        kit.check(tmp_path / "nothing.csv", world[1])
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.csv"):
        kit.grade(tmp_path / "nothing.csv", truth)


def test_live_and_final_file_swapped(world, truth, tmp_path):
    folder, data, _ = world
    for here, there in ((LIVE, FINAL), (FINAL, LIVE)):
        (tmp_path / here).write_bytes((folder / "mine" / there).read_bytes())
    report = kit.check(tmp_path, data)
    assert not report
    assert f"{LIVE}: 11 trials (" in str(report)
    assert f"{LIVE}: 7 trials (" in str(report)
    assert f"{FINAL}: 7 trials (" in str(report)
    with pytest.raises(ValueError, match=r"11 trials .* missing; 7 trials .* unknown"):
        kit.grade(tmp_path / LIVE, truth)


TRUTH_FAULTS = {
    "no rows": (lambda r: r[:0], "holds no trials"),
    "doubled": (lambda r: [*r, r[0]], r"graded: 1 trial \(\w+\) doubled$"),
    "row without neurons": (lambda r: [*r[1:], [*r[0][:2], [], []]], r"24 neurons \(.*missing"),
    "first without neurons": (lambda r: [[*r[0][:2], [], []], *r[1:]], r"neurons? \("),
    "no neurons": (lambda r: [[*x[:2], [], []] for x in r], "neuron"),
    "nan": (lambda r: [[*r[0][:2], [np.nan, *r[0][2][1:]], r[0][3]], *r[1:]], "not finite"),
}


@pytest.mark.parametrize("name", TRUTH_FAULTS)
def test_a_fault_of_the_ground_truth_is_told_of_the_ground_truth(world, truth, tmp_path, name):
    fault, said = TRUTH_FAULTS[name]
    header, rows = read(truth)
    damaged = write(tmp_path / truth.name, header, fault(rows))
    with pytest.raises(ValueError, match=f"{truth.name}.*{said}"):
        kit.grade(world[0] / "mine" / LIVE, damaged)


def test_a_submission_is_no_ground_truth(world):
    mine = world[0] / "mine" / LIVE
    with pytest.raises(ValueError, match="no column responses"):
        kit.grade(mine, mine)


# ---- the real thing ----


def test_the_shared_recording_is_submitted_and_graded(shared, tmp_path):
    (source,) = (shared / "recordings").glob("static*.zip")
    data = kit.load(source, folder=tmp_path / "data")
    tested = np.isin(data.mouse.tiers, list(FILES))
    assert np.isnan(data.mouse.responses[tested]).all()
    responses = data.mouse.responses.copy()
    with np.load(shared / "recordings" / "withheld-90001-1-1.npz") as withheld:
        np.testing.assert_array_equal(withheld["tiers"], data.mouse.tiers[tested])
        responses[tested] = withheld["responses"]
    live, final = kit.submit(kit.cnn_baseline(data, channels=2), data, tmp_path)
    assert kit.check(tmp_path, data)
    truths = kit.write_ground_truth(data, responses, tmp_path)
    for mine, truth, tier in ((live, truths[0], "test"), (final, truths[1], "final_test")):
        scores = kit.grade(mine, truth)
        rows = data.mouse.rows(tier)
        expected = kit.metrics.correlation(
            kit.predict(kit.cnn_baseline(data, channels=2), data, tier), responses[rows]
        )
        assert scores.single_trial == pytest.approx(expected.mean(), abs=1e-6)


def test_the_sample_is_graded_against_its_truth(tmp_path):
    data = kit.load("sample+")
    model = kit.linear_baseline(data, channels=4)
    model.register_data(data)
    live, final = kit.submit(model, data, tmp_path)
    assert kit.check(tmp_path, data)
    truth = kit.truth("sample+")
    graded = [
        kit.grade(*paths)
        for paths in zip(
            (live, final), kit.write_ground_truth(data, truth.responses, tmp_path), strict=True
        )
    ]
    for scores, tier in zip(graded, ("test", "final_test"), strict=True):
        rows = data.mouse.rows(tier)
        expected = kit.metrics.correlation(kit.predict(model, data, tier), truth.responses[rows])
        assert scores.single_trial == pytest.approx(expected.mean(), abs=1e-6)
        assert 0.3 < scores.ceiling < 0.5
