"""What the kit costs, beside the library of 2022 (neuralpredictors 0.3.0) where that is installed.

Opening a recording, an epoch of batches, training steps, predictions, memory, growth with neurons:
each measured in a fresh process, the two in turn, so that a busy machine slows both. Prints a
table, writes build/bench.json and benchmarks/bench.png. Run by `make bench` (some 10 minutes).
"""

import argparse
import collections
import collections.abc
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
TRIALS, NEURONS, BATCH = 1500, 7500, 128  # a real mouse has 7,000 trials
STEPS = 5
GROWTH = (1000, 2000, 4000, 8000)
MODELS = {  # name -> layers, nonlinear, behaviour and eye position
    "LN": (3, False, False),
    "CNN": (4, True, False),
    "CNN with behaviour": (4, True, True),
}


# ---- one measurement in a process of its own: kit_… and peer_… print seconds and peak memory ----


def names_of_2022():
    """The library of 2022 wants names that Python no longer has, and a package it does not need."""
    for name in ("Iterable", "Mapping", "MutableMapping"):
        setattr(collections, name, getattr(collections.abc, name))
    sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))


def timed(function, times=1):
    """Seconds of each of several calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def inputs(neurons):
    """A batch of noise and places in cortex."""
    rng = torch.Generator().manual_seed(0)
    shapes = (1, 36, 64), (neurons,), (3,), (2,)
    images, responses, behavior, pupil = (torch.rand(BATCH, *s, generator=rng) for s in shapes)
    return (images - 0.5, responses, behavior, pupil - 0.5), np.random.default_rng(0).uniform(
        0, 616, (neurons, 3)
    ).astype(np.float32)


def kit_model(name, coordinates, mouse="mouse"):
    import kit

    layers, nonlinear, behavior = MODELS[name]
    core = kit.layers.ConvCore(64, 4 if behavior else 1, layers, nonlinear)
    return kit.Model(core, {mouse: coordinates}, kit.ModelConfig(behavior, behavior))


def kit_stepper(name, neurons):
    """A function that trains the kit's model by one step."""
    import kit
    from kit.training.loop import poisson_loss

    fields, coordinates = inputs(neurons)
    batch, model = kit.Batch(*fields), kit_model(name, coordinates).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.009)

    def step():
        loss = poisson_loss(model(batch, "mouse"), batch.responses) + model.regularizer("mouse")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def kit_step(name, neurons):
    from kit.machine import reuse_freed_memory

    step = kit_stepper(name, neurons)
    with reuse_freed_memory():
        step()
        return timed(step, STEPS)


def peer_parts(name, coordinates):
    """Core, readout and shifter as the 2022 baselines have them."""
    names_of_2022()
    from neuralpredictors.layers.cores import Stacked2dCore
    from neuralpredictors.layers.readouts import FullGaussian2d
    from neuralpredictors.layers.shifters import MLPShifter

    layers, nonlinear, behavior = MODELS[name]
    core = Stacked2dCore(
        4 if behavior else 1, 64, 9, 7, layers=layers, gamma_input=6.3831, bias=False,
        momentum=0.9, pad_input=False, hidden_padding=3, laplace_padding=None, stack=-1,
        depth_separable=True, input_regularizer="LaplaceL2norm", use_avg_reg=False,
        linear=not nonlinear,
    )  # fmt: skip
    readout = FullGaussian2d(
        (64, 28, 56), len(coordinates), bias=True, init_mu_range=0.3, init_sigma=0.1,
        gauss_type="full", feature_reg_weight=0.0076, source_grid=coordinates[:, :2],
        grid_mean_predictor={"hidden_layers": 1, "hidden_features": 30, "final_tanh": True},
    )  # fmt: skip
    shifter = MLPShifter(["mouse"], 2, 5, 3)["mouse"] if behavior else None
    return torch.nn.ModuleList([core, readout] + [shifter] * behavior)


