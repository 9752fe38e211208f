"""A training in the background is a training: the same result, and it ends when it should."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from trainer import build, quick, same_weights
from waiting import LIMIT

import kit
import kit.training.loop
from kit.training.loop import poisson_loss
from kit.widgets import training_monitor


@pytest.fixture
def gate(monkeypatch):
    """Holds every training in its first step until the gate is opened."""
    gate = threading.Event()

    def loss(*arguments):
        assert gate.wait(LIMIT)
        return poisson_loss(*arguments)

    monkeypatch.setattr(kit.training.loop, "poisson_loss", loss)
    yield gate
    gate.set()


async def wait_in_turns(monitor):
    """A cell of a notebook."""
    return await monitor


def test_wait_gives_what_train_gives(plus):
    here, there = build(plus), build(plus)
    expected = kit.train(here, plus, quick())
    history = training_monitor(there, plus, quick()).wait()
    assert len(history.seconds) == 3
    assert replace(history, seconds=expected.seconds) == expected
    assert same_weights(here, there)
    assert not there.training


@pytest.mark.parametrize(
    "wait", [lambda monitor: monitor.wait(), lambda monitor: asyncio.run(wait_in_turns(monitor))]
)
def test_wait_gives_the_same_each_time_and_leaves_no_thread(plus, wait):
    list(kit.files.progress(range(1)))  # tqdm starts one of its own with its first bar
    before = set(threading.enumerate())
    monitor = training_monitor(build(plus), plus, quick(epochs=1))
    assert wait(monitor) is monitor.wait() is monitor.history
    assert set(threading.enumerate()) <= before


def test_await_lets_others_go_on(plus, gate):
    """The gate is opened by another task, which runs only while the first awaits."""

    async def open_gate():
        gate.set()

    async def both():
        return (await asyncio.gather(wait_in_turns(monitor), open_gate()))[0]

    monitor = training_monitor(build(plus), plus, quick())
    assert asyncio.run(both()).stopped == "all 3 epochs done"


def test_await_interrupted(plus, gate):
    """A kernel cancels the task of a cell that is interrupted."""
    monitor = training_monitor(build(plus), plus, quick(epochs=50))

    async def interrupt():
        task = asyncio.ensure_future(wait_in_turns(monitor))
        await asyncio.sleep(0)  # it has begun to wait
        task.cancel()
        await asyncio.sleep(0)  # it has heard of it
        gate.set()
        return await task

    history = asyncio.run(interrupt())
    assert (history.loss, history.stopped) == ([], "interrupted")


def test_training_monitor_keeps_a_checkpoint(plus, tmp_path):
    path = tmp_path / "state.pt"
    history = training_monitor(build(plus), plus, quick(), path).wait()
    again = training_monitor(build(plus), plus, quick(), path)
    assert again.wait() == history  # to the seconds: read, not trained again
    assert again.text.startswith("Epoch 3 of up to 3: ")


def test_training_monitor_shows_every_epoch(plus, gate, monkeypatch):
    monitor = training_monitor(build(plus), plus, quick())
    assert monitor.text == "The training has begun; its first epoch of up to 3 is running."
    assert monitor.button.description == "Stop training" and not monitor.button.disabled
    texts, pictures, draw = [], [], monitor.figure.png
    monkeypatch.setattr(monitor.figure, "png", lambda: pictures.append(draw()) or pictures[-1])
    monitor.sentence.observe(lambda _: texts.append(monitor.text), "value")
    gate.set()
    history = monitor.wait()
    best = [int(np.argmax(history.correlation[: epoch + 1])) for epoch in range(3)]
    ends = ["it goes on", "it goes on", "it has ended (all 3 epochs done)"]
    assert texts == [
        f"Epoch {epoch + 1} of up to 3: best validation correlation "
        f"{history.correlation[best[epoch]]:.3f} in epoch {best[epoch] + 1}; {ends[epoch]}."
        for epoch in range(3)
    ]
    assert len(set(pictures)) == len(pictures) == 3  # one for each epoch, not for each step
    figure = monitor.figure
    np.testing.assert_array_equal(figure.loss.get_xydata().T, [[1, 2, 3], history.loss])
    np.testing.assert_array_equal(figure.score.get_ydata(), history.correlation)
    assert monitor.button.disabled and monitor.button.description == "Training has ended"


@pytest.mark.parametrize("press", [lambda m: m.stop(), lambda m: m.button.click()])
def test_stop_while_an_epoch_is_validated(plus, gate, monkeypatch, press):
    """It comes while the second epoch is validated; the first is the better one."""
    script, monitors = iter([0.3, 0.2]), []

    def validation(model, data):
        correlation = next(script)
        if correlation == 0.2:
            press(monitors[0])
        return correlation

    monkeypatch.setattr(kit.training.loop, "validation_correlation", validation)
    monitors.append(training_monitor(build(plus), plus, quick(epochs=50)))
    gate.set()
    history = monitors[0].wait()
    assert history.correlation == [0.3, 0.2]
    assert (history.best_epoch, history.stopped) == (0, "interrupted")
    assert monitors[0].text == (
        "Epoch 2 of up to 50: best validation correlation 0.300 in epoch 1; it has ended "
        "(interrupted)."
    )


def test_stop_before_the_first_epoch_ends(plus, gate):
    monitor = training_monitor(build(plus), plus, quick())
    monitor.stop()
    assert monitor.button.description == "Stopping" and monitor.button.disabled
    gate.set()
    history = monitor.wait()
    assert (history.loss, history.best_epoch, history.stopped) == ([], None, "interrupted")
    assert monitor.text == "The training has ended in its first epoch (interrupted)."
    assert monitor.button.description == "Training has ended"


def test_stop_after_the_end_changes_nothing(plus):
    monitor = training_monitor(build(plus), plus, quick(epochs=1))
    history = monitor.wait()
    monitor.stop()
    assert monitor.wait() is history and history.stopped == "all 1 epochs done"


def test_wait_interrupted(plus, gate, monkeypatch):
    join, calls = threading.Thread.join, []

    def interrupted(thread, timeout=None):
        calls.append(thread)
        if len(calls) == 1:
            raise KeyboardInterrupt
        gate.set()
        return join(thread, timeout)

    monitor = training_monitor(build(plus), plus, quick(epochs=50))
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    history = monitor.wait()
    assert (history.loss, history.stopped) == ([], "interrupted")


def test_wait_raises_what_training_raises(plus, other):
    monitor = training_monitor(build(plus), other, quick())
    message = "no readout for mouse '8-1-1'; it knows 7-1-1"
    with pytest.raises(ValueError, match=message):
        asyncio.run(wait_in_turns(monitor))
    with pytest.raises(ValueError, match=message) as problem:
        monitor.wait()
    assert monitor.text == f"The training failed: {problem.value}"
    assert "&#x27;8-1-1&#x27;" in monitor.sentence.value
    assert monitor.button.description == "Training has ended"


def test_training_monitor_one_at_a_time_for_a_model(plus, gate):
    model = build(plus)
    first = training_monitor(model, plus, quick(epochs=1))
    with pytest.raises(ValueError, match=r"trained already; stop that training, or wait for it"):
        training_monitor(model, plus, quick(epochs=1))
    second = training_monitor(build(plus), plus, quick(epochs=1))  # another model may be
    gate.set()
    first.wait()
    second.wait()
    assert training_monitor(model, plus, quick(epochs=1)).wait().stopped == "all 1 epochs done"


def test_training_monitor_after_a_failure(plus, other):
    """What failed, in training or before it, leaves the model free."""
    model = build(plus)
    with pytest.raises(ValueError, match="is not a TrainConfig"):
        training_monitor(model, plus, {"epochs": 3})
    with pytest.raises(ValueError):
        training_monitor(model, other, quick()).wait()
    assert training_monitor(model, plus, quick(epochs=1)).wait().stopped == "all 1 epochs done"


def test_display_of_a_monitor_has_no_picture(plus, gate, monkeypatch):
    """In a saved notebook the curves would have only begun; a later cell shows the result."""
    shown = []
    monkeypatch.setattr(kit.widgets.explorer, "display", lambda bundle, raw: shown.append(bundle))
    monitor = training_monitor(build(plus), plus, quick())
    monitor._ipython_display_()
    monitor.stop()
    gate.set()
    monitor.wait()
    assert shown[0].keys() == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert shown[0]["text/plain"].startswith("The training has begun")


def test_no_progress_bar_in_the_background(plus, monkeypatch, capfd):
    """It would appear below whichever cell runs."""
    monkeypatch.setenv("CI", "")
    training_monitor(build(plus), plus, quick()).wait()
    assert capfd.readouterr() == ("", "")
