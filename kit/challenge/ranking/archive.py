"""An archive from which a ranking is ranked again, to the byte.

Names of entries are untrusted: in an archive they are text in ranking.json, and no path.
"""

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.challenge.ranking.entries import RESULTS, Settings, open_entry, open_folder
from kit.challenge.tracks import TEST_SETS, TRACK_FILE, TRACKS, TRUTH_FILES
from kit.checks import one_line, require, require_date
from kit.files import atomic_write, file_sha256
from kit.pages.ranking import facts

KIT = Path(__file__).parents[2]
PACKAGES = (  # of pyproject.toml
    "numpy torch lightning-fabric platformdirs requests filelock urllib3 safetensors orjson tqdm "
    "ipywidgets matplotlib pillow joblib jinja2"
)
README = """# {title}

The ranking of {date}: ranking.html, ranking.csv and ranking.json. In `entries` are the files that
were ranked, in the order of the ranking, in `truth` what they were compared with (the live test
set too, if it was the final one), in `kit` the program, version {kit}, which needs Python 3.11 or
newer and these packages: {packages}.
To rank again, unpack this archive, and in its folder, in Python:

    import kit
    kit.rank(".").save("again")

The three files in `again` are those here, to the byte.
"""


@dataclass(frozen=True)
class Source:
    """Where the files of a ranking are, for its archive."""

    truth: Path
    files: dict[str, Path]  # of the ranked entries
    folder: Path = Path()  # as it was given, maybe a zip
    root: Path = Path()  # where it was open then: the files are below it


def write_archive(ranking: Any, path: Path) -> Path:
    """Write a `kit.challenge.Ranking`, and all that it takes to rank again, as a zip."""
    if path.suffix.lower() != ".zip":
        raise ValueError(f"path={str(path)!r} does not end with .zip, as an archive does")
    if path.is_file() and not (zipfile.is_zipfile(path) and _holds_record(path)):
        raise FileExistsError(f"{path} is not the archive of a ranking; name another file")
    with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as target:
        saved = ranking.save(part.with_name("saved"))
        readme = part.with_name("README.md")
        texts = facts(ranking) | {"title": ranking.title or "A ranking", "packages": PACKAGES}
        readme.write_text(README.format(**texts), encoding="utf-8", newline="\n")
        code = (file for file in KIT.rglob("*.*") if file.is_file() and file.suffix != ".pyc")
        code = sorted(file for file in code if KIT / "weights" not in file.parents)
        members = {file.name: file for file in (readme, *saved)}
        members |= {f"kit/{file.relative_to(KIT).as_posix()}": file for file in code}
        for name, file in members.items():
            _add(target, name, file)
        _add_sources(target, ranking)
    return path


def _add_sources(target, ranking):
    """Add truth and entries. Raises ValueError if one has changed since it was ranked."""
    source = ranking.source
    with open_folder(source.folder) as place:

        def now(path):
            below = path.is_relative_to(source.root)
            return place / path.relative_to(source.root) if below else path

        truth = now(source.truth)
        _add(target, f"truth/{TRUTH_FILES[ranking.tier]}", truth, ranking.truth_sha256)
        live = [TRUTH_FILES["test"]] if ranking.tier == "final_test" else []  # then it is over too
        for file in map(truth.with_name, [TRACK_FILE, *live]):
            if file.is_file():
                _add(target, f"truth/{file.name}", file)
        for number, row in enumerate(ranking, 1):
            with open_entry(now(source.files[row.entry]), ranking.tier) as file:
                _add(target, _member(number), file, row.sha256)


def _member(number):
    return f"entries/{number:03}.csv"


def _add(target, name, path, sha256=None):
    if sha256 and file_sha256(path) != sha256:
        raise ValueError(f"{path} has changed since it was ranked; rank again, then archive")
    with path.open("rb") as source, target.open(name, "w") as file:  # dated 1980
        shutil.copyfileobj(source, file)


def _holds_record(path):
    with zipfile.ZipFile(path) as source:
        return RESULTS[-1] in source.namelist()


# ---- read again ----


def read_record(folder: Path) -> dict[str, Any]:
    """The ranking.json in a folder, with its `Settings` and the archive's files.

    Raises ValueError if it is not the record of a ranking.
    """
    path = folder / RESULTS[-1]
    try:
        record = json.loads(path.read_bytes())
        sums = {
            require("entry", entry["entry"], str): entry["sha256"] for entry in record["entries"]
        }
        settings = Settings(
            require("track", record["track"], str, tuple(TRACKS)),
            require("tier", record["tier"], str, tuple(TEST_SETS)),
            require("resamples", record["resamples"], int, (100, 1_000_000)),
            require("seed", record["seed"], int, (0, 2**63)),
        )
        return {
            "title": one_line(require("title", record["title"], str)),
            "date": require_date("date", record["date"]),
            "settings": settings,
            "truth_sha256": record["truth_sha256"],
            "sha256": sums,
            "files": {name: [folder / _member(place)] for place, name in enumerate(sums, 1)},
            "not_ranked": dict(record["not_ranked"]),
        }
    except FileNotFoundError:
        raise ValueError(f"{folder} is not the archive of a ranking; give the truth too") from None
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise ValueError(f"{path} is not the record of a ranking; get it again") from None
