"""Grades are the scores of the predictions, as the 2022 code gives them."""

import json
from pathlib import Path

import csv_rows
import numpy as np
import pytest
import tiny

import kit
from kit.challenge.tracks import SUBMISSION_FILES

REFERENCE = Path(__file__).parents[1] / "fixtures" / "reference"


NAMES = {  # ours -> the 2022 code's
    "unit_ids": "neuron_ids",
    "single_trial": "single_trial_correlation",
    "to_average": "correlation_to_average",
    "fev": "fev",
    "feve": "feve",
    "oracle": "oracle_jackknife",
}


@pytest.mark.parametrize("name", ["submission_file_live_test.csv", "submission_shuffled.csv"])
def test_grade_equals_the_2022_code(name):
    expected = json.loads((REFERENCE / "expected_scores.json").read_text())
    found = kit.grade(REFERENCE / name, REFERENCE / "ground_truth_file_test.csv")
    mean = expected["mean"]
    assert found.single_trial == pytest.approx(mean["Single Trial Correlation"], abs=1e-9)
    assert found.to_average == pytest.approx(mean["Correlation to Average"], abs=1e-9)
    assert found.feve == pytest.approx(mean["FEVE"], abs=1e-9)
    each = expected["per_neuron_ascending_unit_id"]
    for ours, theirs in NAMES.items():
        np.testing.assert_allclose(
            found.per_neuron[ours], each[theirs], rtol=0, atol=1e-9, err_msg=theirs
        )


def test_grade_refuses_another_test_set(challenge):
    with pytest.raises(ValueError, match=r"11 trials .* missing; 7 trials .* unknown"):
        kit.grade(challenge.final, challenge.truth)


TRUTH_FAULTS = {
    "no rows": (lambda r: r[:0], "holds no responses to grade"),
    "duplicated": (lambda r: [*r, r[0]], r"graded: 1 trial \(\w+ in row 13\) duplicated$"),
    "first without neurons": (
        lambda r: [[*r[0][:2], [], []], *r[1:]],
        r"1 trial \(.* with other neurons \(first: 24 n",
    ),
    "no neurons": (lambda r: [[*x[:2], [], []] for x in r], "holds no responses to grade"),
    "nan": (lambda r: [[*r[0][:2], [np.nan, *r[0][2][1:]], r[0][3]], *r[1:]], "of finite numbers"),
}


@pytest.mark.parametrize("name", TRUTH_FAULTS)
def test_grade_names_problems_of_the_ground_truth(challenge, tmp_path, name):
    fault, message = TRUTH_FAULTS[name]
    header, rows = csv_rows.read(challenge.truth)
    damaged = csv_rows.write(tmp_path / challenge.truth.name, header, fault(rows))
    with pytest.raises(ValueError, match=f"{damaged.name}.*{message}"):
        kit.grade(challenge.live, damaged)


OTHER_RESPONSES = {  # responses that are not those of the recording, and words about them
    "raw": (lambda own, std: own * std, "in 52 of the 70 trials; give all in its units"),
    "neurons reversed": (lambda own, std: own[:, ::-1], "in 52 of the 70 trials; give all"),
    "trials reversed": (lambda own, std: own[::-1], "in 52 of the 70 trials; give all"),
    "standardised": (lambda own, std: (own - own.mean(0)) / own.std(0), "in 52 of the 70 trials"),
    "not finite": (lambda own, std: np.where(own == own[-1, 3], np.nan, own), "not finite, or not"),
    "fewer": (
        lambda own, std: own[:5],
        r"responses must be numbers \(70, 24\), these are \(5, 24\)",
    ),
}


@pytest.mark.parametrize("name", OTHER_RESPONSES)
def test_write_ground_truth_refuses_other_responses(challenge, tmp_path, name):
    change, message = OTHER_RESPONSES[name]
    arrays = tiny.arrays()
    responses = change(tiny.standardised(arrays), arrays["responses"].std(0))
    with pytest.raises(ValueError, match=message):
        kit.write_ground_truth(challenge.data, responses, tmp_path / "truth")
    assert not (tmp_path / "truth").exists()


@pytest.mark.parametrize("withholds, track", [([], "sensorium+"), (["behavior"], "sensorium")])
def test_write_ground_truth_records_the_track(tmp_path, withholds, track):
    data = kit.load(tiny.write(tmp_path, withholds=withholds), folder=tmp_path / "data")
    paths = kit.write_ground_truth(data, data.mouse.responses, tmp_path / "truth")
    assert [kit.challenge.read_ground_truth(path).track for path in paths] == [track] * 2
    (tmp_path / "truth" / "track.txt").write_text("sensorum")
    with pytest.raises(ValueError, match=r"track.txt says 'sensorum'; write one of sensorium, sen"):
        kit.challenge.read_ground_truth(paths[0])
    (tmp_path / "truth" / "track.txt").unlink()
    assert kit.challenge.read_ground_truth(paths[0]).track is None


def submit_and_grade(data, model, responses, folder):
    """The scores of both tiers, which are those of the predictions themselves."""
    submission = kit.submit(model, data, folder)
    assert kit.check(folder, data)
    truth = kit.write_ground_truth(data, responses, folder)
    graded = [kit.grade(*paths) for paths in zip(submission, truth, strict=True)]
    for scores, tier in zip(graded, SUBMISSION_FILES, strict=True):
        predictions = kit.predict(model, data, tier)
        expected = kit.metrics.correlation(predictions, responses[data.mouse.rows(tier)])
        assert scores.single_trial == pytest.approx(expected.mean(), abs=1e-6)
    return graded


def test_grade_of_a_recording_by_another_program(shared, tmp_path):
    (source,) = (shared / "recordings").glob("static*.zip")
    data = kit.load(source, folder=tmp_path / "data")
    tested = np.isin(data.mouse.tiers, list(SUBMISSION_FILES))
    assert np.isnan(data.mouse.responses[tested]).all()
    responses = data.mouse.responses.copy()
    with np.load(shared / "recordings" / "withheld-90001-1-1.npz") as withheld:
        np.testing.assert_array_equal(withheld["tiers"], data.mouse.tiers[tested])
        responses[tested] = withheld["responses"]
    submit_and_grade(data, kit.cnn_baseline(data, channels=2), responses, tmp_path)


def test_grade_of_the_sample(tmp_path):
    data = kit.load("sample+")
    model = kit.linear_baseline(data, channels=4)
    model.register_data(data)
    graded = submit_and_grade(data, model, kit.truth("sample+").responses, tmp_path)
    assert all(0.3 < scores.ceiling < 0.5 for scores in graded)