def peer_forward(parts, images, behavior, pupil):
    core, readout, *shifter = parts
    if shifter:
        tiled = behavior[:, :, None, None].expand(-1, -1, *images.shape[-2:])
        images = torch.cat([images, tiled], 1)
    shift = shifter[0](pupil) if shifter else None
    return torch.nn.functional.elu(readout(core(images), shift=shift)) + 1


def peer_step(name, neurons):
    (images, responses, behavior, pupil), coordinates = inputs(neurons)
    parts = peer_parts(name, coordinates).train()
    optimizer = torch.optim.Adam(parts.parameters(), 0.009)

    def step():
        predictions = peer_forward(parts, images, behavior, pupil)
        loss = (predictions - responses * torch.log(predictions + 1e-12)).sum()
        loss = loss + parts[0].regularizer() + parts[1].regularizer("sum")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return timed(step, STEPS)


def kit_predict(name, neurons):
    import kit
    from kit.models.layers import eval_mode

    fields, coordinates = inputs(neurons)
    batch, model = kit.Batch(*fields), kit_model(name, coordinates)

    def predict():
        with eval_mode(model), torch.inference_mode():
            for _ in range(8):  # 1,024 trials
                model(batch, "mouse")

    predict()
    return timed(predict, 3)


def peer_predict(name, neurons):
    (images, _, behavior, pupil), coordinates = inputs(neurons)
    parts = peer_parts(name, coordinates).eval()

    def predict():
        with torch.no_grad():
            for _ in range(8):
                peer_forward(parts, images, behavior, pupil)

    predict()
    return timed(predict, 3)


def kit_data(path):
    """Seconds of the first open, of opening again, and of an epoch of batches."""
    import kit

    with tempfile.TemporaryDirectory() as folder:
        first = timed(lambda: kit.load(path, folder=folder))
        again = timed(lambda: kit.load(path, folder=folder), 5)
        mouse = kit.load(path, folder=folder).mouse
        epoch = timed(lambda: [None for _ in mouse.batches("train", BATCH, seed=0)], 5)
    return {"first open": first, "open again": again, "epoch of batches": epoch}


def peer_opened(folder):
    """A recording's unpacked folder as the library of 2022 opens it."""
    names_of_2022()
    from neuralpredictors.data.datasets import FileTreeDataset
    from neuralpredictors.data.transforms import NeuroNormalizer, ScaleInputs, ToTensor

    data = FileTreeDataset(str(folder), "images", "responses", "behavior", "pupil_center")
    data.transforms.extend([ScaleInputs(scale=0.25), NeuroNormalizer(data), ToTensor()])
    return data


def peer_data(path):
    """The same through the loader of 2022: its first pass reads the files, later ones do not."""
    folder = Path(path).with_suffix("")

    first, data = timed(lambda: peer_opened(folder)), peer_opened(folder)
    rows = np.flatnonzero(np.load(folder / "meta" / "trials" / "tiers.npy") == "train")
    sampler = torch.utils.data.SubsetRandomSampler(rows)
    loader = torch.utils.data.DataLoader(data, BATCH, sampler=sampler)
    passes = timed(lambda: [None for _ in loader], 3)
    return {"first open": [first[0] + passes[0]],
            "open again": timed(lambda: peer_opened(folder), 5),
            "epoch of batches": passes[1:]}  # fmt: skip


def one(who, what, *arguments):
    """Measure in this process and print JSON."""
    given = [int(a) if a.isdigit() else a for a in arguments]
    found = globals()[f"{who}_{what}"](*given)
    print(json.dumps({"seconds": found, "peak": peak_memory()}))


def peak_memory():
    """The most memory this process had, in GB."""
    try:  # what getrusage says on Linux counts the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1e6  # kB
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on macOS


# ---- all measurements ----


