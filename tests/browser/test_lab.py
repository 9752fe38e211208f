"""Notebooks in a real JupyterLab, in a real browser: run by the menu, widgets moved by keyboard."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import ipykernel
import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "browser"
LIMIT = 900  # seconds for the server, and for each notebook
MOVE = 120  # seconds for a picture to follow a slider: a second is usual
SHORT = {
    "00": {"channels": 8, "epochs": 2},
    "01": {"trials": 40},
    "03": {"channels": 8, "epochs": 2},
    "07": {"count": 20, "steps": 5, "published": "sample-cnn"},
}
WHILE_A_CELL_RUNS = pytest.mark.skipif(
    ipykernel.version_info < (7,), reason="ipykernel 6 runs callbacks when the cell has ended"
)
LONG_TRAINING = "kit.TrainConfig.quick(epochs=500, seed=seed)"  # to be stopped
LAST_CELLS = {
    # runs until the test has moved a slider meanwhile
    "01": "import pathlib, time\nwhile not pathlib.Path('moved').exists():\n    time.sleep(0.1)",
    "03": "import threading\n"
    "best = kit.score(linear, data, 'validation').single_trial == max(linear_log.correlation)\n"
    "threads = [thread.name for thread in threading.enumerate()]\n"
    "print(linear_log.stopped, len(linear_log.loss) < 500, best, 'kit-training' in threads)",
}
SETTINGS = {  # what would draw cells only as they scroll into view, or ask a question at the start
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Copies of the notebooks, with short parameters and, in some, one cell more."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    for number, parameters in SHORT.items():
        (original,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        book = nbformat.read(original, as_version=4)
        if number in LAST_CELLS:
            book.cells.append(nbformat.v4.new_code_cell(LAST_CELLS[number]))
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = with_parameters(cell.source, parameters)
            if "training_monitor" in cell.source:
                cell.source, found = re.subn(r"kit\.TrainConfig.*\)$", LONG_TRAINING, cell.source,
                                             flags=re.M)  # fmt: skip
                assert found == 1
        nbformat.write(book, folder / f"{number}.ipynb")
    return folder


def with_parameters(source, parameters):
    for name, value in parameters.items():
        source, found = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", source, flags=re.M)
        assert found == 1, f"there is no parameter {name}"
    return source


@pytest.fixture(scope="module")
def lab(folder):
    """The address of a JupyterLab that knows nothing of this user's settings."""
    home = folder.parent
    for name, text in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "IPYTHONDIR": home / "ipython",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--ServerApp.root_dir={folder}", "--IdentityProvider.token="]  # fmt: skip
    address, log = f"http://127.0.0.1:{port}", home / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, env=os.environ | {name: str(path) for name, path in own.items()},
            stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_for(address + "/api", server, log)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(address, server, log):
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urlopen(address, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail("JupyterLab did not start:\n" + log.read_text()[-2000:])


@pytest.fixture
def page(browser):
    """A page that can reach this machine only."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route("**/*", lambda route: route.continue_() if is_local(route) else route.abort())
    context.set_default_timeout(LIMIT * 1000)
    yield context.new_page()
    context.close()


def is_local(route):
    address = urlsplit(route.request.url)
    return address.scheme in ("data", "blob") or address.hostname == "127.0.0.1"


class Notebook:
    """A notebook open in JupyterLab, all of whose cells have been told to run."""

    def __init__(self, page, lab, number):
        self.page, self.deadline = page, time.monotonic() + LIMIT
        page.goto(f"{lab}/lab/tree/{number}.ipynb?reset")
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.cells = self.panel.locator(".jp-CodeCell")
        self.cells.first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before, Lab asks for a kernel
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def prompt(self, cell):
        """What stands before a cell: a number when it has run, * while it runs or waits."""
        return self.cells.nth(cell).locator(".jp-InputPrompt").first.inner_text()

    def wait(self, done, what, limit=LIMIT):
        """Wait until done() is true; fail at the first error that a cell shows."""
        deadline = min(self.deadline, time.monotonic() + limit)
        errors = self.panel.locator("[data-mime-type*=error], [data-mime-type*=stderr]")
        while not done():
            assert errors.all_inner_texts() == []
            assert time.monotonic() < deadline, f"not so in time: {what}"
            self.page.wait_for_timeout(200)
        assert errors.all_inner_texts() == []

    def wait_for_cell(self, cell):
        self.wait(lambda: re.search(r"\d", self.prompt(cell)), f"cell {cell} has run")

    def explorer(self, source):
        """The widget that the cell with this text shows."""
        cell = self.cells.filter(has_text=source)
        widget = cell.locator(".jp-OutputArea-output .widget-vbox").first
        self.wait(lambda: widget.count() and widget.locator("img").count(), f"widget of {source}")
        return Explorer(self, widget)


class Explorer:
    """A widget: controls, a picture and a sentence."""

    def __init__(self, notebook, widget):
        self.notebook, self.widget = notebook, widget

    def picture(self):
        """The address of the picture, which every new one changes."""
        return self.widget.locator("img").first.get_attribute("src")

    def sentence(self):
        return self.widget.locator(".widget-html").first.inner_text()

    def press(self, label, key, times=1):
        """Move a slider by keyboard; wait until a new picture has followed each press."""
        row = self.widget.locator(".widget-slider").filter(has_text=label)
        handle = row.get_by_role("slider")
        for _ in range(times):
            before = self.picture()
            handle.press(key)
            self.notebook.wait(
                lambda before=before: self.picture() != before,
                f"the picture follows {label}",
                MOVE,
            )

    def screenshot(self, name):
        """A picture of the widget, in build/, for a reader to judge. Nothing is cut off in it."""
        for label in self.widget.locator("label, button").all():
            width, room = label.evaluate("each => [each.scrollWidth, each.clientWidth]")
            assert width <= room, f"{label.inner_text()!r} is cut off"
        picture = self.widget.locator("img").first
        wide = picture.evaluate("each => each.naturalWidth")
        assert wide > 900 and picture.bounding_box()["width"] == wide
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.widget.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_notebook_00_of_a_newcomer(page, lab):
    notebook = Notebook(page, lab, "00")
    notebook.wait_for_cell(-1)
    figure = notebook.panel.locator(".jp-RenderedImage img").first
    figure.wait_for()
    assert figure.evaluate("image => image.naturalWidth") > 100
    explorer = notebook.explorer("kit.widgets.playground")
    explorer.press("orientation", "ArrowRight")
    assert explorer.sentence().startswith("Grating of 50 degrees")
    explorer.screenshot("00-playground")


@WHILE_A_CELL_RUNS
def test_notebook_01_moves_a_slider_while_a_cell_runs(page, lab, folder):
    notebook = Notebook(page, lab, "01")
    notebook.wait_for_cell(-2)
    assert "*" in notebook.prompt(-1)
    explorer = notebook.explorer("kit.widgets.trial_explorer")
    explorer.press("trial", "ArrowRight", times=3)
    assert explorer.sentence().startswith("Trial 4 of ")
    explorer.screenshot("01-trial-explorer")
    assert "*" in notebook.prompt(-1), "the cell ended before the slider was moved"
    (folder / "moved").touch()
    notebook.wait_for_cell(-1)


@WHILE_A_CELL_RUNS
def test_notebook_03_stops_a_training(page, lab):
    notebook = Notebook(page, lab, "03")
    monitor = notebook.explorer("kit.widgets.training_monitor")
    notebook.wait(lambda: monitor.sentence().startswith("Epoch"), "the first epoch is drawn")
    monitor.widget.get_by_role("button", name="Stop training").click()
    notebook.wait_for_cell(-1)
    assert "interrupted" in monitor.sentence()
    monitor.screenshot("03-training-monitor")
    printed = notebook.cells.last.locator(".jp-OutputArea-output").inner_text()
    assert printed.strip() == "interrupted True True False"

    explorer = notebook.explorer("kit.widgets.neuron_explorer")
    before = explorer.sentence()
    explorer.press("neuron", "ArrowRight", times=2)
    assert before.startswith("Neuron") and explorer.sentence() != before
    explorer.screenshot("03-neuron-explorer")


def test_notebook_07_moves_the_playground(page, lab):
    notebook = Notebook(page, lab, "07")
    notebook.wait_for_cell(-1)
    explorer = notebook.explorer("kit.widgets.playground")
    explorer.press("frequency", "ArrowRight", times=4)
    explorer.press("radius", "ArrowLeft", times=12)
    assert ", radius 6:" in explorer.sentence()
    explorer.press("position, right", "ArrowRight", times=8)
    explorer.press("running", "ArrowRight", times=10)
    explorer.screenshot("07-playground")  # README shows this one
