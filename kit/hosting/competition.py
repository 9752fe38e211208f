"""The content of a Codabench bundle: competition.yaml, pages, scoring program, starting kit."""

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from kit.challenge.tracks import (
    RANKING_METRIC,
    SCORES,
    SUBMISSION_FILES,
    TEST_SETS,
    TRACK_FILE,
    TRACKS,
    TRUTH_FILES,
)
from kit.data.recordings import Recording
from kit.hosting.settings import BundleConfig
from kit.pages.html import render_text

TEMPLATES = Path(__file__).parent / "bundle_files"
DOCKER_IMAGE = "codalab/codalab-legacy:py312"  # numpy 1.26 and no torch; the default is too old
COMMAND = "python3 /app/program/score.py /app/input /app/output"
SECONDS = 600  # of the scoring, which takes one of full size less than a minute
MAX_SOLUTION = 50e6  # bytes: larger ones have hung the platform
COLUMNS = {
    "single_trial": "Single-trial correlation",
    "to_average": "Correlation to average",
    "feve": "FEVE",
    "low": "95 % interval, lower end",
    "high": "95 % interval, upper end",
}
PAGES = {
    "Overview": "overview.md",
    "Data": "data.md",
    "Evaluation": "evaluation.md",
    "Rules": "rules.md",
}
SCORER = (  # what the scoring program imports, in the folder that holds kit
    "kit/checks.py",
    "kit/evaluation/metrics.py",
    "kit/evaluation/bootstrap.py",
    "kit/evaluation/leaderboard.py",
    "kit/challenge/tracks.py",
    "kit/challenge/reader.py",
    "kit/challenge/matching.py",
    "kit/challenge/ground_truth.py",
    "kit/hosting/scorer.py",
    "kit/hosting/results_page.py",
    "kit/hosting/bundle_files/detailed_results.html",
)


def write_competition(
    path: Path,
    config: BundleConfig,
    recording: Recording,
    truth: Mapping[str, Path],
    entry: Mapping[str, Path],
    expected: Mapping[str, Mapping[str, float]],
) -> None:
    """Write a bundle. Its parts are made in the folder of `path`, which is a temporary one.

    truth, entry: tier -> file; expected: tier -> the columns of the leaderboard for the entry.
    """
    folder, values = path.parent, _values(config, recording, expected)
    members = {"logo.png": TEMPLATES / "logo.png", "terms.md": _page("terms.md", values)}
    members |= {f"pages/{name}": _page(name, values) for name in PAGES.values()}
    parts = {
        "scoring_program.zip": scoring_program(),
        "starting_kit.zip": {
            "README.md": _page("starting_kit.md", values),
            "quickstart.py": (TEMPLATES / "quickstart.py").read_bytes(),
        },
    }
    for tier, name in TEST_SETS.items():
        parts[f"reference_data_{name}.zip"] = {
            TRUTH_FILES[tier]: truth[tier],
            TRACK_FILE: f"{config.track}\n".encode(),
        }
    parts["solution.zip"] = {SUBMISSION_FILES[tier]: file for tier, file in entry.items()}
    for name, content in parts.items():
        write_zip(folder / name, content)
        members[name] = folder / name
    small = (folder / "solution.zip").stat().st_size <= MAX_SOLUTION
    if not small:
        del members["solution.zip"]
    text = json.dumps(competition(config, small), indent=2, ensure_ascii=False)  # JSON is YAML
    write_zip(path, {"competition.yaml": f"{text}\n".encode(), **members}, zipfile.ZIP_STORED)


