"""One bundle for Codabench, the platform that hosts challenges: all that it needs for a track.

Written to version 2 of its format; tests/hosting/codabench_checker.py lists what that demands.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from kit.challenge.csv_files import image_texts
from kit.challenge.ground_truth import GroundTruth, read_ground_truth, read_submission
from kit.challenge.submission import submit
from kit.challenge.tracks import (
    RANKING_METRIC,
    SCORES,
    SUBMISSION_FILES,
    TEST_SETS,
    TRACK_FILE,
    TRACKS,
    TRUTH_FILES,
    track_of,
)
from kit.checks import require_path
from kit.data.recordings import Dataset, Recording, require_dataset
from kit.evaluation.leaderboard import leaderboard_row
from kit.files import atomic_write
from kit.hosting.settings import BundleConfig
from kit.pages.html import render_text

TEMPLATES = Path(__file__).parent / "bundle_files"
DOCKER_IMAGE = "codalab/codalab-legacy:py312"  # numpy 1.26 and no torch; the default is too old
COMMAND = "python3 /app/program/score.py /app/input /app/output"
SECONDS = 600             # of the scoring, which takes one of full size less than a minute
MAX_SOLUTION = 50e6       # bytes: larger ones have hung the platform
COLUMNS = {"single_trial": "Single-trial correlation", "to_average": "Correlation to average",
           "feve": "FEVE", "low": "95 % interval, lower end", "high": "95 % interval, upper end"}
PAGES = {"Overview": "overview.md", "Data": "data.md", "Evaluation": "evaluation.md",
         "Rules": "rules.md"}
SCORER = (  # what the scoring program imports, in the folder that holds kit
    "kit/checks.py", "kit/evaluation/metrics.py", "kit/evaluation/bootstrap.py",
    "kit/evaluation/leaderboard.py", "kit/challenge/tracks.py", "kit/challenge/reader.py",
    "kit/challenge/matching.py", "kit/challenge/ground_truth.py", "kit/hosting/scorer.py",
    "kit/hosting/results_page.py", "kit/hosting/bundle_files/detailed_results.html")


def bundle(data: Dataset, truth: str | Path, path: str | Path, model: nn.Module,
           config: BundleConfig | None = None) -> Path:
    """Write a challenge of one track as a zip that Codabench takes. Returns its path.

    data: the recording that is public, its test responses withheld. truth: the folder of
    `kit.write_ground_truth`. model: a baseline; its scores stand in the starting kit, and its entry
    is the bundle's solution unless it is larger than 50 MB. config: titles, dates and limits; by
    default a live phase of 90 days from today, then a final one of two weeks.
    Raises ValueError if the recording shows what entrants are to predict, if the truth is of
    another recording or cannot be scored, or if the model does not fit; FileExistsError if `path`
    is a zip that is not a bundle.

    >>> data, model = kit.load("sample+"), kit.pretrained("sample+-ln")
    >>> paths = kit.write_ground_truth(data, kit.truth("sample+").responses, "truth")
    >>> config = kit.BundleConfig(title="Sample challenge")
    >>> kit.bundle(data, "truth", "challenge.zip", model, config).name
    'challenge.zip'
    """
    recording = require_dataset(data).mouse
    config = BundleConfig() if config is None else config
    if not isinstance(config, BundleConfig):
        raise ValueError(f"a BundleConfig is needed, not a {type(config).__name__}; give "
                         'kit.BundleConfig(title="…")')
    track = config.track or track_of(recording)
    config = replace(config, track=track)
    truth, path = require_path("truth", truth), require_path("path", path)
    if path.suffix.lower() != ".zip":
        raise ValueError(f"path={str(path)!r} does not end with .zip, as the platform needs it")
    _require_public(recording, track)
    _require_free(path)
    if not truth.is_dir():
        raise ValueError(f"truth={str(truth)!r} is not a folder; give the one that "
                         "kit.write_ground_truth or kit.withhold wrote")
    files = {tier: truth / name for tier, name in TRUTH_FILES.items()}
    known = {tier: _read_truth(file, recording, tier) for tier, file in files.items()}
    metric = RANKING_METRIC[track]
    with atomic_write(path) as temporary:
        entry = dict(zip(TRUTH_FILES, submit(model, data, temporary.parent / "entry"), strict=True))
        expected = {}
        for tier, file in entry.items():
            row = leaderboard_row(read_submission(file, known[tier]), known[tier], metric)
            expected[tier] = row.columns()
        write_competition(temporary, config, recording, files, entry, expected)
    return path


def _require_free(path):
    """Raise FileExistsError if there is a zip of another kind, which must not be lost."""
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as found:
            if "competition.yaml" not in found.namelist():
                raise FileExistsError(f"{path} exists and is not the bundle of a challenge; name "
                                      "another file")


def _require_public(recording: Recording, track):
    """Raise ValueError if the recording shows, or lacks, what it must not."""
    for tier, name in TEST_SETS.items():
        if not recording.withheld(tier):
            raise ValueError(f"mouse {recording.mouse} shows the responses of the {name} test set "
                             f"(tier {tier!r}), so everyone could copy them; give the recording "
                             "without them")
    other = track_of(recording)
    if track != other:
        has = "has" if other == "sensorium+" else "has no"
        raise ValueError(f"mouse {recording.mouse} {has} behaviour, which does not suit "
                         f'track="{track}"; give track="{other}", or another recording')


def _read_truth(path, recording, tier) -> GroundTruth:
    """The ground truth of a tier. Raises ValueError unless it is the recording's."""
    known, rows = read_ground_truth(path), recording.rows(tier)
    images = zip(recording.trial_ids[rows].astype(str), image_texts(recording, tier), strict=True)
    if dict(images) != dict(zip(known.trials, known.images, strict=True)):
        raise ValueError(f"{path} has other trials or images than tier {tier!r} of mouse "
                         f"{recording.mouse}; give the recording that belongs to it, such as the "
                         "public zip of kit.withhold")
    if not np.array_equal(known.unit_ids, np.sort(recording.unit_ids)):
        raise ValueError(f"{path} has other neurons than mouse {recording.mouse}; write it with "
                         "kit.write_ground_truth")
    if known.track not in (None, track_of(recording)):
        raise ValueError(f"{path.parent} is of track {known.track!r}, and mouse {recording.mouse} "
                         f"of {track_of(recording)!r}; give the recording that belongs to it")
    spread = known.responses.std(0)
    spread = float(np.median(spread[spread > 0])) if spread.any() else 1.0  # scores tell of silence
    if not 0.1 < spread < 10:
        raise ValueError(f"the responses in {path} have a std of {spread:.2g} in the middle "
                         "neuron, so they are not divided by each neuron's std; write them with "
                         "kit.write_ground_truth or kit.withhold")
    return known


