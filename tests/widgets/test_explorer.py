"""The shell of every widget: what it shows, its errors, its threads, and what a notebook keeps."""

import contextlib
import gc
import io
import threading
from base64 import b64decode

import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from waiting import LIMIT

import kit
import kit.widgets.explorer
from kit.widgets.explorer import DRAWING, Explorer, slider
from kit.widgets.figures import LiveFigure


class Level(LiveFigure):
    """A line at some height."""

    def __init__(self):
        super().__init__(2, 1)
        ax = self.panel((0.2, 0.2, 0.7, 0.7), "level")
        ax.set_ylim(0, 10)
        self.line = ax.axhline(0)


def explorer(show=None):
    """A widget with two sliders. By default it shows the first one's value."""
    figure = Level()

    def follow(values):
        figure.line.set_ydata([values["level"]] * 2)
        return f"Level {values['level']}."

    sliders = {name: slider(name, "std", 0, 10, 1, 0) for name in ("level", "other")}
    return Explorer(figure, sliders, show or follow)


def fails_at(level, problem):
    """To show: an error at this level, and the level itself everywhere else."""

    def show(values):
        if values["level"] == level:
            raise ValueError(problem)
        return f"Level {values['level']}."

    return show


def start(work, *arguments):
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def finish(threads):
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()


def move(widget, value, name="level"):
    widget.controls[name].value = value


def pixels(png):
    return plt.imread(io.BytesIO(png))


# ---- what it shows ----


def test_explorer_shows_what_the_controls_say_when_it_is_made():
    widget = explorer()
    assert widget.text == "Level 0."
    assert pixels(widget.picture.value).shape == (100, 200, 4)
    assert widget.picture.layout.width == "200px" and widget.picture.layout.height == "100px"


def test_refresh_after_a_move_changes_picture_and_sentence():
    widget = explorer()
    first = widget.picture.value
    move(widget, 7)
    assert widget.text == "Level 7." and widget.picture.value != first
    assert widget.picture.value == widget.figure.png()
    move(widget, 0)
    assert widget.text == "Level 0." and widget.picture.value == first


def test_refresh_says_an_error_and_goes_on():
    widget = explorer(fails_at(5, "five is too much"))
    before = widget.picture.value
    move(widget, 5)
    assert widget.text == "This cannot be shown: five is too much"
    assert widget.picture.value == before
    move(widget, 6)
    assert widget.text == "Level 6."


def test_refresh_says_an_error_of_the_picture(monkeypatch):
    widget = explorer()
    with monkeypatch.context() as patch:
        patch.setattr(widget.figure, "png", lambda: 1 / 0)
        move(widget, 1)
    assert widget.text == "This cannot be shown: division by zero"
    move(widget, 2)
    assert widget.text == "Level 2."


NAME = "<img src=x onerror=alert(1)> & 'mouse'"


@pytest.mark.parametrize("show", [lambda values: NAME, fails_at(0, NAME)])
def test_sentence_is_escaped(show):
    """Mice and tiers are names out of files, and errors quote them."""
    widget = explorer(show)
    assert "<img" not in widget.sentence.value and "&lt;img" in widget.sentence.value
    assert widget.text.endswith(NAME)


@pytest.mark.parametrize(
    "numbers, whole", [((0, 180, 5, 45), True), ((0, 1.2, 0.05, 1), False), ((0, 3, 0.5, 1), False)]
)
def test_slider_is_of_whole_numbers_where_they_are(numbers, whole):
    low, high, step, begin = numbers
    made = slider("speed", "std", *numbers)
    assert (made.min, made.max, made.step, made.value) == (low, high, step, begin)
    assert isinstance(made.value, int) == whole
    assert made.description == "speed (std)"


# ---- threads ----


@pytest.mark.parametrize("lock, meet", [(DRAWING, False), (contextlib.nullcontext(), True)])
def test_refresh_draws_one_picture_at_a_time(monkeypatch, lock, meet):
    """Whoever draws waits for another to draw as well; with the lock nobody can come."""
    monkeypatch.setattr(kit.widgets.explorer, "DRAWING", lock)
    barrier, met = threading.Barrier(2), []

    def show(values):
        if values["level"]:
            try:
                barrier.wait(LIMIT if meet else 0.5)
                met.append(True)
            except threading.BrokenBarrierError:
                met.append(False)
        return ""

    both = explorer(show), explorer(show)
    finish([start(move, widget, 1) for widget in both])
    assert met == [meet, meet]


class Arrivals:
    """The lock, and a count of those who have come to it."""

    def __init__(self, lock):
        self.lock, self.come = lock, threading.Semaphore(0)

    def __enter__(self):
        self.come.release()
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()


