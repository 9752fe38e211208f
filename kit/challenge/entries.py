"""The files of a ranking: entries in a folder, and the ground truth."""

import os
from pathlib import Path

from kit.challenge.tracks import SUBMISSION_FILES, TEST_SETS, TRUTH_FILES


def find_entries(folder: Path, tier: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Name of each entry -> its file for a tier; name -> why it is none. Hidden ones are left out.

    Raises ValueError if there is no entry.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give one with a folder or CSV file per entry")
    if all((folder / name).is_file() for name in SUBMISSION_FILES.values()):
        raise ValueError(f"{folder} is one entry; give the folder above, which holds all of them")
    entries, broken = {}, {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        name, file = path.name, path / SUBMISSION_FILES[tier]
        if not path.is_dir():
            name = path.name if path.stem in {*entries, *broken} else path.stem
            file = path
        if not path.is_dir() and path.suffix.lower() != ".csv":
            broken[path.name] = "it is not a folder or a CSV file; unpack it if it is an archive"
        elif not Path(os.path.realpath(file)).is_relative_to(folder.resolve()):
            broken[name] = f"{file.name} is a link out of the folder; put the file itself there"
        elif os.path.exists(file) and not os.path.isfile(file):
            broken[name] = f"{file.name} is not an ordinary file"
        else:
            entries[name] = file
    if not entries and not broken:
        raise ValueError(
            f"{folder} holds no entries; put a folder for each there, with "
            f"{SUBMISSION_FILES[tier]} in it"
        )
    return entries, broken


def truth_file(path: Path, tier: str) -> Path:
    """The ground-truth file of a tier, in a folder or itself.

    Raises ValueError if the file of the other tier is given.
    """
    if path.is_dir():
        file = path / TRUTH_FILES[tier]
        if not file.exists():
            raise FileNotFoundError(
                f"{path} holds no {file.name}; give the folder of the ground "
                "truth: what kit.write_ground_truth wrote, or private of "
                "kit.withhold"
            )
        return file
    for other, name in TRUTH_FILES.items():
        if path.name == name and tier != other:
            raise ValueError(
                f"{name} is of the {TEST_SETS[other]} test set; rank it with "
                f"final={other != 'test'}, or give {TRUTH_FILES[tier]}"
            )
    return path
