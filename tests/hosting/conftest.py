"""A tiny challenge of each track, and its bundle."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny

import kit


class Hosted(NamedTuple):
    folder: Path
    data: kit.data.Dataset
    model: kit.Model
    truth: Path  # the folder of both files
    config: kit.BundleConfig
    bundle: Path


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """A function from a track to its tiny challenge."""

    @cache
    def make(track):
        folder = tmp_path_factory.mktemp("hosted")
        recording = tiny.arrays(test={"test": (4, 4, 3, 3), "final_test": (4, 3, 3)})
        withholds = ["responses"] if track == "sensorium+" else ["responses", "behavior"]
        data = kit.load(tiny.write(folder, recording, withholds=withholds), folder=folder / "data")
        model = kit.linear_baseline(data, channels=2)
        kit.write_ground_truth(data, tiny.standardised(recording), folder / "truth")
        config = kit.BundleConfig(
            title="A tiny challenge", track=track, organizer="Us & <them>",
            contact="us@example.org", baseline="linear_baseline",
            public_data="https://example.org/tiny_1.zip", live_start="2027-03-01",
            live_end="2027-05-01 12:00", final_start="2027-05-02", final_end="2027-06-01",
            reward="A mug & a <cake>", release="2027-07-01", solution=True,
        )  # fmt: skip
        path = kit.bundle(data, folder / "truth", folder / "tiny.zip", model, config)
        return Hosted(folder, data, model, folder / "truth", config, path)

    return make


@pytest.fixture(params=["sensorium", "sensorium+"])
def hosted(request, host):
    """A tiny challenge of each track and its bundle."""
    return host(request.param)


@pytest.fixture
def plus_hosted(host):
    """A tiny challenge of the Sensorium+ track and its bundle."""
    return host("sensorium+")
