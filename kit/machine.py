"""This machine: a check of all that the kit needs, and torch's use of threads and memory."""

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter

import torch
from torch.nn.functional import conv2d

from kit.files import data_folder

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # numbers of malloc's options in malloc.h
RECENT = 60  # seconds for which a choice of threads holds

_latest: dict[int, tuple[float, int]] = {}  # all threads -> when the fastest were chosen, how many


def doctor(folder: str | Path | None = None) -> bool:
    """Print what this machine has and what to do about what it lacks. Returns True if all is well.

    folder: the data folder to look at; else KIT_DATA_DIR, else the user's cache.
    """
    memory = memory_gigabytes()
    _print_line(f"Python {platform.python_version()}")
    _print_line(f"torch {torch.__version__}, {_threads()}")
    _print_line(f"device {_device()}")
    enough_memory = _print_line(
        f"memory {memory:.1f} GB" if memory else "memory unknown",
        memory is None or memory >= 2,
        "the tutorials take up to 1.5 GB: close other programs",
    )
    return _print_data_folder(folder) and enough_memory


def _print_line(text, fine=True, remedy=""):
    """Print one line. Returns `fine`."""
    line = f"OK     {text}" if fine else f"TO DO  {text}: {remedy}"
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding))  # "?" for what cannot be shown
    return fine


def _print_data_folder(folder):
    """Print a line about the data folder and one about its disk. Returns whether both are fine."""
    try:
        path = data_folder(folder)
        free = shutil.disk_usage(path).free / 1e9
    except OSError as problem:
        return _print_line("data folder", False, str(problem))
    writable = os.access(path, os.W_OK)
    usable = _print_line(
        f"data folder {path}{'' if writable else ' (read-only)'}",
        writable or any(path.glob("packed/*")),  # a shared folder may be read-only
        "it cannot be written: name another one in KIT_DATA_DIR",
    )
    roomy = _print_line(
        f"disk {free:.1f} GB free there",
        free >= 1 or not writable,
        "a sample mouse takes 0.2 GB, a real one 0.8 GB: make room or name another folder",
    )
    return usable and roomy


def _threads():
    """The number of threads that torch has here, and whether other programs keep the cores busy."""
    limit_threads()
    fastest, speedup = choose_threads()
    busy = f"; the cores are busy, so {fastest} are used at present" if speedup > 1.5 else ""
    return f"{torch.get_num_threads()} threads{busy}"


def _device():
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "mps (Apple GPU)" if torch.backends.mps.is_available() else "cpu; a GPU is not needed"


def memory_gigabytes() -> float | None:
    """Gigabytes that this process may use, of the machine or its container; None if unknown."""
    limits = []
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        with suppress(OSError, ValueError):  # no such file, or "max" in it
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(limits) / 1e9 if limits else None


# ---- threads ----


@contextmanager
def use_threads(threads: int) -> Generator[None]:
    """Let torch use this many threads within the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fastest_threads() -> Generator[None]:
    """Within the block torch has the number of threads that is fastest just now.

    That is the number of the last minute, if there is one.
    """
    when, threads = _latest.get(torch.get_num_threads(), (-RECENT, 0))
    if monotonic() - when >= RECENT:
        threads, _ = choose_threads(rounds=3)
    with use_threads(threads):
        yield


def choose_threads(rounds: int = 10) -> tuple[int, float]:
    """The number of threads that is fastest just now, and how many times as fast as all it is.

    If other programs compute on the same cores, each step of a convolution waits for a thread that
    lost its core: two threads can take five times as long as one. A convolution is timed with all
    of torch's threads, with half of them, and so on to one. KIT_THREADS, a number, is the answer
    without a measurement.
    """
    every = torch.get_num_threads()
    fixed = fixed_threads()
    if fixed or every == 1:
        return fixed or 1, 1.0
    seconds = _time_convolution(every, rounds)
    fastest = min(seconds, key=seconds.__getitem__)
    _latest[every] = monotonic(), fastest
    return fastest, seconds[every] / seconds[fastest]


@torch.inference_mode(False)
@torch.enable_grad()
def _time_convolution(every, rounds):
    """Number of threads -> median seconds of some layers and their gradients, as in a core."""
    images = torch.zeros(16, 16, 28, 56).contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(16, 16, 3, 3, requires_grad=True)
    seconds = {every >> halvings: [] for halvings in range(every.bit_length())}
    for turn in range(rounds + 1):  # in turn, so that all see the same of other programs
        for threads, times in seconds.items():
            with use_threads(threads):
                start = perf_counter()
                features = images
                for _ in range(4):
                    features = conv2d(features, weight, padding=1)
                torch.autograd.grad(features.sum(), weight)
                times.append(perf_counter() - start)
        medians = {threads: median(times[1:] or times) for threads, times in seconds.items()}
        best, second = sorted(medians.values())[:2]
        if turn >= 3 and second > 1.25 * best:  # the first was a warm-up
            break
    return medians


def fixed_threads() -> int | None:
    """The number in KIT_THREADS, or None. Raises ValueError if it is not a number of threads."""
    text = os.environ.get("KIT_THREADS", "").strip()
    most = os.cpu_count() or 1
    if not text:
        return None
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    raise ValueError(f"KIT_THREADS={text[:40]!r} is not a number of threads; give 1 to {most}")


@cache
def limit_threads() -> None:
    """Limit torch's threads to the cores of this process: more threads are much slower.

    torch counts the cores of the host, also those that a container or a scheduler does not grant.
    Called at the first use of a recording or a model, once a process. Raises ValueError if
    KIT_THREADS, which fixes the number, is not possible.
    """
    import joblib  # takes a moment

    threads = fixed_threads() or min(joblib.cpu_count(), torch.get_num_threads())
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


@contextmanager
def reuse_freed_memory() -> Generator[None]:
    """Within the block, freed memory is kept for the next array. On Linux; elsewhere no effect.

    The C library asks the system for new memory, which is cleared first, for every array above
    M_MMAP_THRESHOLD, and gives back what lies unused above M_TRIM_THRESHOLD. With 1 GB for both, a
    step on 128 images of 8,000 neurons takes 1.5 s instead of 2.0.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # not Linux, or another C library
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(M_TRIM_THRESHOLD, 2**30)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # where the library's own adjustment ends
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)
