"""Two entries compared: files, models, and the sentence."""

import shutil

import pytest
import tiny

import kit


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Submission files of four models of `sample+`, and their ground truth."""
    folder, data = tmp_path_factory.mktemp("entries"), kit.load("sample+")
    for name in ("cnn", "shifter-gain-1", "shifter-gain-2", "ln"):
        kit.submit(kit.pretrained(f"sample+-{name}"), data, folder / name)
    truth, _ = kit.write_ground_truth(data, kit.truth("sample+").responses, folder / "truth")
    return {path.parent.name: path for path in folder.glob("*/*live*")} | {"truth": truth}


def test_compare_finds_the_better_of_two_files(files):
    found = kit.compare(files["ln"], files["cnn"], files["truth"], track="sensorium+")
    scores = [kit.grade(files[name], files["truth"]).single_trial for name in ("ln", "cnn")]
    assert found.scores == pytest.approx(scores, abs=1e-9)
    assert found.difference == pytest.approx(scores[0] - scores[1], abs=1e-9)
    assert found.interval[1] < 0 and found.p < 0.001 and found.metric == "single-trial correlation"
    low, high = str(found).split("interval ")[1].split(",")[0].split(" to ")
    assert 0 < float(low) < float(high)  # the better one first
    assert str(found).startswith(
        "cnn is better than ln: single-trial correlation 0.4262 and 0.3287, cnn higher by 0.0975"
    )
    assert "p < .001); this is about other images than these 60, for the same 600 n" in str(found)
    other = kit.compare(files["cnn"], files["ln"], files["truth"], track="sensorium+")
    assert str(other) == str(found) and other.difference == -found.difference


def test_compare_a_file_with_itself(files):
    found = kit.compare(files["cnn"], files["cnn"], files["truth"], track="sensorium")
    assert "have the same correlation to average, 0.7072" in str(found) and found.p == 1


def test_compare_says_when_two_cannot_be_told_apart(files):
    one, two = files["shifter-gain-1"], files["shifter-gain-2"]
    found = kit.compare(one, two, files["truth"], track="sensorium+")
    assert found.p > 0.05 and found.interval[0] < 0 < found.interval[1]
    assert str(found).startswith("shifter-gain-2 and shifter-gain-1 cannot be told apart:")


def test_compare_takes_the_track_of_the_truth(files, tmp_path):
    found = kit.compare(files["cnn"], files["ln"], files["truth"])
    assert found.metric == "single-trial correlation"
    old = shutil.copy(files["truth"], tmp_path)  # written before tracks were recorded
    with pytest.raises(ValueError, match=r"no track.txt beside .*test.csv says .*; give"):
        kit.compare(files["cnn"], files["ln"], old)
    named = kit.compare(files["cnn"], files["ln"], old, track="sensorium+")
    assert named.scores == found.scores


@pytest.mark.parametrize("withholds, metric", [
    ([], "single-trial correlation"), (["behavior"], "correlation to average"),
])  # fmt: skip
def test_compare_takes_the_track_of_the_data(tmp_path, withholds, metric):
    recording = tiny.arrays(test={"test": (4, 4, 3)})
    data = kit.load(tiny.write(tmp_path, recording, withholds=withholds), folder=tmp_path / "data")
    found = kit.compare(*[kit.linear_baseline(data, channels=2)] * 2, data, resamples=100)
    assert found.metric == metric


def test_compare_models_where_responses_are_known(files):
    data = kit.load("sample+")
    one, two = kit.pretrained("sample+-cnn"), kit.pretrained("sample+-ln")
    found = kit.compare(one, two, data, track="sensorium+")
    assert found.scores[0] == pytest.approx(kit.score(one, data, "validation").single_trial)
    assert found.images == 200 and "the first model is better than the second model" in str(found)
    mouse = kit.load("99003-1-1")  # open: its test tier is known
    found = kit.compare(*[kit.pretrained("sample-pretrain-cnn")] * 2, mouse)
    assert (found.difference, found.p, found.images) == (0, 1, 60)


def test_compare_refuses_what_it_cannot_compare(files):
    for settings, message in (
        ({"track": "plus"}, "track='plus' is not possible; give one of sensorium, sensorium"),
        ({"resamples": 1}, "resamples=1 is not possible"),
        ({"seed": -1}, "seed=-1 is not possible"),
        ({"a": kit.pretrained("sample+-cnn")}, "is not a path; give a text or a Path"),
        ({"b": files["truth"]}, "its first line must name"),
        ({"truth": files["truth"].parent}, "is not an ordinary file of at most 400 MB; give"),
    ):
        arguments = {"a": files["cnn"], "b": files["ln"], "truth": files["truth"]} | settings
        with pytest.raises(ValueError, match=message):
            kit.compare(**arguments)


@pytest.fixture(scope="module")
def final(tmp_path_factory):
    """Final files of three models whose scores are .0033 and .0048 apart, and their truth."""
    folder, data = tmp_path_factory.mktemp("final"), kit.load("sample+")
    for name in ("shifter-gain-1", "shifter-gain01-2", "shifter-gain01-3"):
        kit.submit(kit.pretrained(f"sample+-{name}"), data, folder / name)
    _, truth = kit.write_ground_truth(data, kit.truth("sample+").responses, folder / "truth")
    return {path.parent.name: path for path in folder.glob("*/*final*")} | {"truth": truth}


@pytest.mark.parametrize("name, expected, differ", [
    ("shifter-gain01-3", 0.0033, False),
    ("shifter-gain01-2", -0.0048, True),
])  # fmt: skip
def test_compare_tells_two_small_differences_apart(final, name, expected, differ):
    paths = final["shifter-gain-1"], final[name]
    found = kit.compare(*paths, final["truth"], track="sensorium+")
    assert found.difference == pytest.approx(expected, abs=0.0002)
    assert (found.p < 0.05) == differ == ("is better than" in str(found))
