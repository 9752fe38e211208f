"""The files of a ranking: entries in a folder, as the platform or a class leaves them; the truth.

An entry is a folder, a zip or a CSV file. The platform's bulk download, itself a zip, holds one zip
for each: its number, the participant, the phase, a time, and the name of the file.
"""

import re
import shutil
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import NamedTuple

from kit.challenge.reader import MAX_MEGABYTES, choose_file, is_system_file, list_files
from kit.challenge.tracks import SUBMISSION_FILES, TEST_SETS, TRUTH_FILES
from kit.data.zips import OF_LIBRARIES, open_zip
from kit.pages.ranking import FILES as RESULTS  # of an earlier ranking, saved there

PHASE = re.compile(r"_PhaseId\d+(?:_(\d{4}-\d\d-\d\d))?")  # the time is the platform's
DOWNLOADED = re.compile(r"(\d+)_(.+?)_PhaseId\d+_")  # and the time, and the participant's file
BASELINE = re.compile(r"baselines?([^a-z0-9]|\Z)", re.IGNORECASE)
DAMAGED = (*OF_LIBRARIES, EOFError, RuntimeError)  # of a zip; the last if it has a password
WANTED = "give the folder, or the zip, that holds a folder, a zip or a CSV file for each entry"


class Settings(NamedTuple):
    """How entries are ranked."""

    track: str | None  # None takes the one of the ground truth
    tier: str
    resamples: int
    seed: int


def is_baseline(name: str) -> bool:
    """Whether an entry is out of competition, as baseline or baseline-cnn, but not baseliner."""
    return BASELINE.match(name) is not None


@contextmanager
def open_folder(path: Path) -> Generator[Path]:
    """The folder at `path`; what a zip holds is unpacked into a temporary one.

    Raises ValueError if it is neither.
    """
    if path.is_dir():
        yield path
        return
    if path.suffix.lower() != ".zip" or not path.is_file():
        raise ValueError(f"{path} is not a folder; {WANTED}")
    with TemporaryDirectory(prefix="entries-") as temporary:
        try:
            with open_zip(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
                if size > shutil.disk_usage(temporary).free:
                    raise ValueError(
                        f"{path} unpacks to {size / 1e6:,.0f} MB, more than is free in "
                        f"{Path(temporary).parent}; make room, or unpack it elsewhere"
                    )
                archive.extractall(temporary)  # zipfile writes no more than the stated sizes
        except DAMAGED:
            raise ValueError(f"{path} is damaged or has a password; download it again") from None
        try:
            yield Path(temporary)
        except (ValueError, FileNotFoundError) as problem:  # the user never saw `temporary`
            raise ValueError(str(problem).replace(temporary, str(path))) from problem


def find_entries(folder: Path) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """Name of each entry -> its files, the last one first; name -> why something is no entry.

    A participant of a bulk download may have several files, of which the highest number is the
    last. All others are named as their file or folder. Raises ValueError if it is itself an entry.
    """
    if all((folder / name).is_file() for name in SUBMISSION_FILES.values()):
        raise ValueError(f"{folder} is one entry; {WANTED}")
    paths = sorted(folder.iterdir())
    paths = [path for path in paths if not is_system_file(path.name) and path.name not in RESULTS]
    outer = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if outer and not _downloaded(outer) and any(map(_downloaded, outer.iterdir())):
        return find_entries(outer)  # a bulk download that was unpacked into a folder of its own
    numbered = {}  # participant -> (number, path) of each file
    broken = {}
    others = []
    for path in paths:
        if path.is_symlink():
            broken[path.name] = "it is a link; put the file itself there"
        elif not path.is_dir() and path.suffix.lower() not in (".csv", ".zip"):
            broken[path.name] = "it is not a folder, a zip or a CSV file"
        elif any(PHASE.findall(path.name)[1:]):  # the first phase may be part of a name
            broken[path.name] = "its name has two phases, so it is unclear whose it is; rename it"
        elif found := _downloaded(path):
            numbered.setdefault(found[2], []).append((int(found[1]), path))
        else:
            others.append(path)
    entries = {name: [path for _, path in sorted(numbered[name])[::-1]] for name in numbered}
    for path in others:
        name = path.name if path.is_dir() else path.stem
        if name in entries or name in broken:
            name = path.name
        while name in entries:  # a participant's
            name += "*"
        entries[name] = [path]
    return dict(sorted(entries.items())), broken


@contextmanager
def open_entry(path: Path, tier: str) -> Generator[Path]:
    """The CSV file of a tier in an entry: a folder, a zip, or itself that file.

    It is looked for as the platform's scorer does. Raises ValueError if there is not exactly one.
    """
    names = [SUBMISSION_FILES[tier]]
    if path.is_dir():
        yield choose_file(list_files(path), "the entry", names)
    elif path.suffix.lower() == ".zip":
        with TemporaryDirectory(prefix="entry-") as temporary:
            yield _unpack(path, names, Path(temporary))
    else:
        yield path


def _unpack(path, names, folder):
    """The one file of these names in a zip, written into a folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {}  # as the platform unpacks them: of equal names the last, none outside
            for member in archive.infolist():
                parts = member.filename.replace("\\", "/").split("/")
                parts = [part for part in parts if part not in ("", ".", "..")]
                if not member.is_dir() and not any(map(is_system_file, parts)):
                    members[PurePosixPath(*parts)] = member
            chosen = choose_file(members, "the entry", names)
            if members[chosen].file_size > MAX_MEGABYTES * 1e6:
                raise ValueError(f"{chosen.name} is larger than {MAX_MEGABYTES} MB")
            with archive.open(members[chosen]) as source, (folder / chosen.name).open("wb") as file:
                shutil.copyfileobj(source, file)  # zipfile reads no more than the stated size
            return folder / chosen.name
    except DAMAGED:
        raise ValueError(
            "it is not a zip that can be read: damaged, cut off or with a password"
        ) from None


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


def _downloaded(path):
    return DOWNLOADED.match(path.name)
