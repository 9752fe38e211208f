"""Time the widgets: 200 moves of every control, at the size of a competition mouse.

Each widget in a process of its own, so that its memory is its own. Untrained weights and made-up
recordings take as long as real ones.
"""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

import kit

CHANNELS, NEURONS = 64, 7500
TRIALS = {"train": 2000, "validation": 200}
WARM_UP, MOVES = 20, 200


def recording(neurons, trials):
    rng, count = np.random.default_rng(0), sum(trials.values())
    return kit.Recording(
        "mouse",
        images=rng.standard_normal((count, 1, 36, 64), np.float32),
        responses=rng.gamma(0.5, 2, (count, neurons)).astype(np.float32),
        behavior=rng.gamma(4, 1, (count, 3)).astype(np.float32),
        pupil_center=rng.standard_normal((count, 2), np.float32),
        tiers=np.repeat(list(trials), list(trials.values())),
        image_ids=np.arange(count),
        trial_ids=np.arange(count),
        unit_ids=np.arange(neurons),
        coordinates=rng.uniform(0, 616, (neurons, 3)),
        statistics={},
    )


def trials():
    data = kit.Dataset([recording(NEURONS, TRIALS)])
    return kit.widgets.trial_explorer(data)


def playground():
    data = kit.Dataset([recording(NEURONS, {"train": 1, "validation": 1})])
    model = kit.cnn_baseline(data, CHANNELS, kit.ModelConfig.of(data, gain=True))
    return kit.widgets.playground(model, coordinates=data.mouse.coordinates)


def neurons():
    data = kit.Dataset([recording(NEURONS, TRIALS)])
    return kit.widgets.neuron_explorer(kit.cnn_baseline(data, CHANNELS), data)


def monitor():
    """A finished training, whose curves are drawn again and again."""
    data = kit.Dataset([recording(20, {"train": 32, "validation": 32})])
    config = kit.TrainConfig(epochs=40, patience=40, device="cpu")
    shown = kit.widgets.training_monitor(kit.linear_baseline(data, 1), data, config)
    shown.wait()
    return shown


def values(control):
    """The values of a slider from one end to the other, or those of a list."""
    if hasattr(control, "options"):
        options = control.options
        return [option[-1] if isinstance(option, tuple) else option for option in options]
    steps = np.arange(control.min, control.max + control.step / 2, control.step)
    return [type(control.value)(value) for value in steps]


def resident_megabytes():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:  # not Linux
        return float("nan")


def moves(explorer):
    """Yield (control, function that moves it) for every control, or a refresh if it has none."""
    for name, control in explorer.controls.items():
        changing = (value for value in cycle(values(control)) if value != control.value)
        yield (
            name,
            lambda changing=changing, control=control: setattr(control, "value", next(changing)),
        )
    if not explorer.controls:
        yield "refresh", explorer.refresh


def timed(build):
    started = time.perf_counter()
    explorer = build()
    rows = [f"{build.__name__:10} {'to build':12} {1000 * (time.perf_counter() - started):9.0f} ms"]
    for name, move in moves(explorer):
        for _ in range(WARM_UP):
            move()
        before, seconds = resident_megabytes(), []
        for _ in range(MOVES):
            start = time.perf_counter()
            move()
            seconds.append(time.perf_counter() - start)
        median, worst = 1000 * np.median(seconds), 1000 * max(seconds)
        growth, figures = resident_megabytes() - before, len(plt.get_fignums())
        rows.append(f"{build.__name__:10} {name:12} {median:9.0f} {worst:9.0f} {growth:10.1f} "
                    f"{figures:8}")  # fmt: skip
    return rows


def main():
    os.environ["CI"] = "1"  # no progress bars
    print(f"{MOVES} moves, {NEURONS} neurons, {CHANNELS} channels")
    print(
        f"{'widget':10} {'control':12} {'median ms':>9} {'worst ms':>9} {'growth MB':>10}  figures"
    )
    for build in (trials, playground, neurons, monitor):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            print("\n".join(pool.submit(timed, build).result()), flush=True)


if __name__ == "__main__":
    main()
