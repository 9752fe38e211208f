"""A folder that is watched: when it counts as changed."""

import os

import pytest

from kit.challenge import watching
from kit.challenge.watching import list_files, watch


class TheEnd(Exception):
    """There is nothing more to see."""


@pytest.fixture
def looks(monkeypatch):
    """What happens between two looks at the folder, one after the other; then the test ends."""
    events = []

    def sleep(seconds):
        assert seconds == 7
        if not events:
            raise TheEnd
        events.pop(0)()

    monkeypatch.setattr(watching.time, "sleep", sleep)
    return events


def rounds(*places, failures=()):
    """How often `watch` refreshes until the events are over, and fails to in some rounds."""
    count = 0

    def refresh():
        nonlocal count
        count += 1
        return count not in failures

    with pytest.raises(TheEnd):
        watch(list(places), 7, refresh)
    return count


def nothing():
    pass


def test_watch_begins_at_once_and_stays_quiet(tmp_path, looks):
    looks += [nothing] * 5
    assert rounds(tmp_path) == 1


def test_watch_waits_until_a_copy_has_ended(tmp_path, looks):
    file = tmp_path / "ann" / "entry.csv"
    file.parent.mkdir()
    looks += [
        lambda: file.write_text("a"),
        lambda: file.write_text("ab"),  # still growing
        nothing,  # at rest: 2
        nothing,
        lambda: (file.write_text("ba"), os.utime(file, ns=(1, 1))),  # replaced, of equal size
        nothing,  # at rest: 3
        file.unlink,
        lambda: (tmp_path / "bob.csv").write_text("b"),
        nothing,  # at rest: 4
    ]
    assert rounds(tmp_path) == 4


def test_watch_ignores_a_drive_that_is_away(tmp_path, looks):
    folder, away = tmp_path / "entries", tmp_path / "away"
    folder.mkdir()
    (folder / "ann.csv").write_text("a")
    looks += [lambda: folder.rename(away), nothing, lambda: away.rename(folder), nothing, nothing]
    assert rounds(folder) == 1


def test_watch_does_not_wait_for_ever(tmp_path, looks):
    (tmp_path / "ann.csv").write_text("a")
    file = tmp_path / "bob.csv"
    looks += [lambda: file.write_text(f"{file.exists()}{len(looks)}" * len(looks))] * 20
    assert rounds(tmp_path) == 3  # two of twenty looks at a file that always grows


def test_watch_ignores_hidden_files(tmp_path, looks):
    looks += [lambda: (tmp_path / ".sync").write_text("a"), nothing, nothing]
    assert rounds(tmp_path) == 1


def test_watch_tries_again_what_failed(tmp_path, looks):
    looks += [nothing] * 5
    assert rounds(tmp_path, failures={1, 2}) == 3


def test_watch_notices_a_file_of_equal_size_and_date(tmp_path, looks):
    folder, truth = tmp_path / "entries", tmp_path / "truth.csv"
    folder.mkdir()
    (folder / "ann.csv").write_text("a")
    truth.write_text("a")
    os.utime(truth, ns=(1, 1))
    looks += [lambda: (truth.write_text("b"), os.utime(truth, ns=(1, 1))), nothing, nothing]
    assert rounds(folder, truth) == 2


def test_list_files_looks_as_deep_as_the_ranking(tmp_path):
    (tmp_path / "ann" / "deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    names = ["bob.csv", "ann/entry.csv", "ann/deep/other.csv"]
    for place in (*names, ".git/config", "Thumbs.db"):
        (tmp_path / place).write_text(place)
    assert set(list_files(tmp_path)) == {str(tmp_path / name) for name in names}
    assert list_files(tmp_path / "none") == {}