def test_refresh_of_many_requests_draws_the_latest_alone(monkeypatch):
    arrivals = Arrivals(DRAWING)
    monkeypatch.setattr(kit.widgets.explorer, "DRAWING", arrivals)
    drawn, inside, go_on = [], threading.Event(), threading.Event()

    def show(values):
        drawn.append(tuple(values.values()))
        if values["level"] == 1 and len(drawn) == 2:
            inside.set()
            assert go_on.wait(LIMIT)
        return f"{values}"

    widget = explorer(show)
    threads = [start(move, widget, 1)]
    assert inside.wait(LIMIT)
    while arrivals.come.acquire(blocking=False):  # the two that have drawn
        pass
    for value, name in [(2, "level"), (7, "other"), (3, "level"), (4, "level"), (9, "other")]:
        threads.append(start(move, widget, value, name))
        assert arrivals.come.acquire(timeout=LIMIT)  # it waits for the picture before it
    go_on.set()
    finish(threads)
    assert drawn == [(0, 0), (1, 0), (4, 9)]
    assert widget.text == str({"level": 4, "other": 9})


# ---- what a notebook keeps ----


VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def shown(monkeypatch):
    """What `display` is given."""
    bundles = []
    monkeypatch.setattr(
        kit.widgets.explorer, "display", lambda bundle, raw: bundles.append((bundle, raw))
    )
    return bundles


def test_display_holds_the_view_and_what_is_shown_without_a_kernel(shown):
    widget = explorer()
    move(widget, 3)
    widget._ipython_display_()
    [(bundle, raw)] = shown
    assert raw and bundle.keys() == {VIEW, "image/png", "text/plain"}
    view = bundle[VIEW]
    assert view == {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    kept = b64decode(bundle["image/png"])
    assert len(kept) < len(widget.picture.value)
    np.testing.assert_allclose(
        pixels(kept)[..., :3], pixels(widget.picture.value)[..., :3], atol=0.1
    )
    assert bundle["text/plain"] == "Level 3."


def test_display_of_what_could_not_be_drawn(shown):
    explorer(fails_at(0, "nothing is here"))._ipython_display_()
    [(bundle, _)] = shown
    assert bundle.keys() == {VIEW, "text/plain"}
    assert bundle["text/plain"] == "This cannot be shown: nothing is here"


CELLS = [
    'import kit\ndata = kit.load("sample+")\nexplorer = kit.widgets.trial_explorer(data)\nexplorer',
    'explorer.controls["trial"].value = 2\nprint(explorer.text)',
    "model = kit.linear_baseline(data, 2)\n"
    "monitor = kit.widgets.training_monitor(model, data.subset(16), kit.TrainConfig(epochs=9000))\n"
    "monitor",
    "monitor.stop()\nprint((await monitor).stopped)",
]


def test_explorers_in_a_notebook():
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    quiet = ["--IPKernelApp.log_level=CRITICAL"]  # ipykernel 7 warns of listening on loopback
    nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=LIMIT, startup_timeout=LIMIT, extra_arguments=quiet
    ).execute()
    [first], [moved], [running], [ended] = (cell.outputs for cell in notebook.cells)
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    for output in (first, running):
        view = output.data[VIEW]
        assert state[view["model_id"]]["model_name"] == "VBoxModel"
    assert pixels(b64decode(first.data["image/png"])).shape[:2] == (640, 940)
    assert first.data["text/plain"].startswith("Trial 1 of 1600 in the tier train: ")
    assert moved.text.startswith("Trial 2 of 1600 in the tier train: ")
    assert "of up to 9000" in running.data["text/plain"]
    assert ended.text == "interrupted\n"


# ---- a cell that runs again ----


class Stripes(torch.nn.Conv2d):
    """A core, to count."""


def count_cores():
    gc.collect()
    return sum(type(each) is Stripes for each in gc.get_objects())


def test_explorer_replaces_that_of_an_earlier_run_of_its_cell(monkeypatch):
    config = kit.ModelConfig(image_size=(18, 32))
    model = kit.Model(Stripes(1, 2, 5), {"mouse": np.eye(3)}, config)
    made = []
    for run in range(4):
        monkeypatch.setattr(kit.widgets.explorer, "_running_cell", lambda run=run: ("cell", run))
        made += [kit.widgets.playground(model), kit.widgets.playground(model)]
    assert count_cores() == 1 + 2  # the model, and a copy for each widget of the last run
    made[-1].controls["orientation"].value = 90
    made[0].controls["orientation"].value = 90  # shows nothing, and fails at nothing
    assert "90 degrees" in made[-1].text and "90 degrees" not in made[0].text
    monkeypatch.setattr(kit.widgets.explorer, "_running_cell", lambda: ("another cell", 9))
    made.append(kit.widgets.playground(model))
    assert count_cores() == 1 + 3
