"""A tiny competition mouse, a model's submission for it, and the ground truth."""

from pathlib import Path
from typing import NamedTuple

import csv_rows
import pytest
import tiny

import kit


class Challenge(NamedTuple):
    folder: Path
    data: kit.data.Dataset
    model: kit.Model
    live: Path
    final: Path
    truth: Path  # of the live test set


@pytest.fixture(scope="session")
def challenge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("challenge")
    recording = tiny.arrays()
    data = kit.load(tiny.write(folder, recording, withholds=["responses"]), folder=folder / "data")
    model = kit.linear_baseline(data, channels=2)
    live, final = kit.submit(model, data, folder / "mine")
    truth, _ = kit.write_ground_truth(data, tiny.standardised(recording), folder / "truth")
    return Challenge(folder, data, model, live, final, truth)


@pytest.fixture
def live_rows(challenge):
    """Header and rows of the live submission file, to be changed."""
    return csv_rows.read(challenge.live)
