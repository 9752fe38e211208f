"""A folder of entries ranked: groups that do not differ, broken ones, flags."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import kit
from kit.challenge.csv_files import write_rows
from kit.challenge.ranking import graded, image_alone
from kit.challenge.ranking.entries import find_entries, open_entry

NAMES = ("cnn", "shifter-gain-1", "shifter-gain-2", "ln")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("ranking"), kit.load("sample+")
    for name in NAMES:
        kit.submit(kit.pretrained(f"sample+-{name}"), data, folder / "entries" / name)
    kit.write_ground_truth(data, kit.truth("sample+").responses, folder / "truth")
    return folder


@pytest.fixture(scope="module")
def ranking(folder):
    return kit.rank(folder / "entries", folder / "truth", track="sensorium+")


def test_rank_orders_by_the_tracks_metric(ranking, folder):
    assert [row.entry for row in ranking] == ["cnn", "shifter-gain-2", "shifter-gain-1", "ln"]
    truth = folder / "truth" / "ground_truth_file_test.csv"
    for row in ranking:
        path = folder / "entries" / row.entry / "submission_file_live_test.csv"
        scores = kit.grade(path, truth)
        assert row.score == pytest.approx(scores.single_trial, abs=1e-9)
        assert (row.to_average, row.feve) == (scores.to_average, scores.feve)
        assert row.interval[0] < row.interval[1]
    assert (ranking.images, ranking.neurons, ranking.tier) == (60, 600, "test")


def test_rank_says_which_entries_do_not_differ(ranking):
    assert [row.tied_with_best for row in ranking] == [True, False, False, False]
    assert [row.rank_interval for row in ranking] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert ranking[0].behind_best.difference == 0 and ranking[0].p == 1
    assert ranking[3].behind_best.interval[0] > 0 and ranking[3].p < 0.01
    assert ranking.p_pairs[1, 2] > 0.05 > ranking.p_pairs[0, 3]
    assert ranking.p_pairs.shape == (4, 4)


def test_rank_prints_a_table(ranking):
    lines = [line.split()[:2] for line in str(ranking).splitlines()]
    assert lines[1:3] == [["1*", "cnn"], ["2-3", "shifter-gain-2"]]
    assert "family-wise error" in str(ranking) and "another training" in str(ranking)
    assert "the best model of the image alone can expect" in str(ranking)


def test_rank_prints_little_below_the_table(ranking):
    """At most two lines a sentence; the page explains all, and has whole reasons."""
    reason = "it is no CSV file; " + "write it again, " * 20
    found = replace(ranking, broken={"mine": reason})
    _, *small = str(found).split("\nnot ranked: ")[1].splitlines()
    assert "family-wise" in small[1] and small[0].endswith(" …") and len(small) == 5
    assert not any("simulations" in line for line in small)
    assert any("simulations" in note for note in found.notes)


def test_rank_by_the_other_track(folder):
    found = kit.rank(folder / "entries", folder / "truth", track="sensorium")
    assert found.track == "sensorium"
    assert "ranked as track sensorium, which was asked for, though the ground" in str(found)
    averages = sorted((row.to_average for row in found), reverse=True)
    assert [row.score for row in found] == pytest.approx(averages, abs=1e-12)


def test_rank_takes_the_track_of_the_truth(folder, ranking, tmp_path):
    found = kit.rank(folder / "entries", folder / "truth")
    assert (found.track, str(found)) == ("sensorium+", str(ranking))
    assert "which was asked for" not in str(found)
    truth = shutil.copytree(folder / "truth", tmp_path / "truth")
    (truth / "track.txt").unlink()  # as written before tracks were recorded
    with pytest.raises(ValueError, match=r"no track.txt beside .*truth.* says .*; give track="):
        kit.rank(folder / "entries", truth)
    assert kit.rank(folder / "entries", truth, track="sensorium+").track == "sensorium+"


def test_rank_final_only_where_asked(folder):
    for final, name, tier in ((False, "final_test", "live"), (True, "test", "final")):
        truth = folder / "truth" / f"ground_truth_file_{name}.csv"
        message = f"is not of the {tier} test set; give .* or rank with final={not final}"
        with pytest.raises(ValueError, match=message):
            kit.rank(folder / "entries", truth, final=final)
    found = kit.rank(folder / "entries", folder / "truth", final=True)
    assert found.tier == "final_test" and "final test set" in str(found)


def test_rank_is_reproducible_by_seed(folder, ranking):
    again = kit.rank(folder / "entries", folder / "truth", track="sensorium+")
    np.testing.assert_array_equal(again.p_pairs, ranking.p_pairs)
    assert str(again) == str(ranking)
    other = kit.rank(folder / "entries", folder / "truth", track="sensorium+", seed=1)
    assert not np.array_equal(other.p_pairs, ranking.p_pairs)


def test_rank_one_broken_entry_does_not_spoil_the_rest(folder, tmp_path, ranking, monkeypatch):
    entries = shutil.copytree(folder / "entries", tmp_path / "entries")
    (entries / "empty").mkdir()
    (entries / "spoiled").mkdir()
    (entries / "spoiled" / "submission_file_live_test.csv").write_text("a,b\n1,2\n")
    (entries / "loose.csv").write_bytes(b"\xff\xfe")
    (entries / "large.csv").touch()
    read = graded.read_submission

    def read_submission(path, truth):
        if path.name == "large.csv":
            raise MemoryError
        return read(path, truth)

    monkeypatch.setattr(graded, "read_submission", read_submission)
    found = kit.rank(entries, folder / "truth", track="sensorium+")
    assert [row.entry for row in found] == [row.entry for row in ranking]
    assert set(found.broken) == {"empty", "spoiled", "loose", "large"}
    assert found.broken["large"] == "it needs more memory than there is"
    assert "it has 0 of them" in found.broken["empty"]
    assert str(tmp_path) not in str(found)  # no path of the organiser's machine
    assert "not ranked: spoiled: " in str(found)


def test_rank_takes_loose_files_and_hostile_names(folder, tmp_path):
    source = folder / "entries" / "ln" / "submission_file_live_test.csv"
    name = "<b>x\n\x1b[31m"
    shutil.copy(source, tmp_path / f"{name}.csv")
    found = kit.rank(tmp_path, folder / "truth")
    assert found[0].entry == name  # as it is; what prints it must escape
    assert "\x1b" not in str(found) and "<b>x??[31m" in str(found)


def test_rank_flags_copies_and_scores_beyond_the_image(folder, tmp_path):
    data, truth = kit.load("sample+"), kit.truth("sample+")
    entries = tmp_path / "entries"
    for name in ("cnn", "copy"):
        shutil.copytree(folder / "entries" / "cnn", entries / name)

    rows = data.mouse.rows("test")
    (entries / "cheat").mkdir()
    cheat = entries / "cheat" / "submission_file_live_test.csv"
    write_rows(cheat, data.mouse, "test", truth.responses[rows], "prediction")
    found = kit.rank(entries, folder / "truth", track="sensorium")
    found = {row.entry: row for row in found}
    flags = [flag for row in found.values() for flag in row.flags]
    assert any("predictions correlate with c" in flag for flag in flags)
    assert any("the image alone can give" in flag for flag in found["cheat"].flags)
    assert len(flags) == 3
    plus = {row.entry: row for row in kit.rank(entries, folder / "truth", track="sensorium+")}
    assert plus["cheat"].flags == ()  # behaviour may know more than the image


def test_rank_refuses_what_it_cannot_rank(folder, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "broken" / "mine").mkdir(parents=True)
    entries = folder / "entries"
    for settings, message in (
        ({"folder": tmp_path / "none"}, "is not a folder; give the folder, or the zip"),
        ({"folder": entries / "cnn"}, "is one entry; give the folder, or the zip, that holds"),
        ({"folder": None}, "folder='None' is not a path"),
        ({"folder": tmp_path / "nothing"}, "can be ranked: there is none; put a folder, a zip"),
        ({"folder": tmp_path / "broken"}, "no entry can be ranked: mine: the entry must have"),
        ({"truth": entries}, r"there is no file .*ground_truth_file_test\.csv"),
        ({"final": "no"}, "final='no' is not possible; give True or False"),
        ({"track": "x"}, "track='x' is not possible"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            kit.rank(**{"folder": entries, "truth": folder / "truth"} | settings)


def test_rank_refuses_more_entries_than_it_can_compare(folder, tmp_path):
    for number in range(201):
        (tmp_path / f"{number}.csv").touch()
    with pytest.raises(ValueError, match="there are 201 entries, and at most 200 can be compared"):
        kit.rank(tmp_path, folder / "truth")


def test_find_entries_skips_what_a_system_left(tmp_path):
    for name in ("b", "a", ".git", "__MACOSX", "$RECYCLE.BIN"):
        (tmp_path / name).mkdir()
    for name in ("notes.txt", "._c.csv", "a.csv", "d.CSV", "a.zip", "Thumbs.db", "desktop.ini",
                 ".DS_Store", "ranking.csv", "ranking.json"):  # fmt: skip
        (tmp_path / name).write_text("")
    entries, broken = find_entries(tmp_path)
    assert list(entries) == ["a", "a.csv", "a.zip", "b", "d"]
    assert broken == {"notes.txt": "it is not a folder, a zip or a CSV file"}


def test_find_entries_of_a_bulk_download(tmp_path):
    inner = tmp_path / "bulk_submissions"
    inner.mkdir()
    names = ["9_dora_PhaseId5_2027-06-29_07-00_a.zip", "17_dora_PhaseId5_2027-06-30_08-00_b.zip",
             "3_Kim Li_x_PhaseId12_2027-06-30_08-00_PhaseId1_.zip", "dora.csv"]  # fmt: skip
    for name in (*names, "failed.txt"):
        (inner / name).write_text("")
    for folder in (inner, tmp_path):  # also where it lies in another folder
        entries, broken = find_entries(folder)
        found = {name: [path.name for path in paths] for name, paths in entries.items()}
        assert found == {
            "Kim Li_x": [names[2]],
            "dora": [names[1], names[0]],
            "dora.csv": ["dora.csv"],
        }
        assert list(broken) == ["failed.txt"]


def test_find_entries_follows_no_link(tmp_path):
    (tmp_path / "entries" / "link").mkdir(parents=True)
    secret = tmp_path / "secret.csv"
    secret.write_text("not for everyone")
    (tmp_path / "entries" / "link" / "submission_file_live_test.csv").symlink_to(secret)
    (tmp_path / "entries" / "loose.csv").symlink_to(secret)
    (tmp_path / "entries" / "itself.csv").symlink_to(tmp_path / "entries" / "itself.csv")
    entries, broken = find_entries(tmp_path / "entries")
    assert list(entries) == ["link"] and set(broken) == {"itself.csv", "loose.csv"}
    assert all("is a link" in reason for reason in broken.values())
    with pytest.raises(ValueError, match="has 0 of them"), open_entry(entries["link"][0], "test"):
        pass


def test_intervals_keep_names_that_print_alike(ranking):
    rows = [replace(row, entry=f"a{mark}") for row, mark in zip(ranking, "\0\1\2?", strict=True)]
    assert list(replace(ranking, rows=rows).intervals) == ["a?", "a?*", "a?**", "a?***"]


def test_image_alone_of_known_noise():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((300, 40))
    image = np.repeat(np.arange(300), 10)
    responses = signal[image] + 2 * rng.standard_normal((3000, 40))  # FEV .2
    assert image_alone(responses, image, "sensorium+") == pytest.approx(0.2**0.5, abs=0.02)
    expected = (0.2 / (0.2 + 0.8 / 10)) ** 0.5
    assert image_alone(responses, image, "sensorium") == pytest.approx(expected, abs=0.02)
    perfect = kit.metrics.correlation_to_average(signal[image], responses, image).mean()
    assert perfect == pytest.approx(expected, abs=0.02)  # what a model that knows the signal scores
    assert image_alone(responses[:300], np.arange(300), "sensorium") is None