# ---- the bundle's zip ----


def write_competition(path: Path, config: BundleConfig, recording: Recording,
                      truth: Mapping[str, Path], entry: Mapping[str, Path],
                      expected: Mapping[str, Mapping[str, float]]) -> None:
    """Write a bundle. Its parts are made in the folder of `path`, which is a temporary one.

    truth, entry: tier -> file; expected: tier -> the columns of the leaderboard for the entry.
    """
    folder, values = path.parent, _values(config, recording, expected)
    members = {"logo.png": TEMPLATES / "logo.png", "terms.md": _page("terms.md", values)}
    members |= {f"pages/{name}": _page(name, values) for name in PAGES.values()}
    parts = {"scoring_program.zip": scoring_program(),
             "starting_kit.zip": {"README.md": _page("starting_kit.md", values),
                                  "quickstart.py": (TEMPLATES / "quickstart.py").read_bytes()}}
    for tier, name in TEST_SETS.items():
        parts[f"reference_data_{name}.zip"] = {TRUTH_FILES[tier]: truth[tier],
                                               TRACK_FILE: f"{config.track}\n".encode()}
    parts["solution.zip"] = {SUBMISSION_FILES[tier]: file for tier, file in entry.items()}
    for name, content in parts.items():
        write_zip(folder / name, content)
        members[name] = folder / name
    small = (folder / "solution.zip").stat().st_size <= MAX_SOLUTION
    if not small:
        del members["solution.zip"]
    text = json.dumps(competition(config, small), indent=2, ensure_ascii=False)  # JSON is YAML
    write_zip(path, {"competition.yaml": f"{text}\n".encode(), **members}, zipfile.ZIP_STORED)


