"""Predict mouse primary visual cortex: a starter kit for the SENSORIUM 2022 benchmark.

    data = kit.load("sample+")
    model = kit.cnn_baseline(data, channels=16)
    log = kit.train(model, data)
    scores = kit.score(model, data, "validation")
    kit.submit(model, data, "submissions/first")
"""

import os
import platform
import shutil
import sys
from pathlib import Path

import torch

from kit import layers, metrics, plots, simulation, vit
from kit.catalog import data_folder
from kit.checkpoints import load_model, pretrained, save
from kit.contract import check_core
from kit.evaluation import Scores, ensemble, predict, score
from kit.model import Model, ModelConfig, cnn_baseline, linear_baseline, vit_baseline
from kit.recordings import Batch, Dataset, Recording, load
from kit.simulation import truth
from kit.submission import check, grade, submit, write_ground_truth
from kit.sweeps import Runs, train_many
from kit.training import History, TrainConfig, train, transfer
from kit.vit import ViTConfig

__version__ = "0.1.0"
__all__ = [
    "Batch", "Dataset", "History", "Model", "ModelConfig", "Recording", "Runs", "Scores",
    "TrainConfig", "ViTConfig", "check", "check_core", "cnn_baseline", "data_folder", "doctor",
    "ensemble", "grade", "layers", "linear_baseline", "load", "load_model", "metrics", "plots",
    "predict", "pretrained", "save", "score", "simulation", "submit", "train", "train_many",
    "transfer", "truth", "vit", "vit_baseline", "write_ground_truth",
]


def doctor(folder=None):
    """Print what this machine has and what to do about what it lacks. Returns True if all is well.

    folder: the data folder to look at; else KIT_DATA_DIR, else the user's cache.
    """
    lines = [
        (sys.version_info >= (3, 11), f"Python {platform.python_version()}",
         "install Python 3.11 or newer"),
        (True, f"torch {torch.__version__}, {torch.get_num_threads()} threads", ""),
        (True, f"device {_device()}", ""),
    ]
    memory = _memory()
    lines.append((memory is None or memory >= 2, "memory " + (
        f"{memory:.1f} GB" if memory else "unknown"),
        "the tutorials take up to 1.5 GB: close other programs"))
    try:
        path = data_folder(folder)
        free, writable = shutil.disk_usage(path).free / 1e9, os.access(path, os.W_OK)
        packed = any((path / "packed").glob("*"))  # a shared folder may be read-only
        lines += [(writable or packed, f"data folder {path}" + " (read-only)" * (not writable),
                   "it cannot be written: name another in KIT_DATA_DIR"),
                  (free >= 1 or not writable, f"disk {free:.1f} GB free there",
                   "a sample mouse takes 0.2 GB, a real one 0.8 GB: make room or name another "
                   "folder in KIT_DATA_DIR")]
    except OSError as problem:
        lines.append((False, "data folder", str(problem)))
    for fine, what, remedy in lines:
        print(f"{'OK     ' if fine else 'TO DO  '}{what}" + ("" if fine else f": {remedy}"))
    return all(fine for fine, *_ in lines)


def _device():
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "mps (Apple GPU)" if torch.backends.mps.is_available() else "cpu; a GPU is not needed"


def _memory():
    """Gigabytes this process may use: the machine's, or the container's if that is less."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limits += _cgroup("memory.max", "memory/memory.limit_in_bytes")
    return min(limits) / 1e9 if limits else None


def _cgroup(*files):
    """The first number of each control-group file that exists and sets a limit."""
    texts = [path.read_text().split() for file in files
             if (path := Path("/sys/fs/cgroup") / file).is_file()]
    return [int(text[0]) for text in texts if text and text[0].isdigit()]


def _limit_threads():
    """Let torch use the cores that this process may use; it counts the host's, which is slow."""
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
             else os.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000": two cores' worth of time; or "max …"
    if quota.is_file() and (parts := quota.read_text().split())[0].isdigit():
        cores = min(cores, max(1, int(parts[0]) // int(parts[1])))
    quota = _cgroup("cpu/cpu.cfs_quota_us")  # the older form, -1 where there is none
    if quota:
        cores = min(cores, max(1, quota[0] // _cgroup("cpu/cpu.cfs_period_us")[0]))
    if cores < torch.get_num_threads():
        torch.set_num_threads(cores)


_limit_threads()
