"""Time trainings with one thread, with all, and with the number that the kit chooses.

On a machine that does nothing else, and beside one process that computes on every core. The three
take turns, so that all see the same of the rest of the machine.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median

import torch

import kit
from kit.machine import limit_threads

TURNS, EPOCHS = 3, 2
ONE, ALL, CHOSEN = "one", "all", "chosen"


@contextmanager
def busy(processes):
    """This many processes compute within the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
               for _ in range(processes)]  # fmt: skip
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def timed(data, threads):
    """Seconds an epoch of a training takes, the choice of threads included."""
    os.environ["KIT_THREADS"] = {ONE: "1", ALL: str(torch.get_num_threads()), CHOSEN: ""}[threads]
    model, start = kit.cnn_baseline(data, channels=16), time.perf_counter()
    kit.train(model, data, kit.TrainConfig.quick(epochs=EPOCHS))
    return (time.perf_counter() - start) / EPOCHS


def main():
    os.environ["CI"] = "1"  # no progress bars
    data = kit.load("sample+")
    limit_threads()
    print(f"CNN of 16 channels, sample+; seconds an epoch, medians of {TURNS} trainings")
    print(f"{'the machine is':16} {'one':>7} {'all':>7} {'chosen':>7}")
    timed(data, ALL)  # a warm-up
    for name, processes in (("quiet", 0), ("busy", multiprocessing.cpu_count())):
        found = {ONE: [], ALL: [], CHOSEN: []}
        with busy(processes):
            for _ in range(TURNS):
                for threads, times in found.items():
                    times.append(timed(data, threads))
        one, every, chosen = (median(times) for times in found.values())
        best = [c / min(o, a) for o, a, c in zip(*found.values(), strict=True)]
        print(f"{name:16} {one:7.2f} {every:7.2f} {chosen:7.2f}  "
              f"{median(best):.2f} times the best fixed number")  # fmt: skip


if __name__ == "__main__":
    main()