def measure(who, what, *arguments):
    """One measurement in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", who, what, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{who} {what} {arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(rounds, whos, what, *arguments):
    """Median seconds and highest peak of each of `whos`, measured in turn."""
    runs = {who: [] for who in whos}
    for _ in range(rounds):
        for who in whos:
            runs[who].append(measure(who, what, *arguments))
    return {who: {"seconds": float(np.median([s for run in found for s in run["seconds"]])),
                  "peak": max(run["peak"] for run in found)}
            for who, found in runs.items()}  # fmt: skip


def recording(folder):
    """A recording of noise as zip, and unpacked beside it, for the two to open."""
    import full_size

    path = Path(folder) / "static99999-1-1-GrayImageNet-bench.zip"
    full_size.write(path, TRIALS, NEURONS)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return path


def has_peer():
    return importlib.util.find_spec("neuralpredictors") is not None


def run(rounds):
    whos = ["kit", "peer"] if has_peer() else ["kit"]
    results = {}

    def enter(name, found):
        results[name] = found
        print(row(name, found), flush=True)

    print(f"{'':34}{'kit':>10}{'2022':>10}{'ratio':>8}{'kit GB':>9}{'2022 GB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        path = recording(folder)
        found = {who: measure(who, "data", path) for who in whos}
        for name in ("first open", "open again", "epoch of batches"):
            enter(f"{name}, {TRIALS} trials", {
                who: {"seconds": float(np.median(run["seconds"][name])), "peak": run["peak"]}
                for who, run in found.items()})  # fmt: skip
    for name in MODELS:
        enter(f"step, {name}", in_turn(rounds, whos, "step", name, NEURONS))
    enter("predict 1,024 trials", in_turn(1, whos, "predict", "CNN with behaviour", NEURONS))
    for neurons in GROWTH:
        enter(f"step, {neurons:,} neurons",
              in_turn(1, whos, "step", "CNN with behaviour", neurons))  # fmt: skip
    return results


def row(name, found):
    kit, peer = found["kit"], found.get("peer")
    theirs = f"{peer['seconds']:10.3f}{peer['seconds'] / kit['seconds']:8.1f}" if peer else ""
    gigabytes = f"{kit['peak']:9.2f}" + (f"{peer['peak']:9.2f}" if peer else "")
    return f"{name:34}{kit['seconds']:10.3f}{theirs}{gigabytes}"


def figure(results, path):
    import matplotlib.pyplot as plt

    import kit

    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=100, layout="constrained")
    colours = {"kit": kit.plots.BLUE, "peer": kit.plots.ORANGE}
    labels = {"kit": "this kit", "peer": "2022 library"}
    steps = [name for name in results if name.startswith("step") and "neurons" not in name]
    for shift, (who, colour) in zip((-0.2, 0.2), colours.items(), strict=True):
        if who in results[steps[0]]:
            seconds = [results[name][who]["seconds"] for name in steps]
            bars = left.bar(np.arange(len(steps)) + shift, seconds, 0.4, color=colour,
                            label=labels[who])  # fmt: skip
            left.bar_label(bars, fmt="%.1f")
            grown = [results[f"step, {n:,} neurons"][who]["seconds"] for n in GROWTH]
            right.plot(GROWTH, grown, "o-", color=colour, label=labels[who])
    left.set_xticks(range(len(steps)), [name.removeprefix("step, ") for name in steps])
    left.margins(y=0.12)
    left.set(ylabel="seconds per training step", title=f"{NEURONS:,} neurons, batch of {BATCH}")
    right.set(xlabel="neurons", ylabel="seconds per training step", ylim=(0, None),
              title="CNN with behaviour")  # fmt: skip
    for ax, loc in ((left, "upper left"), (right, "center right")):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc=loc)
    fig.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(*options.one)
    about = {"torch": torch.__version__, "threads": torch.get_num_threads(),
             "cores": os.cpu_count(), "machine": platform.machine()}  # fmt: skip
    print(about)
    results = run(options.rounds)
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    (build / "bench.json").write_text(json.dumps({"about": about, "results": results}, indent=1))
    figure(results, ROOT / "benchmarks" / "bench.png")
    print("written: build/bench.json, benchmarks/bench.png")


if __name__ == "__main__":
    main()
