"""The content of a Codabench bundle: competition.yaml, pages, scoring program, starting kit."""

import html
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from kit.challenge.csv_files import image_texts
from kit.challenge.tracks import (
    RANKING_METRIC,
    SCORES,
    SUBMISSION_FILES,
    TEST_SETS,
    TRACK_FILE,
    TRACKS,
    TRUTH_FILES,
)
from kit.data.layout import TIERS
from kit.data.recordings import Recording
from kit.hosting.scorer import IDS_FILE
from kit.hosting.settings import DATES, TEXT_LENGTHS, BundleConfig
from kit.pages.html import render_text

TEMPLATES = Path(__file__).parent / "bundle_files"
COMMAND = "python3 /app/program/score.py /app/input /app/output"
MAX_SOLUTION = 50e6  # bytes: larger ones have hung the platform
COLUMNS = {  # short: the platform shows six side by side only if they are narrow
    "single_trial": "Single trial",
    "to_average": "To average",
    "feve": "FEVE",
    "low": "95 % low",
    "high": "95 % high",
    "valid": "Valid",  # of a blind final, which has no other
}
QUESTIONS = {  # asked with each entry: what rule 4 wants to know
    "training_data": "Other recordings that it was trained on (or none)",
    "pretrained_models": "Pretrained models that it uses (or none)",
    "method": "The method in one sentence, with a link if there is one",
}
EMAIL = re.compile(r"[\w.+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)
PAGES = ("overview", "data", "evaluation", "rules")
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
MARKDOWN = str.maketrans(  # the platform takes what is between two $ for mathematics
    {letter: f"\\{letter}" for letter in r"\`*_[]()#|~!"} | {"$": r"&\#36;"}
)


def write_competition(
    path: Path,
    config: BundleConfig,
    recording: Recording,
    truth: Path,
    entry: Iterable[Path],
    expected: Mapping[str, Mapping[str, float]],
) -> None:
    """Write a bundle. Its parts are made in the folder of `path`, which is a temporary one.

    truth: the folder of both files; entry: its files; expected: tier -> the columns of the
    leaderboard for the entry, as far as the pages may show them.
    """
    values = _values(config, recording, expected)
    members = {"logo.png": TEMPLATES / "logo.png", "terms.md": _render("terms.md", values)}
    members |= {f"pages/{name}.md": _render(f"{name}.md", values) for name in PAGES}
    parts = {
        "scoring_program.zip": scoring_program(),
        "starting_kit.zip": {
            "README.md": _render("starting_kit.md", values),
            "quickstart.py": TEMPLATES / "quickstart.py",
        },
    }
    track = f"{config.track}\n".encode()
    for tier, name in TEST_SETS.items():
        file = TRUTH_FILES[tier]
        parts[f"reference_data_{name}.zip"] = {file: truth / file, TRACK_FILE: track}
    if config.blind_final:
        parts["reference_data_final.zip"] = {IDS_FILE: _final_ids(recording)}
    if config.solution:
        parts["solution.zip"] = {file.name: file for file in entry}
    for name, files in parts.items():
        members[name] = path.with_name(name)
        write_zip(members[name], files)
    if config.solution and members["solution.zip"].stat().st_size > MAX_SOLUTION:
        raise ValueError(
            "the baseline's entry is larger than the 50 MB that the platform takes as a solution; "
            "give BundleConfig(solution=False)"
        )
    competition = _render("competition.yaml", values) + b"\n"
    write_zip(path, {"competition.yaml": competition, **members}, zipfile.ZIP_STORED)


def write_zip(
    path: Path, members: Mapping[str, bytes | Path], compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write a zip of contents or files by name; equal ones make an equal zip, dated 1980."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, content in members.items():
            with archive.open(name, "w") as file:
                file.write(content.read_bytes() if isinstance(content, Path) else content)


def scoring_program() -> dict[str, bytes | Path]:
    """The files of the scoring program, by name: the modules that it imports, as they are here."""
    root = Path(__file__).parents[2]
    return {
        "metadata.yaml": f"command: {COMMAND}\n".encode(),
        "score.py": TEMPLATES / "score.py",
        "kit/__init__.py": b"",
        **{name: root / name for name in SCORER},
    }


def _final_ids(recording):
    """What the platform knows of a blind final: ids that are public, and nothing of the truth."""
    ids = {
        "trial_indices": recording.trial_ids[recording.rows("final_test")].astype(str).tolist(),
        "image_ids": image_texts(recording, "final_test"),
        "neuron_ids": recording.unit_ids.tolist(),
    }
    return json.dumps(ids).encode()


def _render(name, values):
    return render_text(TEMPLATES / name, values).encode()


def _values(config, recording, expected):
    """Values for the templates. Texts from outside are escaped for Markdown, but in `config`."""
    metric = RANKING_METRIC[config.track]
    columns = [item for item in COLUMNS.items() if item[0] != "valid" or config.blind_final]
    rows = {tier: recording.tiers == tier for tier in TIERS}
    return {
        **{name: _markdown(getattr(config, name)) for name in TEXT_LENGTHS},
        **{name: config.time(name) for name in DATES if getattr(config, name)},
        "config": config,
        "json": partial(json.dumps, ensure_ascii=False),
        "pages": PAGES,
        "columns": sorted(columns, key=lambda column: column[0] != metric),
        "release": config.release_day,
        "questions": QUESTIONS,
        "email": EMAIL.fullmatch(config.contact),
        "plus": config.track == "sensorium+",
        "track": TRACKS[config.track],
        "metric": SCORES[metric],
        "mouse": recording.mouse,
        "tiers": {tier: int(here.sum()) for tier, here in rows.items()},
        "images": {tier: len(set(recording.image_ids[here])) for tier, here in rows.items()},
        "neurons": len(recording.unit_ids),
        "per_day": min(config.submissions_per_day, config.max_submissions),
        "expected": expected,
        "files": SUBMISSION_FILES,
        "test_sets": TEST_SETS,
    }


def _markdown(text):
    """Text from outside for a Markdown page: an address becomes a link, all else stays as it is."""
    if text.startswith(("http://", "https://")) and not set(text) & set(" <>|$"):
        return f"<{text}>"
    return html.escape(text, quote=False).translate(MARKDOWN)
