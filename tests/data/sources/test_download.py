"""Downloads from a server on this machine that misbehaves in many ways.

Whatever it does, no wrong file gets the right name. The test run prints a table of these faults.
"""

import contextlib
import gc
import gzip
import hashlib
import http.server
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import LIMIT, wait_for_process, wait_until

from kit.data.sources import download as downloads

NOWHERE = "http://127.0.0.1:1/file.zip"
CONTENT = b"PK\x03\x04" + random.Random(0).randbytes(3_000_000)
OLDER = b"PK\x03\x04" + random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE, MEGABYTES = len(CONTENT), 3
TENTH = SIZE // 10


# ---- the server: a fault is a list of answers, and the last one is repeated ----


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.ranges, self.sent = list(answers), [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/raw/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # the client may have hung up
            answer(self)

    def start(self):
        """The first byte that is asked for."""
        return int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def body(self, data):
        for start in range(0, len(data), 2**16):
            self.wfile.write(data[start : start + 2**16])
            self.server.sent += len(data[start : start + 2**16])
        self.wfile.flush()

    def log_message(self, *_):
        pass


def stall(handler):
    """Say nothing more until the other side gives up."""
    with contextlib.suppress(OSError):
        handler.connection.recv(1)


def good(content=CONTENT, upto=None, length=None, ranges=True, then=lambda handler: None):
    """A correct answer, which may be cut off after `upto` bytes or have another length."""

    def answer(handler):
        start = handler.start() if ranges else 0
        if start >= len(content):
            return handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        rest = content[start:]
        span = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        size = {} if length == "none" else {"Content_Length": length or len(rest)}
        handler.head(206 if start else 200, **size, **(span if start else {}))
        handler.body(rest[:upto])
        then(handler)

    return answer


def status(code, **headers):
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def text(body, code=200, **headers):
    """Answer this, whatever was asked for."""

    def answer(handler):
        handler.head(code, Content_Length=len(body), **headers)
        handler.body(body)

    return answer


def dripping(handler):
    """A byte now and then, each before the time is up to wait for one."""
    handler.head(200, Content_Length=SIZE)
    for byte in CONTENT:
        handler.body(bytes([byte]))
        time.sleep(0.05)


def endless(handler):
    handler.head(200)
    while True:
        handler.body(CONTENT)


cut = good(upto=9 * TENTH)
page = text(b"\n<!DOCTYPE html><html><title>Sign in to the hotel's Wi-Fi</title></html>")
pointer = text(b"/annex/objects/MD5-s432218--0123456789abcdef0123456789abcdef\n")

# what the server does -> its answers, the error message (None: the file is complete at the end),
# and how many bytes are in the .part then
FAULTS = {
    "cuts off at 90 %": ([cut, good()], None, 0),
    "cuts off every answer after a tenth": ([good(upto=TENTH)], None, 0),
    "always cuts off at 90 % and knows no ranges": (
        [good(upto=9 * TENTH, ranges=False)], "the connection was lost 3 times", 9 * TENTH),
    "stalls at 90 %, once": ([good(upto=9 * TENTH, then=stall), good()], None, 0),
    "stalls without a byte": ([stall], "cannot be reached", 0),
    "redirects": ([status(302, Location="/elsewhere"), good()], None, 0),
    "redirects to a file": (
        [status(302, Location="file:///etc/hostname")], "one that it redirects to, cannot be", 0),
    "promises more than it has": ([good(length=SIZE + 500_000), good()], None, 0),
    "names no length and cuts off": ([good(upto=SIZE // 2, length="none"), good()], None, 0),
    "answers a range without saying which": (
        [cut, text(CONTENT[9 * TENTH:], 206), good()], None, 0),
    "sends other bytes than the range it names": ([cut, good(OLDER), good()], None, 0),
    "sends a web page with 200 after 90 %": (
        [cut, page], "is not the file: it begins with .*<!DOCTYPE html>", 9 * TENTH),
    "names a reason with control characters": (
        [lambda handler: handler.wfile.write(b"HTTP/1.1 404 \x1b[2Jgone\r\n\r\n")],
        r"answered 404 \?\[2Jgone; ", 0),
    "sends a git-annex pointer": ([pointer], "is not the file: it begins with b'/annex", 0),
    "answers 403 after 90 %": ([cut, status(403)], "answered 403 Forbidden; ", 9 * TENTH),
    "answers 503 twice": ([status(503), status(503), good()], None, 0),
    "answers 503 always": ([status(503)], "answered 503 Service Unavailable; ", 0),
    "answers 429, then goes on": ([cut, status(429, Retry_After=0), good()], None, 0),
    "changes the file between two tries": ([good(OLDER, upto=9 * TENTH), good()], None, 0),
    "changes the file, knows no ranges and cuts off": (
        [good(OLDER, upto=9 * TENTH), good(upto=TENTH, ranges=False), good()], None, 0),
    "changes it for a shorter one": (
        [good(OLDER + OLDER[:900_000], upto=SIZE + 100_000), good()], None, 0),
    "never ends": ([endless], "its SHA-256 is", 4 * 2**20),
    "compresses what it sends": (
        [text(gzip.compress(CONTENT, 1), Content_Encoding="gzip")], None, 0),
    "speaks no HTTP": (
        [lambda handler: handler.wfile.write(b"220 no web server\r\n")], "cannot be reached", 0),
}  # fmt: skip


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """Allow the network, without a mirror or proxy, and wait for nothing long."""
    monkeypatch.setenv("KIT_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KIT_MIRROR", raising=False)
    monkeypatch.setattr(downloads, "PAUSE", 0)
    monkeypatch.setattr(downloads, "TIMEOUT", (LIMIT, LIMIT))


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(*answers):
            server = Server(*answers)
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def part(tmp_path):
    """The path at which an unfinished download lies."""
    (tmp_path / "recordings").mkdir()
    return tmp_path / "recordings" / "file.zip.part"


def download(url, folder):
    path = folder / "recordings" / "file.zip"
    downloads.download("recording 7-1-1", url, path, SHA256, MEGABYTES)
    return path


def file_sizes(folder):
    """The size of each file in a folder, by its name. Locks are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.name: path.stat().st_size for path in files if path.suffix != ".lock"}


def refused(url, folder):
    """The error message of a download that fails."""
    with pytest.raises(ConnectionError) as caught:
        download(url, folder)
    said = str(caught.value)
    path = folder / "recordings" / "file.zip"
    assert "\n" not in said
    assert f"download {url} (3 MB) by other means and put it at {path}" in said
    assert 'kit.load("sample+") and' in said
    return said


@pytest.mark.parametrize("fault", FAULTS)
def test_download_despite_a_fault(fault, serve, tmp_path, record_property, monkeypatch):
    answers, message, left = FAULTS[fault]
    server = serve(*answers)
    if "stalls" in fault:
        monkeypatch.setattr(downloads, "TIMEOUT", (LIMIT, 0.4))
    if message is None:
        assert download(server.url, tmp_path).read_bytes() == CONTENT
        assert file_sizes(tmp_path) == {"file.zip": SIZE}
        record_property("fault", (f"server {fault}", "(nothing)", "the right file"))
        return
    said = refused(server.url, tmp_path)
    assert re.search(message, said)
    sizes = file_sizes(tmp_path)
    assert set(sizes) <= {"file.zip.part"}
    assert abs(sizes.get("file.zip.part", 0) - left) <= 2**16
    assert ("are kept in" in said) == (left > 0)
    kept = f".part of {left / SIZE:.0%}" if left else "nothing"
    record_property("fault", (f"server {fault}", said.partition("; ")[0], kept))

    server = serve(good())  # later, from a server that behaves
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert file_sizes(tmp_path) == {"file.zip": SIZE}


def test_download_fetches_only_the_missing_tenth(serve, tmp_path, record_property):
    first = serve(cut, status(404))
    assert "2.7 MB are kept" in refused(first.url, tmp_path)
    kept = file_sizes(tmp_path)["file.zip.part"]
    assert kept == pytest.approx(9 * TENTH, abs=2**16)
    second = serve(good())
    download(second.url, tmp_path)
    assert second.ranges == [f"bytes={kept}-"]
    assert second.sent == SIZE - kept
    assert second.sent <= TENTH + 2**16
    seen = f"server sent {second.sent:,} of {SIZE:,} bytes"
    record_property("fault", ("server cuts off at 90 %, next run goes on", seen, "the right file"))


KEPT = {  # answers to the request for the missing tenth after which the other nine are still there
    "204": status(204),
    "200 and nothing": text(b""),
    "200 without ranges, cut off at a tenth": good(upto=TENTH, ranges=False),
    "416 that names no size": status(416),
    "206 of another range": text(CONTENT[:TENTH], 206, Content_Range=f"bytes 0-{SIZE - 1}/{SIZE}"),
}


@pytest.mark.parametrize("answer", KEPT)
def test_download_keeps_the_part_after_a_bad_answer(answer, serve, tmp_path, part):
    part.write_bytes(CONTENT[: 9 * TENTH])
    said = refused(serve(KEPT[answer], status(503)).url, tmp_path)
    assert part.read_bytes() == CONTENT[: 9 * TENTH]
    assert f"2.7 MB are kept in {part};" in said and set(file_sizes(tmp_path)) == {part.name}


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to", "pipe"])
def test_download_replaces_a_link_or_pipe(link, serve, tmp_path, part):
    mine = tmp_path / "mine.zip"
    mine.write_bytes(OLDER)
    os.mkfifo(part) if link == "pipe" else getattr(part, link)(mine)
    path = download(serve(good()).url, tmp_path)
    assert path.read_bytes() == CONTENT and not path.is_symlink()
    assert mine.read_bytes() == OLDER


def test_download_gives_up_a_server_that_drips(serve, tmp_path, monkeypatch, record_property):
    monkeypatch.setattr(downloads, "SLOWEST", (0.5, 64_000))
    monkeypatch.setattr(downloads, "TIMEOUT", (5, 5))
    said = refused(serve(dripping).url, tmp_path)
    assert "the server sent less than 64000 bytes in 0.5 s" in said
    record_property("fault", ("server drips", said.partition("; ")[0], "nothing"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_download_redirected_to_an_invalid_address(serve, tmp_path):
    server = serve(status(302, Location="http://[::1/x"))
    assert "cannot be reached" in refused(server.url, tmp_path)
    gc.collect()  # requests leaves the socket of such an answer open


def test_download_renames_a_complete_part(serve, tmp_path, part):
    part.write_bytes(CONTENT)
    server = serve(good())
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.sent == 0


def test_download_wrong_hash_accepted_by_hand(serve, tmp_path, part):
    server = serve(good(OLDER))
    said = refused(server.url, tmp_path)
    assert f"is {hashlib.sha256(OLDER).hexdigest()}, not {SHA256}; if you trust it, rename" in said
    assert "rename it to file.zip; 3.0 MB are kept in" in said
    part.rename(part.with_suffix(""))
    assert download(server.url, tmp_path).read_bytes() == OLDER


def test_download_once(serve, tmp_path):
    server = serve(good())
    path = download(server.url, tmp_path)
    download(server.url, tmp_path)
    assert server.ranges == [None]
    usual = tmp_path / "usual"
    usual.write_text("")
    assert path.stat().st_mode == usual.stat().st_mode  # other users may read it


def test_download_checks_disk_space(serve, tmp_path, monkeypatch, record_property):
    """Twice the size of the file is needed, because a recording is packed too."""
    server = serve(good())
    usage = downloads.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=5_900_000))
    said = refused(server.url, tmp_path)
    assert re.search(r"6 MB are needed in .*, 6 are free; make room there, or", said)
    assert "KIT_DATA_DIR" in said and server.ranges == [] and file_sizes(tmp_path) == {}
    record_property("fault", ("disk is too small", said.partition("; ")[0], "nothing"))
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=6_100_000))
    download(server.url, tmp_path)


# ---- mirrors, and no network ----


@pytest.fixture
def stick(tmp_path, monkeypatch):
    """The path of the file in a folder that is the mirror."""
    (tmp_path / "stick").mkdir()
    monkeypatch.setenv("KIT_MIRROR", str(tmp_path / "stick"))
    return tmp_path / "stick" / "file.zip"


@pytest.mark.parametrize("slash", ["", "/"])
def test_download_from_a_mirror(serve, tmp_path, monkeypatch, slash):
    host, mirror = serve(good(OLDER)), serve(good())
    monkeypatch.setenv("KIT_MIRROR", mirror.url.rpartition("/")[0] + slash)
    assert download(host.url, tmp_path).read_bytes() == CONTENT
    assert host.ranges == []


@pytest.mark.parametrize("offline", ["0", "1"])
def test_download_from_a_mirror_folder(stick, tmp_path, monkeypatch, offline):
    stick.write_bytes(CONTENT)
    monkeypatch.setenv("KIT_OFFLINE", offline)
    assert download(NOWHERE, tmp_path / "data").read_bytes() == CONTENT
    assert file_sizes(tmp_path / "data") == {"file.zip": SIZE}


@pytest.mark.parametrize("fault, content, message, left", [
    ("a pointer", b"../.git/annex/objects/XK/2q/MD5-s43", "begins with b'../.git/annex", {}),
    ("a longer file", CONTENT + bytes(10), "its SHA-256 is", {"file.zip.part": SIZE + 10}),
], ids=["a pointer", "a longer file"])  # fmt: skip
def test_download_from_a_faulty_mirror_folder(
    stick, tmp_path, record_property, fault, content, message, left
):
    stick.write_bytes(content)
    said = refused(NOWHERE, tmp_path / "data")
    assert message in said and file_sizes(tmp_path / "data") == left
    kept = ".part of 100%" if left else "nothing"
    record_property("fault", (f"mirror folder has {fault}", said.partition("; ")[0], kept))


@pytest.mark.parametrize("mirror, message", [
    ("http://127.0.0.1:1", "cannot be reached"),
    ("ftp://127.0.0.1/mice", "cannot be reached"),
    ("https:///mice", "cannot be reached"),
    ("/no/such/folder ", "there is no file /no/such/folder/file.zip;"),
])  # fmt: skip
def test_download_from_a_wrong_mirror(tmp_path, monkeypatch, mirror, message):
    monkeypatch.setenv("KIT_MIRROR", mirror)
    assert message in refused(NOWHERE, tmp_path) and file_sizes(tmp_path) == {}


def test_download_offline(serve, tmp_path, monkeypatch):
    server = serve(good())
    monkeypatch.setenv("KIT_OFFLINE", "yes")
    assert "KIT_OFFLINE forbids the network: unset it;" in refused(server.url, tmp_path)
    assert server.ranges == []
    monkeypatch.setenv("KIT_OFFLINE", "")  # "0" in the other tests
    download(server.url, tmp_path)


# ---- several processes, and killed ones ----

SCRIPT = """
import sys
from pathlib import Path
from kit.data.sources import download as downloads
downloads.download("recording 7-1-1", sys.argv[1], Path(sys.argv[2]), sys.argv[3], 3)
"""


def start(url, path, errors):
    """Download in another process, with what it says written to a file."""
    with errors.open("w") as stream:
        command = [sys.executable, "-c", SCRIPT, url, path, SHA256]
        return subprocess.Popen(command, stderr=stream)


@pytest.fixture
def half():
    """An answer that stops in the middle until its gate is opened."""
    gate = threading.Event()

    def answer(handler):
        handler.head(200, Content_Length=SIZE)
        handler.body(CONTENT[: SIZE // 2])
        assert gate.wait(LIMIT)
        handler.body(CONTENT[SIZE // 2 :])

    answer.open = gate.set
    yield answer
    gate.set()


def is_half(part):
    return part.exists() and part.stat().st_size > SIZE // 2 - 2**17


def test_locked_by_another_process(serve, tmp_path, part, half, record_property):
    server, path, errors = serve(half), part.with_suffix(""), tmp_path / "errors.txt"
    first = ThreadPoolExecutor(1).submit(download, server.url, tmp_path)
    wait_until(lambda: is_half(part), "half is there", first.done)
    second = start(server.url, path, errors)
    said = "waiting for another process that is downloading file.zip"
    wait_for_process(second, lambda: said in errors.read_text(), said, errors.read_text)
    half.open()
    assert (first.result(LIMIT), second.wait(LIMIT)) == (path, 0), errors.read_text()
    assert server.sent == SIZE
    assert file_sizes(path.parent) == {"file.zip": SIZE} and list(path.parent.iterdir()) == [path]
    seen = f"one waits; server sent {server.sent:,} bytes"
    record_property("fault", ("two processes at once", seen, "the right file"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_download_resumes_after_a_kill(serve, tmp_path, part, half, record_property):
    server = serve(half, good())
    errors = tmp_path / "errors.txt"
    process = start(server.url, part.with_suffix(""), errors)
    wait_for_process(process, lambda: is_half(part), "half is there", errors.read_text)
    process.send_signal(signal.SIGKILL)
    process.wait()
    half.open()
    kept = part.stat().st_size
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={kept}-"
    assert file_sizes(part.parent) == {"file.zip": SIZE}
    record_property("fault", ("kill -9 while downloading, run again",
                              f"server sent the missing {SIZE - kept:,} bytes",
                              "the right file"))  # fmt: skip


# ---- progress ----


def test_download_progress_bar(serve, tmp_path, monkeypatch, capfd):
    bars, progress = [], downloads.progress

    def seen(**options):
        bars.append(progress(**options))
        return bars[-1]

    monkeypatch.delenv("CI")
    monkeypatch.setattr(downloads, "progress", seen)
    download(serve(cut, good()).url, tmp_path)
    assert "downloading" in capfd.readouterr().err
    first, second = bars
    assert [(bar.total, bar.unit) for bar in bars] == [(MEGABYTES * 1e6, "B")] * 2
    assert 0 == first.initial < first.n == second.initial < second.n == SIZE
