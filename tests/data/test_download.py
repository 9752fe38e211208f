"""Downloads, from a server on this machine that misbehaves in every way one has met.

Whatever it does, no wrong file lies under the right name. The rows of the table that the run prints
at its end are collected here.
"""

import contextlib
import dataclasses
import gc
import gzip
import hashlib
import http.server
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny

import kit
from kit.data import catalog
from kit.data import download as downloads

CONTENT = b"PK\x03\x04" + random.Random(0).randbytes(3_000_000)
OLDER = b"PK\x03\x04" + random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE, MEGABYTES = len(CONTENT), 3
TENTH = SIZE // 10


# ---- the server: one fault is a list of answers, the last of them to all that is asked later ----


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
        with contextlib.suppress(ConnectionError):  # the client may have had enough
            answer(self)

    def start(self):
        """Where the range that is asked for starts."""
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


def good(content=CONTENT, upto=None, length=None, ranges=True, wait=0):
    """An answer as it should be, but cut off after `upto` bytes, or with another length."""

    def answer(handler):
        start = handler.start() if ranges else 0
        if start >= len(content):
            return handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        rest = content[start:]
        span = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        size = {} if length == "none" else {"Content_Length": length or len(rest)}
        handler.head(206 if start else 200, **size, **(span if start else {}))
        handler.body(rest[:upto])
        time.sleep(wait)

    return answer


def status(code, **headers):
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def text(body, code=200):
    def answer(handler):
        handler.head(code, Content_Type="text/html", Content_Length=len(body))
        handler.body(body)

    return answer


def range_lie(header, body):
    """206, whatever was asked for."""

    def answer(handler):
        handler.head(206, Content_Length=len(body), **({"Content_Range": header} if header else {}))
        handler.body(body)

    return answer


def right_range_wrong_bytes(handler):
    start = handler.start()
    handler.head(206, Content_Length=SIZE - start,
                 Content_Range=f"bytes {start}-{SIZE - 1}/{SIZE}")  # fmt: skip
    handler.body(OLDER[start:])


def compressed(handler):
    body = gzip.compress(CONTENT, 1)
    handler.head(200, Content_Encoding="gzip", Content_Length=len(body))
    handler.body(body)


def endless(handler):
    handler.head(200)
    while True:
        handler.body(CONTENT)


def garbage(handler):
    handler.wfile.write(b"220 this is no web server\r\n")


cut = good(upto=9 * TENTH)
page = text(b"\n<!DOCTYPE html><html><title>Sign in to the hotel's Wi-Fi</title></html>")
pointer = text(b"/annex/objects/MD5-s432218--0123456789abcdef0123456789abcdef\n")


def answered(code):
    return f"the server answered {code} {http.HTTPStatus(code).phrase}; "