def write_zip(
    path: Path, members: Mapping[str, bytes | Path], compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write a zip of contents or files by name; equal ones make an equal zip, dated 1980."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as target:
        for name, content in members.items():
            source = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
            with source, target.open(name, "w") as file:
                shutil.copyfileobj(source, file, 2**20)


def scoring_program() -> dict[str, bytes]:
    """The files of the scoring program, by name: the modules that it imports, as they are here."""
    root = Path(__file__).parents[2]
    return {
        "metadata.yaml": f"command: {COMMAND}\n".encode(),
        "score.py": (TEMPLATES / "score.py").read_bytes(),
        "kit/__init__.py": b"",
        **{name: (root / name).read_bytes() for name in SCORER},
    }


# ---- competition.yaml ----


def competition(config: BundleConfig, solution: bool) -> dict:
    """The content of competition.yaml, with a solution or without."""
    found = {
        "version": 2,
        "title": config.title,
        "description": f"{TRACKS[str(config.track)]} track: predict the responses of neurons in "
        "mouse visual cortex to natural images",
        "image": "logo.png",
        "terms": "terms.md",
        "registration_auto_approve": config.auto_approve,
        "docker_image": DOCKER_IMAGE,
        "enable_detailed_results": True,
        "pages": [{"title": title, "file": f"pages/{name}"} for title, name in PAGES.items()],
        "tasks": [_task(index, name) for index, name in enumerate(TEST_SETS.values())],
        "solutions": [
            {"index": 0, "name": config.baseline, "path": "solution.zip", "tasks": [0, 1]}
        ],
        "phases": [_live_phase(config), _final_phase(config)],
        "leaderboards": [_leaderboard(config.track)],
    }
    if not solution:
        del found["solutions"]
    return found


def _task(index, name):
    return {
        "index": index,
        "name": f"{name} test set",
        "scoring_program": "scoring_program.zip",
        "description": f"Predict the responses of the {name} test set",
        "reference_data": f"reference_data_{name}.zip",
    }


def _live_phase(config):
    limits = config.submissions_per_day, config.max_submissions
    return _phase(
        0,
        "Live",
        limits,
        start=_time(config, "live_start"),
        end=_time(config, "live_end"),
        description="Scores are public at once; they do not decide the challenge",
    )


def _final_phase(config):
    limits = min(config.submissions_per_day, config.final_submissions), config.final_submissions
    dates = {"start": _time(config, "final_start")}
    if config.final_end:
        dates["end"] = _time(config, "final_end")
    return _phase(
        1,
        "Final",
        limits,
        **dates,
        description="The last entry of each participant decides the challenge",
    )


def _phase(index, name, limits, **others):
    return {
        "index": index,
        "name": name,
        "tasks": [index],
        **others,
        "max_submissions_per_day": limits[0],
        "max_submissions": limits[1],
        "execution_time_limit": SECONDS,
        "hide_score_output": False,
        "starting_kit": "starting_kit.zip",
    }


def _leaderboard(track):
    keys = sorted(COLUMNS, key=lambda key: key != RANKING_METRIC[track])  # the track's own first
    columns = [
        {"title": COLUMNS[key], "key": key, "index": index, "sorting": "desc", "precision": 4}
        for index, key in enumerate(keys)
    ]
    return {
        "title": TRACKS[track],
        "key": track.replace("+", "_plus"),
        "primary_index": 0,
        "submission_rule": "Force_Last",
        "columns": columns,
    }


def _time(config, name):
    return f"{config.time(name):%Y-%m-%d %H:%M:%S}"  # a text: the platform wants dates quoted


# ---- pages ----


def _page(name, values):
    return render_text(TEMPLATES / name, values).encode()


def _values(config, recording, expected):
    """Values for the templates of the pages."""
    texts = {
        name: _markdown(getattr(config, name))
        for name in ("title", "organizer", "contact", "baseline", "public_data")
    }
    end = _time(config, "final_end") if config.final_end else "stays open"
    tiers = {
        tier: int((recording.tiers == tier).sum()) for tier in ("train", "validation", *TEST_SETS)
    }
    images = {tier: len(set(recording.image_ids[recording.tiers == tier])) for tier in tiers}
    rows = {
        TEST_SETS[tier]: [f"{scores[key]:.4f}" for key in COLUMNS]
        for tier, scores in expected.items()
    }
    return texts | {
        "plus": config.track == "sensorium+",
        "track": TRACKS[config.track],
        "metric": SCORES[RANKING_METRIC[config.track]],
        "mouse": recording.mouse,
        "tiers": tiers,
        "images": images,
        "neurons": len(recording.unit_ids),
        "expected": rows,
        "live_start": _time(config, "live_start"),
        "live_end": _time(config, "live_end"),
        "final_start": _time(config, "final_start"),
        "final_end": end,
        "per_day": config.submissions_per_day,
        "in_all": config.max_submissions,
        "final_in_all": config.final_submissions,
        "files": SUBMISSION_FILES,
    }


def _markdown(text):
    """Text from outside for a Markdown page: an address becomes a link, all else stays as it is."""
    if text.startswith(("http://", "https://")) and not set(text) & set(" <>|$"):
        return f"<{text}>"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace("$", "&#36;")  # the platform takes what is between two for mathematics
    return "".join(f"\\{letter}" if letter in r"\`*_[]()#|~!" else letter for letter in text)
