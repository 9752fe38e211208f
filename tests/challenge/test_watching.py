"""A folder that is watched: when it counts as changed."""

import os

import pytest

from kit.challenge import watching
from kit.challenge.watching import list_files, watch


@pytest.fixture
def looks(monkeypatch):
    """What happens between two looks at the folder, one after the other; then the test ends."""
    events = []

    def sleep(seconds):
        assert seconds == 7
        if not events:
            raise StopIteration
        events.pop(0)()

    monkeypatch.setattr(watching.time, "sleep", sleep)
    return events


def rounds(folder):
    """How often `watch` says that the folder has changed, until the events are over."""
    count = 0
    with pytest.raises(RuntimeError, match="StopIteration"):  # a generator turns it into this
        for _ in watch(folder, 7):
            count += 1
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


def test_list_files_looks_one_folder_deep(tmp_path):
    (tmp_path / "ann" / "deep").mkdir(parents=True)
    for place in ("bob.csv", "ann/entry.csv", "ann/deep/other.csv"):
        (tmp_path / place).write_text(place)
    found = list_files(tmp_path)
    assert set(found) == {str(tmp_path / "bob.csv"), str(tmp_path / "ann" / "entry.csv")}
    assert list_files(tmp_path / "none") == {}
