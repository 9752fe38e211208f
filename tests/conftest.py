"""What every test can rely on: no network, one data folder in build/, figures without a window."""

import errno
import os
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before the kit or torch is imported, and inherited by the kernels that tests start. The sample
# mice are made once for all the tests and kept for the next run.
os.environ.setdefault("KIT_DATA_DIR", str(ROOT / "build" / "test-data"))
os.environ["KIT_OFFLINE"] = "1"
os.environ["CI"] = "1"
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a debugger's warning, of no use here
os.environ.pop("JUPYTER_PATH", None)  # or a python3 that lies there is another environment's
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker: more are slower on few cores
    os.environ["OMP_NUM_THREADS"] = "1"

import matplotlib  # noqa: E402
import short  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402

import kit  # noqa: E402

# A job in the background ignores Ctrl-C, and so would all that the tests start and stop by it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# By a call, not by MPLBACKEND: a kernel would inherit that, and draw no figures in its notebook.
matplotlib.use("Agg")
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Refuse every connection but to this machine. (KIT_OFFLINE is for the kernels' processes.)"""

    def guarded(connect):
        def checked(self, address):
            local = self.family == getattr(socket, "AF_UNIX", None)
            if not local and address[0] not in ("127.0.0.1", "::1", "localhost"):
                raise RuntimeError(f"a test tried to reach {address}; use a server on 127.0.0.1")
            return connect(self, address)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


@pytest.fixture(scope="session")
def shared():
    """The folder of recordings and weights that may not be committed."""
    folder = os.environ.get("KIT_FIXTURES")
    if not folder:
        pytest.skip("needs files that may not be committed: set KIT_FIXTURES to their folder")
    return Path(folder)


@pytest.fixture
def close(monkeypatch):
    """A function that closes a folder: nothing in it can be seen, as if it were another user's."""
    stat = os.stat

    def close(folder):
        def guarded(path, *arguments, **options):
            if not isinstance(path, int) and os.fspath(path).startswith(f"{folder}{os.sep}"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return stat(path, *arguments, **options)

        monkeypatch.setattr(os, "stat", guarded)

    return close


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist would start with the groups of most tests


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """With several workers, keep a file's tests together: what they share is then made once.

    Short notebook runs are the exception, each a group of its own (see repo/test_notebooks.py).
    The longest groups come first, so that no worker is left alone with one in the end: whole
    notebooks, then their short runs and JupyterLab, then other files with slow tests.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(os.path.relpath(item.path, ROOT)))
        if hasattr(item, "output_timeout"):  # nbval waits 5 s, whatever its option for a cell says
            item.output_timeout = config.option.nbval_cell_timeout
            short.shorten(item.cell, item.path)
    length = Counter()
    for item in items:
        length[group(item)] = max(length[group(item)], expected_length(item))
    items.sort(key=lambda item: -length[group(item)])


def group(item):
    return item.get_closest_marker("xdist_group").args[0]


def expected_length(item):
    """From 0 for a short test to 3 for a cell of a notebook that runs as it is committed."""
    if item.path.suffix == ".ipynb":
        return 3
    if not item.get_closest_marker("slow"):
        return 0
    runs_notebooks = item.name.startswith("test_execute") or item.get_closest_marker("browser")
    return 2 if runs_notebooks else 1


def pytest_terminal_summary(terminalreporter):
    """Print what servers and files did, what the user saw, and what then lay on the disk."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    rows = [
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "fault" and report.when == "call"
    ]
    if rows:
        terminalreporter.section("faults: what was done | what the user saw | what lies on disk")
        for row in rows:
            terminalreporter.line(" | ".join(row))


# ---- mice of 18 x 32 pixels, in a folder for each test module ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("module")


@pytest.fixture(scope="module")
def plus(folder):
    """A mouse with behaviour."""
    return kit.load(tiny.write(folder, withholds=["responses"]), (18, 32), folder / "data")


@pytest.fixture(scope="module")
def plain(folder):
    """A mouse whose behaviour is withheld."""
    path = tiny.write(folder, tiny.arrays(1), "8-1-1", ("responses", "behavior"))
    return kit.load(path, (18, 32), folder / "data")


@pytest.fixture(scope="module")
def other(folder):
    """A mouse of ten neurons."""
    path = tiny.write(folder, tiny.arrays(3, neurons=10), "8-1-1")
    return kit.load(path, (18, 32), folder / "data")
