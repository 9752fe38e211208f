"""How many threads torch may use, and how many are fastest just now."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from statistics import median
from time import monotonic, perf_counter

import torch
from torch.nn.functional import conv2d

RECENT = 60  # seconds for which a choice holds

_latest: dict[int, tuple[float, int]] = {}  # all threads -> when the fastest were chosen, how many


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let torch use this many threads within the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fastest_threads() -> Iterator[None]:
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
    if fixed_threads() or every == 1:
        return fixed_threads() or 1, 1.0
    seconds = _time_convolution(every, rounds)
    fastest = min(seconds, key=seconds.get)
    _latest[every] = monotonic(), fastest
    return fastest, seconds[every] / seconds[fastest]


@torch.inference_mode(False)
@torch.enable_grad()
def _time_convolution(every: int, rounds: int) -> dict[int, float]:
    """Number of threads -> median seconds of some layers and their gradients, as in a core."""
    images = torch.zeros(16, 16, 28, 56).contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(16, 16, 3, 3, requires_grad=True)
    seconds = {every >> halvings: [] for halvings in range(every.bit_length())}
    for turn in range(rounds + 1):  # in turn, so that all see the same of other programs
        for threads, times in seconds.items():
            with use_threads(threads):
                start, features = perf_counter(), images
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
    text, most = os.environ.get("KIT_THREADS", "").strip(), os.cpu_count() or 1
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ValueError(f"KIT_THREADS={text[:40]!r} is not a number of threads; give one from 1 "
                         f"to {most}, or unset it")
    return int(text)


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
