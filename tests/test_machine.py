"""Threads of torch on a machine whose cores are not all granted, or busy with other programs."""

import itertools

import pytest
import torch

from kit import machine


@pytest.fixture
def pretend(monkeypatch):
    """A function that lets torch have some threads, each number of seconds a convolution.

    The number that torch has stands in "now" of what it returns.
    """

    def make(have, seconds):
        state = {"now": have, "timed": 0}
        clock = itertools.count()
        monkeypatch.setattr(torch, "get_num_threads", lambda: state["now"])
        monkeypatch.setattr(torch, "set_num_threads", lambda count: state.update(now=count))
        monkeypatch.setattr(machine, "conv2d", lambda x, weight, padding: x * weight.sum())

        def perf_counter():
            if next(clock) % 2 == 0:
                return 0.0
            state["timed"] += 1
            return seconds[state["now"]]

        monkeypatch.setattr(machine, "perf_counter", perf_counter)
        monkeypatch.setattr(machine, "_latest", {})
        monkeypatch.delenv("KIT_THREADS", raising=False)
        return state

    return make


@pytest.mark.parametrize(
    ("seconds", "best", "speedup"),
    [
        ({4: 1.0, 2: 1.5, 1: 3.0}, 4, 1.0),  # a quiet machine
        ({4: 6.0, 2: 2.0, 1: 3.0}, 2, 3.0),  # programs on some of its cores
        ({4: 9.0, 2: 8.0, 1: 3.0}, 1, 3.0),  # on all of them
    ],
)
def test_choose_threads_takes_the_fastest(pretend, seconds, best, speedup):
    state = pretend(4, seconds)
    assert machine.choose_threads() == (best, speedup)
    assert state["now"] == 4, "torch has as many as before"


@pytest.mark.parametrize(("one", "times"), [(1.3, 8), (1.2, 22)])  # of two numbers, with a warm-up
def test_choose_threads_measures_longer_where_it_is_close(pretend, one, times):
    state = pretend(2, {2: 1.0, 1: one})
    assert machine.choose_threads() == (2, 1.0) and state["timed"] == times


def test_choose_threads_of_one_thread_measures_nothing(pretend):
    state = pretend(1, {1: 1.0})
    assert machine.choose_threads() == (1, 1.0) and state["timed"] == 0


def test_choose_threads_takes_kit_threads(pretend, monkeypatch):
    state = pretend(4, {})
    monkeypatch.setenv("KIT_THREADS", "1")
    assert machine.choose_threads() == (1, 1.0) and state["timed"] == 0


def test_fastest_threads_measures_once_a_minute(pretend, monkeypatch):
    state, now = pretend(2, {2: 5.0, 1: 1.0}), [1000.0]
    monkeypatch.setattr(machine, "monotonic", lambda: now[0])
    for later, times in ((0, 8), (59, 8), (2, 16)):  # 3 rounds and a warm-up, of two numbers
        now[0] += later
        with machine.fastest_threads():
            assert state["now"] == 1
        assert (state["now"], state["timed"]) == (2, times)


def test_use_threads_returns_to_those_before_after_an_error(pretend):
    state = pretend(4, {})
    with pytest.raises(KeyboardInterrupt), machine.use_threads(2):
        assert state["now"] == 2
        raise KeyboardInterrupt
    assert state["now"] == 4


def test_time_convolution_runs_where_gradients_are_off():
    with torch.inference_mode():
        seconds = machine._time_convolution(2, 1)
    assert list(seconds) == [2, 1] and min(seconds.values()) > 0


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5", "99999"])
def test_fixed_threads_refuses_what_is_no_number(monkeypatch, text):
    monkeypatch.setenv("KIT_THREADS", text)
    with pytest.raises(ValueError, match=f"KIT_THREADS='{text}' is not a number of threads; give"):
        machine.fixed_threads()


@pytest.mark.parametrize(("cores", "fixed", "expected"), [(1, "", [1]), (8, "", []), (8, "1", [1])])
def test_limit_threads(monkeypatch, cores, fixed, expected):
    numbers = []
    monkeypatch.setenv("KIT_THREADS", fixed)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    monkeypatch.setattr("torch.set_num_threads", numbers.append)
    machine.limit_threads.__wrapped__()  # without its cache
    assert numbers == expected
