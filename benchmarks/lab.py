"""Time the laboratory: orientation tuning of many neurons, gradient fields, most exciting images.

Each in a process of its own, so that its peak of memory is its own. Untrained weights take as long
as trained ones.
"""

import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import kit

SIZES = {"orientation": (64, 7500), "fields": (16, 600), "images": (16, 600)}  # channels, neurons


def model(channels, neurons):
    rng = np.random.default_rng(0)
    core = kit.layers.ConvCore(channels)
    return kit.Model(core, {"mouse": rng.uniform(0, 616, (neurons, 2))})


def orientation(twin):
    kit.lab.orientation_tuning(twin, grid=kit.lab.Gratings(frequencies=(0.03, 0.06, 0.1, 0.18)))
    return "orientation tuning, 12 orientations x 4 frequencies x 8 phases"


def fields(twin):
    kit.lab.receptive_fields(twin)
    return "gradient fields of all neurons"


def images(twin):
    kit.lab.most_exciting_images(twin, range(100), config=kit.lab.AscentConfig(steps=200))
    return "100 most exciting images, 200 steps"


def card():
    twin, truth = kit.pretrained("sample+-cnn"), kit.truth("sample+")
    print(kit.lab.report_card(twin, truth))
    return "report card of sample+-cnn, 600 neurons"


def timed(name):
    twin = None if name == "card" else model(*SIZES[name])
    before = time.perf_counter()
    what = card() if twin is None else globals()[name](twin)
    seconds = time.perf_counter() - before
    return what, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main():
    os.environ["CI"] = "1"  # no progress bars
    print(f"{'what':64} channels  neurons  seconds  peak MB")
    for name in (*SIZES, "card"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            what, seconds, megabytes = pool.submit(timed, name).result()
        channels, neurons = SIZES.get(name, (16, 600))
        print(f"{what:64} {channels:8} {neurons:8} {seconds:8.1f} {megabytes:8.0f}")


if __name__ == "__main__":
    main()
