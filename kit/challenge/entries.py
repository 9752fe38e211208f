"""The files of a ranking: entries in a folder, and the ground truth."""

import os
from pathlib import Path

from kit.challenge.tracks import SUBMISSION_FILES, TEST_SETS, TRUTH_FILES


def find_entries(folder: Path, tier: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Name of each entry -> its file for a tier; name -> why it is none. Hidden ones are left out.

    Raises ValueError if the folder is none, or is itself an entry.
    """
    if not folder.is_dir() or all((folder / name).is_file() for name in SUBMISSION_FILES.values()):
        raise ValueError(
            f"{folder} is one entry, or no folder; give the folder that holds a folder or a CSV "
            "file for each entry"
        )
    entries = {}
    broken = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        name = path.name
        file = path
        if path.is_dir():
            file = path / SUBMISSION_FILES[tier]
        elif path.suffix.lower() != ".csv":
            broken[name] = "it is not a folder or a CSV file; unpack it if it is an archive"
            continue
        elif path.stem not in {*entries, *broken}:
            name = path.stem
        if Path(os.path.realpath(file)).is_relative_to(folder.resolve()):
            entries[name] = file
        else:
            broken[name] = f"{file.name} is a link out of the folder; put the file itself there"
    return entries, broken


def truth_file(path: Path, tier: str) -> Path:
    """The ground-truth file of a tier, in a folder or itself.

    Raises ValueError if the file of the other tier is given.
    """
    if path.is_dir():
        return path / TRUTH_FILES[tier]
    if path.name in TRUTH_FILES.values() and path.name != TRUTH_FILES[tier]:
        raise ValueError(
            f"{path.name} is not of the {TEST_SETS[tier]} test set; give {TRUTH_FILES[tier]}, or "
            f"rank with final={tier == 'test'}"
        )
    return path
