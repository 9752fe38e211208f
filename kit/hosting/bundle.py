"""One bundle for Codabench, the platform that hosts challenges: all that it needs for a track.

Written to version 2 of its format; tests/hosting/codabench_checker.py lists what that demands.
"""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from kit.challenge.csv_files import image_texts
from kit.challenge.ground_truth import GroundTruth, read_ground_truth, read_submission
from kit.challenge.submission import submit
from kit.challenge.tracks import RANKING_METRIC, TEST_SETS, TRUTH_FILES, track_of
from kit.checks import require_path
from kit.data.recordings import Dataset, Recording, require_dataset
from kit.evaluation.leaderboard import leaderboard_row
from kit.files import atomic_write
from kit.hosting.competition import write_competition
from kit.hosting.settings import BundleConfig, require_config


def bundle(
    data: Dataset,
    truth: str | Path,
    path: str | Path,
    model: nn.Module,
    config: BundleConfig | None = None,
) -> Path:
    """Write a challenge of one track as a zip that Codabench takes. Returns its path.

    data: the recording that is public, its test responses withheld. truth: the folder `private` of
    `kit.withhold`, or that of `kit.write_ground_truth`. model: a baseline, whose scores stand in
    the starting kit. config: titles, dates and limits; by default a live phase of 90 days from
    today, then a blind final of two weeks: its truth is checked here, but is not in the bundle,
    so keep `truth` until `kit.rank` has decided.
    Raises ValueError if the recording shows what entrants are to predict, if the truth is of
    another recording or cannot be scored, or if the model does not fit; FileNotFoundError if the
    folder has no truth; FileExistsError if `path` is a zip that is not a bundle.

    >>> data, model = kit.load("sample+"), kit.pretrained("sample+-ln")
    >>> paths = kit.write_ground_truth(data, kit.truth("sample+").responses, "truth")
    >>> config = kit.BundleConfig(title="Sample challenge")
    >>> kit.bundle(data, "truth", "challenge.zip", model, config).name
    'challenge.zip'
    """
    recording = require_dataset(data).mouse
    config = require_config(config, BundleConfig)
    truth = require_path("truth", truth)
    path = require_path("path", path)
    _require_bundle(path)
    _require_withheld(recording)
    _require_truth(truth)
    measured = {
        tier: _read_truth(truth / name, recording, tier) for tier, name in TRUTH_FILES.items()
    }
    track = track_of(recording)
    for stated in (config.track, measured["test"].track):
        if stated not in (None, track):
            raise ValueError(
                f'mouse {recording.mouse}, of track="{track}", does not suit track="{stated}" of '
                f"the settings or {truth}; give a recording that does"
            )
    with atomic_write(path) as temporary:
        entry = submit(model, data, temporary.parent / "entry")
        expected = {}
        for tier, file in zip(measured, entry, strict=True):
            predictions = read_submission(file, measured[tier])
            row = leaderboard_row(predictions, measured[tier], RANKING_METRIC[track])
            expected[tier] = row.columns()
        if config.blind_final:  # not even a score is told
            del expected["final_test"]
        config = replace(config, track=track)
        write_competition(temporary, config, recording, truth, entry, expected)
    return path


def _require_bundle(path):
    """Raise an error if `path` is no name of a zip, or a zip of another kind, not to be lost."""
    if path.suffix.lower() != ".zip":
        raise ValueError(f"path={str(path)!r} does not end with .zip, as the platform needs it")
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "competition.yaml" not in archive.namelist():
                raise FileExistsError(f"{path} is not a challenge's bundle; name another file")


def _require_withheld(recording):
    """Raise ValueError if the recording shows the responses of a test set."""
    for tier in TEST_SETS:
        if not recording.withheld(tier):
            raise ValueError(
                f"mouse {recording.mouse} shows the responses of tier {tier!r}; withhold them"
            )


def _require_truth(folder):
    """Raise FileNotFoundError unless both ground-truth files are in the folder."""
    missing = [name for name in TRUTH_FILES.values() if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}; give the folder private that kit.withhold wrote, or "
            "the one of kit.write_ground_truth"
        )


def _read_truth(path, recording: Recording, tier) -> GroundTruth:
    """The ground truth of a tier. Raises ValueError unless it is the recording's."""
    truth = read_ground_truth(path)
    trials = recording.trial_ids[recording.rows(tier)].astype(str)
    images = dict(zip(trials, image_texts(recording, tier), strict=True))
    same_images = images == dict(zip(truth.trials, truth.images, strict=True))
    if not same_images or not np.array_equal(truth.unit_ids, np.sort(recording.unit_ids)):
        raise ValueError(
            f"{path} has other {'neurons' if same_images else 'trials or images'} than tier "
            f"{tier!r} of mouse {recording.mouse}; give the recording that was withheld with it"
        )
    stds = truth.responses.std(0)
    std = float(np.median(stds[stds > 0])) if stds.any() else 1.0  # scores tell of silence
    if not 0.1 < std < 10:
        raise ValueError(
            f"the responses in {path} have a std of {std:.2g} in the middle neuron, not around 1; "
            "write them with kit.write_ground_truth or kit.withhold"
        )
    return truth
