"""What this machine has, and how many threads torch may use."""

import os
import platform
import shutil
import sys
from functools import cache
from pathlib import Path

import torch

from kit.files import data_folder


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


@cache
def limit_threads():
    """Let torch use no more threads than this process has cores: more are much slower.

    torch counts the cores of the host, not those that a container or a scheduler grants. Called on
    first use of a recording or a model, once a process.
    """
    import joblib  # takes a moment

    cores = joblib.cpu_count()
    if cores < torch.get_num_threads():
        torch.set_num_threads(cores)
