"""Time to open a recording of full size, and the memory it takes.

Writes a recording of 7,000 trials and 7,500 neurons with the kit's own writer (some 2 GB of disk
for a while), then opens it in a fresh process each time: first, again, and an epoch of batches.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import kit

TRIALS, NEURONS = 7000, 7500
OPEN = """
import json, resource, sys, time
import kit
marks = [time.perf_counter()]
data = kit.load(sys.argv[1], folder=sys.argv[2])
marks.append(time.perf_counter())
if sys.argv[3] == "epoch":
    for batch in data.mouse.batches("train", 128, seed=0):
        pass
    marks.append(time.perf_counter())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"seconds": [b - a for a, b in zip(marks, marks[1:])], "peak": peak}))
"""


def write(path, trials=TRIALS, neurons=NEURONS):
    """A recording of noise, in the shape and with the value ranges of a real one."""
    rng = np.random.default_rng(0)
    names, shares = ("train", "validation", "test", "final_test"), np.array([45, 5, 10, 10]) / 70
    tiers = np.repeat(names, (shares * trials).round().astype(int))
    tiers = rng.permutation(np.resize(tiers, trials))
    image_ids = np.arange(trials)
    for tier in ("test", "final_test"):  # each image ten times
        rows = np.flatnonzero(tiers == tier)
        image_ids[rows] = rows[np.arange(len(rows)) // 10 * 10]
    kit.data.official.write(
        path,
        {
            "images": rng.integers(0, 256, (trials, 1, 144, 256), np.uint8)[image_ids],
            "responses": rng.standard_exponential((trials, neurons), np.float32),
            "behavior": rng.random((trials, 3)),
            "pupil_center": rng.random((trials, 2)),
            "tiers": tiers,
            "trial_idx": np.arange(trials),
            "frame_image_id": image_ids,
            "unit_ids": np.arange(neurons),
            "cell_motor_coordinates": rng.random((neurons, 3)),
        },
        statistics_from=slice(None, 500),
    )


def opened(path, folder, mode):
    run = subprocess.run(
        [sys.executable, "-c", OPEN, path, folder, mode], check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "static99999-1-1-GrayImageNet-full.zip"
        write(path)
        print(f"{TRIALS} trials of {NEURONS} neurons, zip of {path.stat().st_size / 1e6:.0f} MB")
        first = opened(path, folder, "")
        again = [opened(path, folder, "epoch") for _ in range(5)]
        reopen, epoch = np.median([run["seconds"] for run in again], axis=0)
        print(f"first open      {first['seconds'][0]:6.2f} s, peak {first['peak']:.2f} GB")
        print(f"reopen          {reopen:6.3f} s (median of 5)")
        print(f"epoch of batches{epoch:6.2f} s (median of 5), peak {again[0]['peak']:.2f} GB")


if __name__ == "__main__":
    main()
