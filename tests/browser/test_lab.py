"""A newcomer's first minute: notebook 00 in a real JupyterLab, in a real browser, by the menu."""

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

import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SHORT = {"epochs": 2, "channels": 8}
PATIENCE = 1800  # seconds for each of: the server, the page, the whole notebook
SETTINGS = {  # what would draw cells only as they scroll into view, or ask a question at the start
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A copy of notebook 00 without outputs and with short parameters."""
    (original,) = NOTEBOOKS.glob("00_*.ipynb")
    book = nbformat.read(original, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "parameters" in cell.metadata.get("tags", []):
            for name, value in SHORT.items():
                line = rf"^{name} = .*$"
                cell.source, found = re.subn(line, f"{name} = {value}", cell.source, flags=re.M)
                assert found == 1, f"notebook 00 has no parameter {name}"
    path = tmp_path_factory.mktemp("lab") / "notebooks" / original.name
    path.parent.mkdir()
    nbformat.write(book, path)
    return path


@pytest.fixture(scope="module")
def lab(notebook):
    """The address of a JupyterLab that knows nothing of this user's settings."""
    home = notebook.parent.parent
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
               f"--ServerApp.root_dir={notebook.parent}", "--IdentityProvider.token="]  # fmt: skip
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
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urlopen(address, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail("JupyterLab did not start:\n" + log.read_text()[-2000:])


@pytest.fixture(scope="module")
def page(browser):
    """A page that can reach this machine only."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route("**/*", lambda route: route.continue_() if is_local(route) else route.abort())
    context.set_default_timeout(PATIENCE * 1000)
    return context.new_page()


def is_local(route):
    address = urlsplit(route.request.url)
    return address.scheme in ("data", "blob") or address.hostname == "127.0.0.1"


def test_run_all_cells(page, lab, notebook):
    page.goto(f"{lab}/lab/tree/{notebook.name}?reset")
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.locator(".jp-CodeCell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before, Lab asks for a kernel

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = panel.locator(".jp-CodeCell").last.locator(".jp-InputPrompt").first
    errors = panel.locator("[data-mime-type*=error], [data-mime-type*=stderr]")
    deadline = time.monotonic() + PATIENCE
    while not re.search(r"\d", last.inner_text()) and time.monotonic() < deadline:
        if errors.count():
            break
        page.wait_for_timeout(500)

    assert errors.all_inner_texts() == []
    assert re.search(r"\d", last.inner_text()), f"not done after {PATIENCE} s"
    figure = panel.locator(".jp-RenderedImage img").first
    figure.wait_for()
    assert figure.evaluate("image => image.naturalWidth") > 100
