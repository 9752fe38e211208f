"""What this machine has and what it lacks."""

import os
import platform
import shutil
import sys
from pathlib import Path

import torch

from kit.files import data_folder
from kit.threads import choose_threads, limit_threads


def doctor(folder: str | Path | None = None) -> bool:
    """Print what this machine has and what to do about what it lacks. Returns True if all is well.

    folder: the data folder to look at; else KIT_DATA_DIR, else the user's cache.
    """
    memory = _memory()
    size = f"{memory:.1f} GB" if memory else "unknown"
    results = [
        _print_line(sys.version_info >= (3, 11), f"Python {platform.python_version()}",
                    "install Python 3.11 or newer"),
        _print_line(True, f"torch {torch.__version__}, {_threads()}"),
        _print_line(True, f"device {_device()}"),
        _print_line(memory is None or memory >= 2, f"memory {size}",
                    "the tutorials take up to 1.5 GB: close other programs"),
        _print_data_folder(folder),
    ]
    return all(results)


def _print_line(fine: bool, what: str, remedy: str = "") -> bool:
    """Print one line. Returns `fine`."""
    line = f"OK     {what}" if fine else f"TO DO  {what}: {remedy}"
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding))  # "?" for what cannot be shown
    return fine


def _print_data_folder(folder: str | Path | None) -> bool:
    """Print a line about the data folder and one about its disk. Returns whether both are fine."""
    try:
        path = data_folder(folder)
        free = shutil.disk_usage(path).free / 1e9
    except OSError as problem:
        return _print_line(False, "data folder", str(problem))
    writable = os.access(path, os.W_OK)
    packed = any((path / "packed").glob("*"))  # a shared folder may be read-only
    note = "" if writable else " (read-only)"
    usable = _print_line(writable or packed, f"data folder {path}{note}",
                         "it cannot be written: name another one in KIT_DATA_DIR")
    roomy = _print_line(free >= 1 or not writable, f"disk {free:.1f} GB free there",
                        "a sample mouse takes 0.2 GB, a real one 0.8 GB: make room or name another "
                        "folder in KIT_DATA_DIR")
    return usable and roomy


def _threads() -> str:
    """How many threads torch has here, and whether other programs keep the cores busy."""
    limit_threads()
    every, (fastest, speedup) = torch.get_num_threads(), choose_threads()
    busy = f"; the cores are busy, so {fastest} are used at present" if speedup > 1.5 else ""
    return f"{every} threads{busy}"


def _device() -> str:
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "mps (Apple GPU)" if torch.backends.mps.is_available() else "cpu; a GPU is not needed"


def _memory() -> float | None:
    """Gigabytes this process may use: the machine's, or the container's if that is less."""
    limits = []
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        path = Path("/sys/fs/cgroup", name)
        limit = path.read_text().strip() if path.is_file() else ""
        if limit.isdigit():  # else "max"
            limits.append(int(limit))
    return min(limits) / 1e9 if limits else None
