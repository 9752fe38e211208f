"""One bundle for Codabench, the platform that hosts challenges: all that it needs for a track.

Written to version 2 of its format; tests/challenge/codabench_checker.py lists what that demands.
"""

import zipfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from torch import nn

from kit.challenge.comparison import score_entry
from kit.challenge.competition import write_competition
from kit.challenge.csv_files import image_texts
from kit.challenge.grading import GroundTruth, read_ground_truth, read_submission
from kit.challenge.submission import submit
from kit.challenge.tracks import MAX_SCORE, TEST_SETS, TRUTH_FILES, require_track, track_of
from kit.data.recordings import Dataset, Recording, require_dataset
from kit.evaluation.bootstrap import interval
from kit.evaluation.scores import compute_scores
from kit.files import atomic_write
from kit.report import require_int, require_path

TEXTS = {"title": 255, "organizer": 200, "contact": 200, "baseline": 100, "public_data": 1000}
DATES = ("live_start", "live_end", "final_start", "final_end")


def _in_days(days):
    """A date so many days from today, for a challenge that opens when it is uploaded."""
    return field(default_factory=lambda: str((datetime.now(UTC) + timedelta(days=days)).date()))


@dataclass(frozen=True)
class BundleConfig:
    """Settings of a challenge. Dates are UTC, such as "2027-03-01" or "2027-03-01 12:00"."""

    title: str = "Predict mouse visual cortex"
    track: str | None = None                        # None: "sensorium+" if data have behaviour
    organizer: str = "the authors of this challenge"
    contact: str = "the forum of this challenge"    # an address, or words
    baseline: str = "baseline"                      # what the pages call the model given
    public_data: str = "the organisers' web site"   # where the recording's zip is: a URL, or words
    live_start: str = _in_days(0)
    live_end: str = _in_days(90)
    final_start: str = _in_days(91)                 # later than live_end, or the platform refuses
    final_end: str = _in_days(105)                  # "" for a final phase that stays open
    submissions_per_day: int = 5                    # in the live phase
    max_submissions: int = 100                      # of one participant in the live phase
    final_submissions: int = 3                      # few: each shows a score of the final test set
    auto_approve: bool = True                       # False: you let in each participant yourself

    def __post_init__(self):
        for name, length in TEXTS.items():
            _require_text(name, getattr(self, name), length)
        require_track(self.track)
        limits = {"max_submissions": 10_000, "final_submissions": 10_000,
                  "submissions_per_day": self.max_submissions}
        for name, most in limits.items():
            whole = require_int(name, getattr(self, name), 1, most)
            object.__setattr__(self, name, whole)  # numpy's whole numbers become Python's
        if not isinstance(self.auto_approve, bool):
            raise ValueError(f"auto_approve={self.auto_approve!r} is unclear; give True or False")
        times = [self.time(name) for name in DATES if name != "final_end" or self.final_end != ""]
        for earlier, later, before, after in zip(DATES, DATES[1:], times, times[1:], strict=False):
            if before >= after:
                raise ValueError(f"{later}={getattr(self, later)!r} is not later than {earlier}="
                                 f"{getattr(self, earlier)!r}; give dates in the order "
                                 f"{', '.join(DATES)}")

    def time(self, name: str) -> datetime:
        """One of the four dates, to the second. Raises ValueError if it is not one."""
        text = getattr(self, name)
        try:
            found = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            found = None
        if found is None or found.year < 2000:
            raise ValueError(f"{name}={str(text)[:40]!r} is not a date; give one such as "
                             '"2027-03-01" or "2027-03-01 12:00"')
        if found.tzinfo is not None:
            raise ValueError(f"{name}={text!r} has a time zone, which the platform would drop; "
                             f"give UTC without one: {found.astimezone(UTC):%Y-%m-%d %H:%M}")
        return found.replace(microsecond=0)


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
    config = replace(config, track=config.track or track_of(recording))
    truth, path = require_path("truth", truth), require_path("path", path)
    if path.suffix.lower() != ".zip":
        raise ValueError(f"path={str(path)!r} does not end with .zip, as the platform needs it")
    _require_public(recording, config.track)
    _require_free(path)
    if not truth.is_dir():
        raise ValueError(f"truth={str(truth)!r} is not a folder; give the one that "
                         "kit.write_ground_truth or kit.withhold wrote")
    files = {tier: truth / name for tier, name in TRUTH_FILES.items()}
    known = {tier: _read_truth(file, recording, tier) for tier, file in files.items()}
    with atomic_write(path) as temporary:
        entry = dict(zip(TRUTH_FILES, submit(model, data, temporary.parent / "entry"), strict=True))
        expected = {tier: _expected_scores(entry[tier], known[tier], files[tier], config.track)
                    for tier in TRUTH_FILES}
        write_competition(temporary, config, recording, files, entry, expected)
    return path


def _require_text(name, text, length):
    if not (isinstance(text, str) and text.strip() and text.isprintable() and len(text) <= length):
        raise ValueError(f"{name}={str(text)[:60]!r} is not possible; give 1 to {length} "
                         "characters on one line, with plain blanks and nothing invisible")


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
    """The ground truth of a tier. Raises ValueError unless it is that of the recording."""
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
    spread = float(np.median(spread[spread > 0])) if spread.any() else 1.0  # silent: told later
    if not 0.1 < spread < 10:
        raise ValueError(f"the responses in {path} have a std of {spread:.2g} in the middle "
                         "neuron, so they are not divided by each neuron's std; write them with "
                         "kit.write_ground_truth or kit.withhold")
    return known


def _expected_scores(entry, known, file, track) -> dict[str, float]:
    """The columns of the leaderboard for an entry. Raises ValueError if there can be none."""
    predictions = read_submission(entry, known)
    found = compute_scores(predictions, known.responses, known.images, known.unit_ids)
    if found.feve is None:
        raise ValueError(f"FEVE cannot be computed for {file}: it {found.reason}")
    low, high = interval(score_entry(predictions, known.responses, known.images, track))
    scores = {"single_trial": found.single_trial, "to_average": found.to_average,
              "feve": found.feve, "low": low, "high": high}
    if not max(map(abs, scores.values())) < MAX_SCORE:
        raise ValueError(f"the model's FEVE is {found.feve:.3g}, which the leaderboard cannot "
                         "show; give a model that predicts in units of each neuron's std")
    return scores
