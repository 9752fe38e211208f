"""A sweep on a Dask cluster that loses a worker, compared with the same sweep in one process.

Starts a scheduler and two worker processes on this machine, ends one of them (kill -9) while it
trains, and compares every run with what one process finds: weights to the bit, and histories.
Needs the extra [cluster]; about a minute on two cores.
"""

import os
import signal
import tempfile
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from distributed import Client, LocalCluster

import kit

RUNS = [kit.TrainConfig(epochs=3, seed=seed, device="cpu") for seed in range(6)]
build = partial(kit.linear_baseline, channels=2)


def kill_one(pids, folder, said):
    """Wait until a run is finished and both workers are at another, then kill one of them."""
    while True:
        finished, under_way = (len(list(folder.glob(f"*.{end}"))) for end in ("json", "checkpoint"))
        if finished and under_way == len(pids):
            break
        time.sleep(0.05)
    os.kill(pids[0], signal.SIGKILL)
    said.append(
        f"killed worker {pids[0]} of {pids}: {finished} runs were finished, {under_way} under way"
    )


def on_a_cluster(data, folder):
    """The runs, and lines that say what happened."""
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
    with LocalCluster(**options, dashboard_address=":0") as cluster, Client(cluster) as client:
        pids, said = sorted(client.run(os.getpid).values()), []
        killer = threading.Thread(target=kill_one, args=(pids, folder, said), daemon=True)
        killer.start()
        runs = kit.train_many(RUNS, data, build, folder)  # on the cluster of the open client
        killer.join()
        pids = sorted(client.run(os.getpid).values())
        said.append(f"{len(runs)} of {len(RUNS)} runs are finished; workers now: {pids}")
    return runs, said


def main():
    data = kit.load("sample")
    torch.set_num_threads(1)  # as many as the workers have: the last digits depend on it
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "here"), Path(folder, "there")
        started = time.perf_counter()
        expected = kit.train_many(RUNS, data, build, here)
        between = time.perf_counter()
        print(f"one process: {len(expected)} runs in {between - started:.0f} s")
        there.mkdir()
        found, said = on_a_cluster(data, there)
        print(*said, f"the cluster took {time.perf_counter() - between:.0f} s", sep="\n")
        for one, other, history, log in zip(
            expected.paths, found.paths, expected.histories, found.histories, strict=True
        ):
            same = one.read_bytes() == other.read_bytes()
            same &= {**asdict(history), "seconds": 0} == {**asdict(log), "seconds": 0}
            print(f"{one.stem}: {'the same, bit for bit' if same else 'DIFFERENT'}; {log}")
        score = kit.score(kit.ensemble(found), data, "validation").single_trial
        alone = [max(log.correlation) for log in found.histories]
        print(f"mean of the six: validation correlation {score:.4f}; alone up to {max(alone):.4f}")


if __name__ == "__main__":
    main()
