"""Notebooks in a real JupyterLab, in a real browser: run by the menu, widgets moved by keyboard."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import ipykernel
import nbformat
import pytest
import short
from waiting import BEGIN, LIMIT, begin, wait_for_process, wait_until

api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "browser"
MOVE = 120  # seconds for a picture to follow a slider: a second is usual
OWN = {"00": {}, "01": {"mouse": "99003-1-1"}, "03": {}, "07": {"published": "sample-cnn"}}
SHUT_DOWN = """async () => {
    const headers = { "X-XSRFToken": document.cookie.match(/_xsrf=([^;]*)/)[1] };
    const kernels = await (await fetch("/api/kernels")).json();
    const shut = ({ id }) => fetch(`/api/kernels/${id}`, { method: "DELETE", headers });
    return (await Promise.all(kernels.map(shut))).map((answer) => answer.status);
}"""  # a kernel holds 0.7 GB
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
    """Copies of the notebooks, with short parameters and, in some, one cell more.

    The first is whole. The others end with their last widget: papermill and nbval run the rest.
    """
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    for number, own in OWN.items():
        (original,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        book = nbformat.read(original, as_version=4)
        if number != "00":
            widgets = [i for i, cell in enumerate(book.cells) if "kit.widgets." in cell.source]
            del book.cells[widgets[-1] + 1 :]
        if number in LAST_CELLS:
            book.cells.append(nbformat.v4.new_code_cell(LAST_CELLS[number]))
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            short.set_parameters(cell, short.PARAMETERS[number] | own)
            if "training_monitor" in cell.source:
                cell.source, found = re.subn(r"kit\.TrainConfig.*\)$", LONG_TRAINING, cell.source,
                                             flags=re.M)  # fmt: skip
                assert found == 1
        nbformat.write(book, folder / f"{number}.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(folder):
    """The address of a JupyterLab that knows nothing of this user's settings."""
    home = folder.parent
    for name, text in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = {
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}",
               "--IdentityProvider.token="]  # fmt: skip
    log = home / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, env=os.environ | {name: str(path) for name, path in own.items()},
            stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield wait_for_process(
                server, lambda: find_server(home / "runtime"), "JupyterLab answers",
                lambda: log.read_text()[-2000:],
            )  # fmt: skip
        finally:
            server.terminate()
            try:
                server.wait(timeout=BEGIN)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def find_server(folder):
    """The address of the server that keeps its files here, once it answers on a port it found."""
    for file in folder.glob("jpserver-*.json"):
        with contextlib.suppress(OSError, ValueError):  # half a file, or a server not ready yet
            address = json.loads(file.read_text())["url"].rstrip("/")
            urlopen(address + "/api", timeout=BEGIN).close()
            return address
    return None


@pytest.fixture
def page(browser):
    """A page that can reach this machine only."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route("**/*", lambda route: route.continue_() if is_local(route) else route.abort())
    page = context.new_page()
    yield page
    assert set(page.evaluate(SHUT_DOWN)) <= {204}  # no kernel if the page did not open
    context.close()


def is_local(route):
    address = urlsplit(route.request.url)
    return address.scheme in ("data", "blob") or address.hostname == "127.0.0.1"


def click(control):
    """Click, unless there is nothing to click: whoever calls this looks at what came of it."""
    with contextlib.suppress(api.TimeoutError):
        control.click(timeout=1000 * BEGIN)


class Notebook:
    """A notebook open in JupyterLab, all of whose cells have been told to run."""

    def __init__(self, page, lab, number):
        self.page = page
        page.goto(f"{lab}/lab/tree/{number}.ipynb?reset")
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.cells = self.panel.locator(".jp-CodeCell")
        idle = page.get_by_text("Python 3 (ipykernel) | Idle")  # before, Lab asks for a kernel
        wait_until(
            lambda: self.cells.count() and idle.count(), "the kernel is idle", self.seen,
            pause=self.pause,
        )  # fmt: skip
        self.begin(self.run_all, lambda: re.search(r"[\d*]", self.prompts()), "the cells run")

    def run_all(self):
        """By the menu, as a user would. A menu that is still open would be closed by the click."""
        self.page.keyboard.press("Escape")
        click(self.page.get_by_role("menuitem", name="Run", exact=True))
        click(self.page.get_by_role("menuitem", name="Run All Cells", exact=True))

    def prompts(self):
        """What stands before the cells: a number when one has run, * while it runs or waits."""
        return " ".join(self.cells.locator(".jp-InputPrompt").all_inner_texts())

    def prompt(self, cell):
        return self.cells.nth(cell).locator(".jp-InputPrompt").first.inner_text()

    def seen(self):
        """What a reader of a failed test needs: cells, kernel, open menus and questions."""
        status = self.page.locator("#jp-bottom-panel, .jp-StatusBar-Widget").all_inner_texts()
        dialogs = self.page.locator(".jp-Dialog, .lm-Menu").all_inner_texts()
        return f"cells {self.prompts()!r}, status {status!r}, dialogs and menus {dialogs!r}"

    def begin(self, ask, begun, what):
        begin(ask, begun, what, self.seen, pause=self.pause)

    def pause(self, seconds):
        self.page.wait_for_timeout(1000 * seconds)  # the page goes on meanwhile

    def wait(self, done, what, limit=LIMIT):
        """Wait until done() is true; fail at the first error that a cell shows."""
        errors = self.panel.locator("[data-mime-type*=error], [data-mime-type*=stderr]")

        def done_without_errors():
            assert errors.all_inner_texts() == []
            return done()

        wait_until(done_without_errors, what, self.seen, limit, self.pause)
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
        handle, knob = row.get_by_role("slider"), row.locator(".noUi-origin")
        for _ in range(times):
            place, picture = knob.get_attribute("style"), self.picture()
            self.notebook.begin(
                lambda: handle.press(key),
                lambda place=place: knob.get_attribute("style") != place,
                f"{label} moves",
            )
            self.notebook.wait(
                lambda picture=picture: self.picture() != picture,
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
    button = monitor.widget.get_by_role("button")
    notebook.begin(
        lambda: click(button), lambda: button.inner_text() != "Stop training", "it stops"
    )
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
