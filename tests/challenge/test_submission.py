"""Submissions are written as a whole and checked."""

import shutil

import csv_rows
import numpy as np
import pytest
import tiny

import kit
from kit.challenge.csv_files import write_rows
from kit.challenge.tracks import SUBMISSION_FILES

LIVE, FINAL = SUBMISSION_FILES["test"], SUBMISSION_FILES["final_test"]


def test_submit_returns_both_paths(challenge, tmp_path):
    paths = kit.submit(challenge.model, challenge.data, tmp_path)
    assert paths == (tmp_path / LIVE, tmp_path / FINAL)
    assert set(tmp_path.iterdir()) == set(paths)  # and nothing temporary


def test_submit_refuses_predictions_that_are_not_finite(challenge, tmp_path):
    model = kit.linear_baseline(challenge.data, channels=2)
    model.readouts[challenge.data.mouse.mouse].bias.data[3] = float("nan")
    with pytest.raises(ValueError, match="some predictions are not finite, so nothing was written"):
        kit.submit(model, challenge.data, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_submit_needs_both_test_tiers(tmp_path):
    recording = tiny.arrays(test={"test": (3, 3)})
    data = kit.load(tiny.write(tmp_path, recording), folder=tmp_path / "data")
    with pytest.raises(
        ValueError, match="no tier 'final_test'; its tiers are train, validation, test"
    ):
        kit.submit(kit.linear_baseline(data, channels=2), data, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_submit_integer_trial_ids(tmp_path):
    recording = tiny.arrays(hashed=False)
    data = kit.load(tiny.write(tmp_path, recording), folder=tmp_path / "data")
    live, _ = kit.submit(kit.linear_baseline(data, channels=2), data, tmp_path)
    assert kit.check(tmp_path, data)
    truth, _ = kit.write_ground_truth(data, data.mouse.responses, tmp_path)
    assert -1 < kit.grade(live, truth).single_trial < 1
    _, rows = csv_rows.read(live)
    assert [int(row[0]) for row in rows] == data.mouse.trial_ids[data.mouse.rows("test")].tolist()


@pytest.mark.parametrize(
    ("name", "found"),
    [(LIVE, ["11 trials"]), (FINAL, ["7 trials"]), ("", ["11 trials", "7 trials"])],
)
def test_check_file_or_folder(challenge, name, found):
    report = kit.check(challenge.folder / "mine" / name, challenge.data)
    assert report, report
    assert str(report).startswith("OK")
    assert all(f"{trials} of 24 neurons" in str(report) for trials in found)


@pytest.mark.parametrize("tier", SUBMISSION_FILES)
def test_check_guesses_the_tier_of_other_names(challenge, tmp_path, tier):
    path = tmp_path / "mine.csv"
    path.write_bytes((challenge.folder / "mine" / SUBMISSION_FILES[tier]).read_bytes())
    report = kit.check(path, challenge.data)
    assert report, report
    assert f"tier {tier}," in str(report)


@pytest.mark.parametrize("factor, told", [(1, False), (2, False), (7, True), (0.1, True)])
def test_check_tells_of_other_units(challenge, tmp_path, factor, told):
    """No problem, because a model may be as poor as that; but FEVE would be ruined in silence."""
    mouse, path = challenge.data.mouse, tmp_path / LIVE
    means = mouse.responses[np.isin(mouse.tiers, ["train", "validation"])].mean(0)
    values = np.tile(factor * means, (len(mouse.rows("test")), 1))
    write_rows(path, mouse, "test", values, "prediction")
    report = kit.check(path, challenge.data)
    assert report and str(report).startswith("OK: ")
    assert (f"the mean prediction is {factor:.2g} times the mean response" in str(report)) is told


def test_check_files_swapped(challenge, tmp_path):
    (tmp_path / LIVE).write_bytes(challenge.final.read_bytes())
    (tmp_path / FINAL).write_bytes(challenge.live.read_bytes())
    report = kit.check(tmp_path, challenge.data)
    assert not report
    for found in (f"{LIVE}: 11 trials (", f"{LIVE}: 7 trials (", f"{FINAL}: 7 trials ("):
        assert found in str(report)


def test_check_names_missing_files(challenge, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no file .*{LIVE}; kit.submit writes"):
        kit.check(tmp_path, challenge.data)
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.csv"):
        kit.check(tmp_path / "nothing.csv", challenge.data)


@pytest.mark.parametrize("name", ["metadata", "metadata.yaml"])
def test_check_refuses_what_the_platform_takes_for_a_program(challenge, tmp_path, name):
    folder = shutil.copytree(challenge.folder / "mine", tmp_path / "mine")
    (folder / name).write_text("command: none")
    report = kit.check(folder, challenge.data)
    assert not report and len(report.problems) == 1
    assert f"{name}: the hosting platform would take the entry for a program" in str(report)
    assert kit.check(folder / LIVE, challenge.data)
