"""Notice when entries arrive in a folder, such as one on a shared drive."""

import os
import time
from collections.abc import Iterator
from pathlib import Path


def watch(folder: Path, seconds: float) -> Iterator[None]:
    """Yield at once, then each time that the folder's files have changed and come to rest.

    Files that are still being copied differ from one look to the next, `seconds` later. A folder
    that cannot be read for a while, as when a drive is away, counts as unchanged.
    """
    done = before = list_files(folder)
    yield
    while True:
        time.sleep(seconds)
        now = list_files(folder) or before
        if now == before and now != done:
            done = now
            yield
        before = now


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> size and time of change of all files in a folder and in the folders in it."""
    found = {}
    for place, folders, names in os.walk(folder):
        if Path(place) != folder:
            folders.clear()  # entries are one level deep
        for path in (Path(place) / name for name in names):
            try:
                status = path.lstat()
            except OSError:  # it has just been removed
                continue
            found[str(path)] = status.st_size, status.st_mtime_ns
    return found