# what the server does -> its answers, what the user is told (None: the file is whole at the end),
# and how many bytes then lie in the .part
FAULTS = {
    "behaves": ([good()], None, 0),
    "cuts off at 90 %": ([cut, good()], None, 0),
    "cuts off every answer after a tenth": ([good(upto=TENTH)], None, 0),
    "cuts off at 90 % and knows no ranges": ([cut, good(ranges=False)], None, 0),
    "always cuts off at 90 % and knows no ranges": (
        [good(upto=9 * TENTH, ranges=False)], "the connection failed, was lost", 9 * TENTH),
    "stalls at 90 %, once": ([good(upto=9 * TENTH, wait=1), good()], None, 0),
    "stalls without a byte": (
        [lambda handler: time.sleep(1)], "the connection failed, was lost or fell silent", 0),
    "redirects": ([status(302, Location="/elsewhere"), good()], None, 0),
    "redirects in a circle": (
        [status(302, Location="/raw/file.zip")], "the server redirects in a circle", 0),
    "redirects to a file": (
        [status(302, Location="file:///etc/hostname")], "does not begin with http://", 0),
    "promises more than it has": ([good(length=SIZE + 500_000), good()], None, 0),
    "promises half and sends half": ([good(upto=SIZE // 2, length=SIZE // 2), good()], None, 0),
    "names no length and cuts off": ([good(upto=SIZE // 2, length="none"), good()], None, 0),
    "answers a range from another place": (
        [cut, range_lie(f"bytes 0-{SIZE - 1}/{SIZE}", CONTENT), good()], None, 0),
    "answers a range without saying which": (
        [cut, range_lie(None, CONTENT[9 * TENTH:]), good()], None, 0),
    "sends other bytes than the range it names": (
        [cut, right_range_wrong_bytes, good()], None, 0),
    "sends a web page with 200": ([page], "a web page came instead of the file", 0),
    "sends a web page with 200 after 90 %": (
        [cut, page], "a web page came instead of the file", 9 * TENTH),
    "sends a git-annex pointer": ([pointer], "a git-annex pointer came instead of the file", 0),
    "answers 404": ([text(b"<html>nothing here</html>", 404)], answered(404), 0),
    "answers 403 after 90 %": ([cut, status(403)], answered(403), 9 * TENTH),
    "answers 503 twice": ([status(503), status(503), good()], None, 0),
    "answers 503 always": ([status(503)], answered(503), 0),
    "answers 429, then goes on": ([cut, status(429, Retry_After=0), good()], None, 0),
    "changes the file between two tries": ([good(OLDER, upto=9 * TENTH), good()], None, 0),
    "changes it for a shorter one": (
        [good(OLDER + OLDER[:900_000], upto=SIZE + 100_000), good()], None, 0),
    "has another file": ([good(OLDER)], "its SHA-256 is .*: if you trust", SIZE),
    "flips one bit": (
        [good(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))], "its SHA-256 is .*: if you trust", SIZE),
    "never ends": ([endless], "more came than the 3 MB", 0),
    "compresses what it sends": ([compressed], None, 0),
    "sends nothing at all": ([text(b"")], "nothing came instead of the file", 0),
    "hangs up": ([lambda handler: None], "the connection failed", 0),
    "speaks no HTTP": ([garbage], "the connection failed", 0),
}  # fmt: skip


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """The network may be asked, nothing waits long, and no mirror or proxy is in the way."""
    monkeypatch.setenv("KIT_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KIT_MIRROR", raising=False)
    monkeypatch.setattr(downloads, "PAUSE", 0)
    monkeypatch.setattr(downloads, "TIMEOUT", (5, 0.4))


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


def download(url, folder, sha256=SHA256):
    path = folder / "recordings" / "file.zip"
    downloads.download("recording 7-1-1", url, path, sha256, MEGABYTES)
    return path


def below(folder):
    """What lies in a folder: name -> size. An unlocked lock says nothing."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.name: path.stat().st_size for path in files if path.suffix != ".lock"}


def refused(url, folder):
    """The sentence with which a download is refused."""
    with pytest.raises(ConnectionError) as caught:
        download(url, folder)
    said, place = str(caught.value), folder / "recordings" / "file.zip"
    assert "\n" not in said
    assert f"download {url} (3 MB) by other means and put it at {place}" in said
    assert 'kit.load("sample+") works without it' in said
    return said


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_leaves_a_wrong_file(fault, serve, tmp_path, record_property):
    answers, told, left = FAULTS[fault]
    server = serve(*answers)
    if told is None:
        assert download(server.url, tmp_path).read_bytes() == CONTENT
        assert below(tmp_path) == {"file.zip": SIZE}
        record_property("fault", (f"server {fault}", "(nothing)", "the right file"))
        return
    said = refused(server.url, tmp_path)
    assert re.search(told, said)
    found = below(tmp_path)
    assert set(found) <= {"file.zip.part"}
    assert abs(found.get("file.zip.part", 0) - left) <= 2**16
    assert ("are kept in" in said) == (0 < left < SIZE)
    kept = f".part of {left / SIZE:.0%}" if left else "nothing"
    record_property("fault", (f"server {fault}", said.partition("; ")[0], kept))

    server = serve(good())  # later, from a server that behaves
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert below(tmp_path) == {"file.zip": SIZE}


def test_at_least_twelve_faults():
    assert len(FAULTS) - 1 >= 12


def test_the_missing_tenth_alone_is_fetched(serve, tmp_path, record_property):
    """In a later run as in this one; the server counts the bytes."""
    first = serve(cut, status(404))
    assert "2.7 MB are kept" in refused(first.url, tmp_path)
    kept = below(tmp_path)["file.zip.part"]
    assert kept == pytest.approx(9 * TENTH, abs=2**16)
    second = serve(good())
    download(second.url, tmp_path)
    assert second.ranges == [f"bytes={kept}-"]
    assert second.sent == SIZE - kept
    assert second.sent <= TENTH + 2**16
    seen = f"server sent {second.sent:,} of {SIZE:,} bytes"
    record_property("fault", ("server cuts off at 90 %, next run goes on", seen, "the right file"))


KEPT = {  # answers to the request for the missing tenth that must not cost the other nine
    "204": status(204),
    "304": status(304),
    "302 to nowhere": status(302),
    "200 and JSON": text(b'{"error": "busy"}'),
    "200 and nothing": text(b""),
    "200 without ranges, cut off at a tenth": good(upto=TENTH, ranges=False),
    "416 that names no size": status(416),
    "206 of another range": range_lie(f"bytes 0-{SIZE - 1}/{SIZE}", CONTENT[:TENTH]),
}


@pytest.mark.parametrize("answer", KEPT)
def test_what_came_is_not_lost_to_a_silly_answer(answer, serve, tmp_path):
    (tmp_path / "recordings").mkdir()
    part = tmp_path / "recordings" / "file.zip.part"
    part.write_bytes(CONTENT[: 9 * TENTH])
    said = refused(serve(KEPT[answer], status(503)).url, tmp_path)
    assert part.read_bytes() == CONTENT[: 9 * TENTH]
    assert f"2.7 MB are kept in {part} for the next try" in said
    assert set(below(tmp_path)) == {part.name}
    assert serve(good()).sent == 0
    download(serve(good()).url, tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_part_that_is_another_file_by_a_link_is_left_alone(link, serve, tmp_path):
    (tmp_path / "recordings").mkdir()
    mine = tmp_path / "mine.zip"
    mine.write_bytes(OLDER)
    getattr(tmp_path / "recordings" / "file.zip.part", link)(mine)
    path = download(serve(good()).url, tmp_path)
    assert mine.read_bytes() == OLDER and not path.is_symlink()


def test_a_link_in_place_of_the_second_part_is_not_written_through(serve, tmp_path):
    """A server without ranges sends the whole file again, beside the part that is there."""
    (tmp_path / "recordings").mkdir()
    mine = tmp_path / "mine.zip"
    mine.write_bytes(OLDER)
    (tmp_path / "recordings" / "file.zip.part").write_bytes(CONTENT[:TENTH])
    (tmp_path / "recordings" / "file.zip.part.new").symlink_to(mine)
    path = download(serve(good(ranges=False)).url, tmp_path)
    assert path.read_bytes() == CONTENT and mine.read_bytes() == OLDER


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("target", ["http://[::1/x", "http://.example/", "http://\xff\xfe/"])
def test_redirects_to_what_is_no_address(target, serve, tmp_path):
    assert "not valid" in refused(serve(status(302, Location=target)).url, tmp_path)
    gc.collect()  # requests leaves the socket of such an answer open


def test_what_is_whole_but_was_never_renamed_is_not_fetched_again(serve, tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "file.zip.part").write_bytes(CONTENT)
    server = serve(good())
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.sent == 0


def test_a_wrong_hash_can_be_accepted_by_hand(serve, tmp_path):
    server = serve(good(OLDER))
    said = refused(server.url, tmp_path)
    assert SHA256 in said and hashlib.sha256(OLDER).hexdigest() in said
    assert "recordings/file.zip.part to file.zip, else delete it" in said
    part = tmp_path / "recordings" / "file.zip.part"
    part.rename(part.with_suffix(""))
    assert download(server.url, tmp_path).read_bytes() == OLDER


def test_a_file_that_is_there_asks_nobody(serve, tmp_path):
    server = serve(good())
    download(server.url, tmp_path)
    download(server.url, tmp_path)
    assert server.ranges == [None]


def test_others_may_read_what_one_has_downloaded(serve, tmp_path):
    path = download(serve(good()).url, tmp_path)
    usual = tmp_path / "usual"
    usual.write_text("")
    assert path.stat().st_mode == usual.stat().st_mode


def test_no_server(tmp_path, record_property):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/raw/file.zip"
    said = refused(url, tmp_path)
    assert "the connection failed" in said and below(tmp_path) == {}
    record_property("fault", ("there is no server", said.partition("; ")[0], "nothing"))


def test_too_little_room(serve, tmp_path, monkeypatch, record_property):
    """Twice the file is asked for: the recording is packed too."""
    server = serve(good())
    usage = downloads.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=5_900_000))
    said = refused(server.url, tmp_path)
    assert re.search(r"0.01 GB are needed in .* and 0.01 GB are free: make room, or", said)
    assert "KIT_DATA_DIR" in said and server.ranges == [] and below(tmp_path) == {}
    record_property("fault", ("disk is too small", said.partition("; ")[0], "nothing"))
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=6_100_000))
    download(server.url, tmp_path)


# ---- mirrors, and no network ----


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_is_asked_in_place_of_the_host(serve, tmp_path, monkeypatch, slash):
    host, mirror = serve(good(OLDER)), serve(good())
    monkeypatch.setenv("KIT_MIRROR", mirror.url.rpartition("/")[0] + slash)
    assert download(host.url, tmp_path).read_bytes() == CONTENT
    assert host.ranges == []


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_mirror_may_be_a_folder(tmp_path, monkeypatch, offline):
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "file.zip").write_bytes(CONTENT)
    monkeypatch.setenv("KIT_MIRROR", str(stick))
    monkeypatch.setenv("KIT_OFFLINE", offline)
    url = "http://127.0.0.1:1/file.zip"
    assert download(url, tmp_path / "data").read_bytes() == CONTENT
    assert below(tmp_path / "data") == {"file.zip": SIZE}


@pytest.mark.parametrize(
    ("what", "put", "told", "left"),
    [
        ("no file", None, "a folder without the file file.zip; put the file there", {}),
        ("a pointer", b"../.git/annex/objects/XK/2q/MD5-s43", "a git-annex pointer came", {}),
        ("another file", OLDER, "its SHA-256 is", {"file.zip.part": SIZE}),
        ("a longer file", CONTENT + bytes(2_000_000), "more came than the 3 MB", {}),
    ],
)
def test_a_mirror_folder_is_not_trusted(
    tmp_path, monkeypatch, record_property, what, put, told, left
):
    stick = tmp_path / "stick"
    stick.mkdir()
    if put:
        (stick / "file.zip").write_bytes(put)
    monkeypatch.setenv("KIT_MIRROR", str(stick))
    said = refused("http://127.0.0.1:1/file.zip", tmp_path / "data")
    assert told in said
    assert below(tmp_path / "data") == left
    record_property("fault", (f"mirror folder has {what}", said.partition("; ")[0],
                              ".part of 100%" if left else "nothing"))  # fmt: skip


def test_a_mirror_that_is_neither_url_nor_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_MIRROR", "ftp://127.0.0.1/mice")
    assert "does not begin with http://" in refused("http://127.0.0.1:1/file.zip", tmp_path)
    monkeypatch.setenv("KIT_MIRROR", "http://")
    assert "an address on the way is not valid" in refused("http://127.0.0.1:1/file.zip", tmp_path)
    monkeypatch.setenv("KIT_MIRROR", f"{tmp_path}/stick ")
    assert f"KIT_MIRROR is '{tmp_path}/stick', no folder;" in refused("http://x/file.zip", tmp_path)


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_offline_asks_no_server(serve, tmp_path, monkeypatch, value):
    server = serve(good())
    monkeypatch.setenv("KIT_OFFLINE", value)
    assert "KIT_OFFLINE forbids the network: unset it; or" in refused(server.url, tmp_path)
    assert server.ranges == []


@pytest.mark.parametrize("value", ["", "0"])
def test_online_is_what_it_is_otherwise(serve, tmp_path, monkeypatch, value):
    monkeypatch.setenv("KIT_OFFLINE", value)
    download(serve(good()).url, tmp_path)


# ---- several processes, and killed ones ----

SCRIPT = """
import sys
from pathlib import Path
from kit.data import catalog
from kit.data import download as downloads
from kit.data import download as downloads
downloads.download("recording 7-1-1", sys.argv[1], Path(sys.argv[2]), sys.argv[3], 3)
"""


def start(url, folder):
    path = folder / "recordings" / "file.zip"
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, path, SHA256], stderr=subprocess.PIPE, text=True
    )


def test_two_processes_fetch_it_once(serve, tmp_path, record_property):
    def slow(handler):
        handler.head(200, Content_Length=SIZE)
        for begin in range(0, SIZE, TENTH):
            handler.body(CONTENT[begin : begin + TENTH])
            time.sleep(0.1)

    server = serve(slow)
    both = [start(server.url, tmp_path) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert below(tmp_path) == {"file.zip": SIZE}
    assert server.sent == SIZE
    assert list((tmp_path / "recordings").iterdir()) == [tmp_path / "recordings" / "file.zip"]
    assert "waiting for another process that is downloading file.zip" in "".join(errors)
    seen = f"one waits; server sent {server.sent:,} bytes"
    record_property("fault", ("two processes at once", seen, "the right file"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_killed_on_the_way_and_run_again(serve, tmp_path, record_property):
    gate = threading.Event()

    def half(handler):
        handler.head(200, Content_Length=SIZE)
        handler.body(CONTENT[: SIZE // 2])
        gate.wait(20)

    server, part = serve(half, good()), tmp_path / "recordings" / "file.zip.part"
    process = start(server.url, tmp_path)
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > SIZE // 2 - 2**17):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    gate.set()
    kept = part.stat().st_size
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={kept}-"
    assert below(tmp_path) == {"file.zip": SIZE}
    record_property("fault", ("kill -9 while downloading, run again",
                              f"server sent the missing {SIZE - kept:,} bytes",
                              "the right file"))  # fmt: skip


# ---- a recording, from the catalog to the batch ----


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The content of a tiny recording, which stands in for a published one of the catalog."""
    content = tiny.write(tmp_path / "elsewhere").read_bytes()
    entry = dataclasses.replace(
        catalog.RECORDINGS["27204-5-13"], sha256=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setitem(catalog.RECORDINGS, "27204-5-13", entry)
    return content


def test_a_recording_is_downloaded_once(published, serve, tmp_path, monkeypatch, capfd):
    server = serve(good(published))
    monkeypatch.setattr(catalog, "HOST", server.url.rpartition("/")[0] + "/")
    data = kit.load("sensorium+", folder=tmp_path / "data")
    assert list(data) == ["27204-5-13"]
    path = catalog.fetch("27204-5-13", tmp_path / "data")
    assert path == tmp_path / "data" / "recordings" / catalog.RECORDINGS["27204-5-13"].file
    assert path.read_bytes() == published
    kit.load("27204-5-13", folder=tmp_path / "data")
    assert server.ranges == [None]
    assert "%" not in "".join(capfd.readouterr())  # no progress bar in CI


def test_a_file_put_there_by_hand_is_taken(published, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_OFFLINE", "1")
    place = tmp_path / "data" / "recordings" / catalog.RECORDINGS["27204-5-13"].file
    place.parent.mkdir(parents=True)
    place.write_bytes(published)
    assert list(kit.load("sensorium+", folder=tmp_path / "data")) == ["27204-5-13"]


def test_a_progress_bar_counts_bytes(serve, tmp_path, monkeypatch, capfd):
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


def test_the_seven_are_asked_for_by_their_published_names(serve, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(catalog, "download", lambda *given: asked.append(given))
    for mouse in catalog.NAMES["all"]:
        catalog.fetch(mouse, tmp_path)
    assert [url.rpartition("/")[2] for _, url, *_ in asked] == [
        f"static{mouse}-GrayImageNet-94c6ff995dac583098847cfecd43e7b6.zip"
        for mouse in catalog.NAMES["all"]
    ]
    assert all(url.startswith("https://") for _, url, *_ in asked)
    assert os.environ["KIT_OFFLINE"] == "0"
    assert all(isinstance(path, Path) for _, _, path, *_ in asked)
