"""Time the competition at full size: 7,500 neurons, 1,000 trials of 100 images, 12 entries.

Writing and checking both files of a submission, grading one, comparing two, ranking twelve (2.3 GB
of files in a temporary folder); writing the bundle for the hosting platform, and its scoring
program, which reads with the standard library's JSON; and withholding the tests of 7,000 trials at
full resolution (3 GB more). Each in a process of its own, for its own peak of memory; that of
withholding counts 1.3 GB of the recording's files, which the system takes back when it needs them.
"""

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import kit
from kit.challenge.csv_files import write_rows
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES

NEURONS, IMAGES, REPEATS, ENTRIES, TRIALS = 7500, 100, 10, 12, 7000


class Untrained(kit.data.simulation.Cells):
    """Predictions without inference: what is timed is files alone."""

    def __init__(self, predictions):
        super(kit.data.simulation.Cells, self).__init__()
        self.predictions = predictions

    def validate_data(self, data):
        pass

    def forward(self, batch, mouse=None):
        import torch

        return torch.from_numpy(self.predictions[: len(batch.images)])


def recording():
    """A competition mouse of full size, without images worth the name."""
    rng = np.random.default_rng(0)
    trials = IMAGES * REPEATS
    tiers = np.repeat(["test", "final_test"], trials)
    image = np.concatenate([np.repeat(np.arange(IMAGES) + k, REPEATS) for k in (0, IMAGES)])
    return kit.Recording(
        "1-1-1",
        images=np.zeros((2 * trials, 1, 4, 4), np.float32),
        responses=np.full((2 * trials, NEURONS), np.nan, np.float32),
        behavior=None,
        pupil_center=None,
        tiers=tiers,
        image_ids=1000 + image,
        trial_ids=np.array([f"{i:032x}" for i in range(2 * trials)]),
        unit_ids=np.arange(NEURONS),
        coordinates=rng.uniform(0, 616, (NEURONS, 3)),
        statistics={},
    )


def values(seed, noise):
    """Something like predictions, alike for repeats of an image, or responses if noise is 2."""
    rng, common = np.random.default_rng(seed), np.random.default_rng(99)
    signal = common.gamma(1, 1, (IMAGES, NEURONS)) + 0.7 * rng.standard_normal((IMAGES, NEURONS))
    shown = np.repeat(signal, REPEATS, axis=0)
    return (shown + noise * rng.standard_normal(shown.shape)).astype(np.float32)


def prepare(folder):
    mouse = recording()
    (folder / "truth").mkdir()
    (folder / "truth" / "track.txt").write_text("sensorium")
    for tier, name in TRUTH_FILES.items():
        write_rows(folder / "truth" / name, mouse, tier, values(0, 2), "responses")
    for k in range(1, ENTRIES + 1):
        (folder / "entries" / f"entry {k}").mkdir(parents=True)
        path = folder / "entries" / f"entry {k}" / SUBMISSION_FILES["test"]
        write_rows(path, mouse, "test", values(k, 0), "prediction")


def prepare_open(folder):
    """The arrays of an open mouse of full size, of noise: 1,000 trials of 100 test images."""
    rng, trials = np.random.default_rng(1), TRIALS
    image = np.r_[np.arange(trials - IMAGES * REPEATS), -1 - np.arange(IMAGES * REPEATS) % IMAGES]
    image = rng.permutation(image)
    shapes = {"images": (1, 144, 256), "responses": (NEURONS,), "behavior": (3,)}
    shapes["pupil_center"] = (2,)
    for kind, shape in shapes.items():
        path = folder / f"{kind}.npy"
        values = np.lib.format.open_memmap(path, "w+", np.float32, (trials, *shape))
        for trial in range(trials):
            if kind == "images":
                pixels = np.random.default_rng(image[trial] + trials).integers(256, size=shape)
                values[trial] = (pixels - 127.5) / 64
            else:
                values[trial] = rng.standard_exponential(shape)
        values.flush()
    tiers = np.where(image < 0, "test", np.where(image < 500, "validation", "train"))
    np.savez(folder / "meta.npz", tiers=tiers, image_ids=image)


def withhold(folder):
    kinds = ("images", "responses", "behavior", "pupil_center")
    arrays = {kind: np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in kinds}
    units = {"images_mean": 127.5, "images_std": 64}
    for kind in kinds[1:]:
        units |= {f"{kind}_mean": 0, f"{kind}_std": np.ones(arrays[kind].shape[1])}
    with np.load(folder / "meta.npz") as meta:
        mouse = kit.Recording(
            "1-1-1",
            **arrays,
            **meta,
            trial_ids=np.arange(TRIALS),
            unit_ids=np.arange(NEURONS),
            coordinates=np.zeros((NEURONS, 3)),
            statistics=units,
        )
    kit.withhold(mouse, folder / "withheld")
    return "withhold the tests of 7,000 trials, 144 x 256"


def submit(folder):
    data = kit.Dataset([recording()])
    kit.submit(Untrained(values(1, 0)), data, folder / "written")
    return "write and check both files of a submission"


def grade(folder):
    kit.grade(*pair(folder)[::2])
    return "grade one file"


def compare(folder):
    print(kit.compare(*pair(folder), resamples=2000))
    return "read and compare two files, 2,000 resamples"


def rank(folder):
    print(kit.rank(folder / "entries", folder / "truth"))
    return f"rank {ENTRIES} entries, 10,000 resamples"


def bundle(folder):
    data = kit.Dataset([recording()])
    kit.bundle(data, folder / "truth", folder / "bundle.zip", Untrained(values(1, 0)))
    return "write the bundle for the hosting platform"


def score(folder):
    """What the hosting platform does. The memory is that of the scoring program."""
    place, entry = folder / "platform", pair(folder)[0]
    with zipfile.ZipFile(folder / "bundle.zip") as outer:
        for name, part in (("scoring_program", "program"), ("reference_data_live", "input/ref")):
            with outer.open(f"{name}.zip") as inner:
                zipfile.ZipFile(inner).extractall(place / part)
    (place / "input" / "res").mkdir()
    os.link(entry, place / "input" / "res" / entry.name)
    program = [sys.executable, place / "program" / "score.py", place / "input", place / "output"]
    subprocess.run(program, check=True)
    return "the bundle's scoring program, one entry"


def pair(folder):
    entries = [folder / "entries" / f"entry {k}" / SUBMISSION_FILES["test"] for k in (1, 2)]
    return *entries, folder / "truth" / TRUTH_FILES["test"]


def timed(function, folder):
    before = time.perf_counter()
    what = function(folder)
    seconds = time.perf_counter() - before
    whose = resource.RUSAGE_CHILDREN if function is score else resource.RUSAGE_SELF
    return what, seconds, resource.getrusage(whose).ru_maxrss / 1000


def alone(function, *arguments):
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main():
    os.environ["CI"] = "1"  # no progress bars
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        alone(prepare_open, folder)  # its memory would be counted in each of the others
        lines = []
        for function in (submit, grade, compare, rank, bundle, score, withhold):
            what, seconds, megabytes = alone(timed, function, folder)
            lines.append(f"{what:48} {seconds:7.1f} s {megabytes:6.0f} MB")
    print(f"{NEURONS} neurons, {IMAGES} images, {IMAGES * REPEATS} trials", *lines, sep="\n")


if __name__ == "__main__":
    main()
