"""Where a training step spends its time: the operations of torch, the longest first.

    python benchmarks/profile_step.py "CNN with behaviour"    # or LN, CNN: the models of bench.py

Each operation is timed by itself, as the step calls it. torch.profiler would do for the calls, but
under it freed memory is not used again, and most of what it shows is the clearing of new memory.
"""

import argparse
import time
from collections import Counter

import bench
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kit.machine import reuse_freed_memory

STEPS, SHOWN = 5, 25


class Timer(TorchDispatchMode):
    """Adds up seconds and calls of each operation, by the shapes of its first and last input."""

    def __init__(self):
        super().__init__()
        self.seconds, self.calls = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        shapes = [str(tuple(value.shape)) for value in args if isinstance(value, torch.Tensor)]
        key = str(func).removeprefix("aten."), " ".join(shapes[:1] + shapes[1:][-1:])
        self.seconds[key] += seconds
        self.calls[key] += 1
        return result


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="CNN with behaviour", choices=bench.MODELS)
    name = parser.parse_args().model
    step = bench.kit_stepper(name, bench.NEURONS)
    with reuse_freed_memory():
        bench.timed(step, 3)
        whole = sum(bench.timed(step, STEPS)) / STEPS
        with Timer() as timer:
            bench.timed(step, STEPS)
    print(f"{name}: {1000 * whole:.0f} ms a step, {torch.get_num_threads()} threads")
    for key, seconds in timer.seconds.most_common(SHOWN):
        calls, share = timer.calls[key] // STEPS, seconds / STEPS / whole
        print(f"{1000 * seconds / STEPS:7.1f} ms {share:5.0%} {calls:5}x {' '.join(key)}")


if __name__ == "__main__":
    main()