def write_zip(path: Path, members: Mapping[str, bytes | Path],
              compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write a zip of contents or files by name; equal ones make an equal zip, dated 1980."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as target:
        for name, content in members.items():
            source = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
            with source, target.open(name, "w") as file:
                shutil.copyfileobj(source, file, 2**20)


def scoring_program() -> dict[str, bytes]:
    """The files of the scoring program, by name: the modules that it imports, as they are here."""
    root = Path(__file__).parents[2]
    return {"metadata.yaml": f"command: {COMMAND}\n".encode(),
            "score.py": (TEMPLATES / "score.py").read_bytes(), "kit/__init__.py": b"",
            **{name: (root / name).read_bytes() for name in SCORER}}


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
        "solutions": [{"index": 0, "name": config.baseline, "path": "solution.zip",
                       "tasks": [0, 1]}],
        "phases": [_live_phase(config), _final_phase(config)],
        "leaderboards": [_leaderboard(config.track)],
    }
    if not solution:
        del found["solutions"]
    return found


def _task(index, name):
    return {"index": index, "name": f"{name} test set", "scoring_program": "scoring_program.zip",
            "description": f"Predict the responses of the {name} test set",
            "reference_data": f"reference_data_{name}.zip"}


def _live_phase(config):
    limits = config.submissions_per_day, config.max_submissions
    return _phase(0, "Live", limits, start=_time(config, "live_start"),
                  end=_time(config, "live_end"),
                  description="Scores are public at once; they do not decide the challenge")


def _final_phase(config):
    limits = min(config.submissions_per_day, config.final_submissions), config.final_submissions
    dates = {"start": _time(config, "final_start")}
    if config.final_end:
        dates["end"] = _time(config, "final_end")
    return _phase(1, "Final", limits, **dates,
                  description="The last entry of each participant decides the challenge")


def _phase(index, name, limits, **others):
    return {"index": index, "name": name, "tasks": [index], **others,
            "max_submissions_per_day": limits[0], "max_submissions": limits[1],
            "execution_time_limit": SECONDS, "hide_score_output": False,
            "starting_kit": "starting_kit.zip"}


def _leaderboard(track):
    keys = sorted(COLUMNS, key=lambda key: key != RANKING_METRIC[track])  # the track's own first
    columns = [{"title": COLUMNS[key], "key": key, "index": index, "sorting": "desc",
                "precision": 4} for index, key in enumerate(keys)]
    return {"title": TRACKS[track], "key": track.replace("+", "_plus"), "primary_index": 0,
            "submission_rule": "Force_Last", "columns": columns}


def _time(config, name):
    return f"{config.time(name):%Y-%m-%d %H:%M:%S}"  # a text: the platform wants dates quoted


# ---- pages ----


def _page(name, values):
    return render_text(TEMPLATES / name, values).encode()


def _values(config, recording, expected):
    """Values for the templates of the pages."""
    texts = {name: _markdown(getattr(config, name))
             for name in ("title", "organizer", "contact", "baseline", "public_data")}
    end = _time(config, "final_end") if config.final_end else "stays open"
    tiers = {tier: int((recording.tiers == tier).sum())
             for tier in ("train", "validation", *TEST_SETS)}
    images = {tier: len(set(recording.image_ids[recording.tiers == tier])) for tier in tiers}
    rows = {TEST_SETS[tier]: [f"{scores[key]:.4f}" for key in COLUMNS]
            for tier, scores in expected.items()}
    return texts | {
        "plus": config.track == "sensorium+", "track": TRACKS[config.track],
        "metric": SCORES[RANKING_METRIC[config.track]], "mouse": recording.mouse, "tiers": tiers,
        "images": images, "neurons": len(recording.unit_ids), "expected": rows,
        "live_start": _time(config, "live_start"), "live_end": _time(config, "live_end"),
        "final_start": _time(config, "final_start"), "final_end": end,
        "per_day": config.submissions_per_day, "in_all": config.max_submissions,
        "final_in_all": config.final_submissions, "files": SUBMISSION_FILES}


def _markdown(text):
    """Text from outside for a Markdown page: an address becomes a link, all else stays as it is."""
    if text.startswith(("http://", "https://")) and not set(text) & set(" <>|$"):
        return f"<{text}>"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace("$", "&#36;")  # the platform takes what is between two for mathematics
    return "".join(f"\\{letter}" if letter in r"\`*_[]()#|~!" else letter for letter in text)
