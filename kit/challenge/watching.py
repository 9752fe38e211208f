"""Notice when entries arrive in a folder, such as one on a shared drive."""

import stat
import time
from collections.abc import Callable
from pathlib import Path

from kit.challenge import reader

PATIENCE = 6  # looks: then the others no longer wait for a file that never comes to rest


def watch(places: list[Path], seconds: float, refresh: Callable[[], bool]) -> None:
    """Call `refresh` at once, then each time that files have changed and come to rest. Never ends.

    places: files, and folders of them. Files that are still being copied differ from one look to
    the next, `seconds` later. A place that cannot be read for a while, as when a drive is away,
    counts as unchanged. If `refresh` returns False, it is called again at the next look.
    """
    before = [list_files(place) for place in places]
    refreshed = before if refresh() else None  # the files that the page shows
    looks_since = 0
    while True:
        time.sleep(seconds)
        now = [list_files(place) or files for place, files in zip(places, before, strict=True)]
        looks_since = 0 if now == refreshed else looks_since + 1
        at_rest = now == before
        if looks_since and (at_rest or looks_since > PATIENCE):
            refreshed = now if refresh() else None
            looks_since = 0
        before = now


def list_files(place: Path) -> dict[str, tuple[int, int, int]]:
    """Path -> size and times of change of a file, or of all files below a folder.

    Hidden ones and links, which are not entries, are left out.
    """
    files = {}
    for path in [place, *reader.list_files(place)]:
        try:
            status = path.lstat()
        except OSError:  # it has just been removed
            continue
        if not stat.S_ISDIR(status.st_mode):
            files[str(path)] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return files
