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
from kit.hosting.settings import BundleConfig


def bundle(
    data: Dataset,
    truth: str | Path,
    path: str | Path,
    model: nn.Module,
    config: BundleConfig | None = None,
) -> Path:
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
        raise ValueError(
            f"a BundleConfig is needed, not a {type(config).__name__}; give "
            'kit.BundleConfig(title="…")'
        )
    track = config.track or track_of(recording)
    config = replace(config, track=track)
    truth, path = require_path("truth", truth), require_path("path", path)
    if path.suffix.lower() != ".zip":
        raise ValueError(f"path={str(path)!r} does not end with .zip, as the platform needs it")
    _require_public(recording, track)
    _require_free(path)
    if not truth.is_dir():
        raise ValueError(
            f"truth={str(truth)!r} is not a folder; give the one that "
            "kit.write_ground_truth or kit.withhold wrote"
        )
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
                raise FileExistsError(
                    f"{path} exists and is not the bundle of a challenge; name another file"
                )


def _require_public(recording: Recording, track):
    """Raise ValueError if the recording shows, or lacks, what it must not."""
    for tier, name in TEST_SETS.items():
        if not recording.withheld(tier):
            raise ValueError(
                f"mouse {recording.mouse} shows the responses of the {name} test set "
                f"(tier {tier!r}), so everyone could copy them; give the recording "
                "without them"
            )
    other = track_of(recording)
    if track != other:
        has = "has" if other == "sensorium+" else "has no"
        raise ValueError(
            f"mouse {recording.mouse} {has} behaviour, which does not suit "
            f'track="{track}"; give track="{other}", or another recording'
        )


def _read_truth(path, recording, tier) -> GroundTruth:
    """The ground truth of a tier. Raises ValueError unless it is the recording's."""
    known, rows = read_ground_truth(path), recording.rows(tier)
    images = zip(recording.trial_ids[rows].astype(str), image_texts(recording, tier), strict=True)
    if dict(images) != dict(zip(known.trials, known.images, strict=True)):
        raise ValueError(
            f"{path} has other trials or images than tier {tier!r} of mouse "
            f"{recording.mouse}; give the recording that belongs to it, such as the "
            "public zip of kit.withhold"
        )
    if not np.array_equal(known.unit_ids, np.sort(recording.unit_ids)):
        raise ValueError(
            f"{path} has other neurons than mouse {recording.mouse}; write it with "
            "kit.write_ground_truth"
        )
    if known.track not in (None, track_of(recording)):
        raise ValueError(
            f"{path.parent} is of track {known.track!r}, and mouse {recording.mouse} "
            f"of {track_of(recording)!r}; give the recording that belongs to it"
        )
    spread = known.responses.std(0)
    spread = float(np.median(spread[spread > 0])) if spread.any() else 1.0  # scores tell of silence
    if not 0.1 < spread < 10:
        raise ValueError(
            f"the responses in {path} have a std of {spread:.2g} in the middle "
            "neuron, so they are not divided by each neuron's std; write them with "
            "kit.write_ground_truth or kit.withhold"
        )
    return known
