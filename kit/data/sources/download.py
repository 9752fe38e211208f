"""Resumable downloads."""

import os
import shutil
import sys
import time
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from kit.checks import one_line
from kit.files import file_sha256, progress

TRIES = 3  # retries of a request, and answers in a row that bring nothing new
PAUSE = 1  # seconds before the next request, doubled with each failure
TIMEOUT = (10, 30)  # seconds to connect, and to wait for the next byte
SLOWEST = (60, 64_000)  # seconds, and the bytes that must come in them
RETRIED = (408, 429, *range(500, 600))  # status codes after which the same request may succeed


def download(what: str, url: str, path: Path, sha256: str, megabytes: float) -> None:
    """Download a file unless it exists. An interrupted download goes on where it stopped.

    The environment variable KIT_MIRROR, a URL or a folder with a file of the same name, replaces
    the host of `url`. KIT_OFFLINE forbids the network. Raises ConnectionError, with what to do.

    what: the file, for the error message. megabytes: its size, rounded.
    """
    if os.path.exists(path):  # downloaded and checked, or put there by the user
        return
    part = path.with_name(f"{path.name}.part")
    try:
        source = _source(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if not path.exists():  # another process may have downloaded it meanwhile
                _fetch(source, part, sha256, megabytes)
                os.replace(part, path)
    except (OSError, ValueError) as problem:
        kept = f"{_size(part) / 1e6:.1f} MB are kept in {part}; " if _size(part) else ""
        raise ConnectionError(
            f"{what} could not be downloaded: {_reason(problem)}; {kept}try again, or download "
            f"{url} ({megabytes} MB) by other means and put it at {path}; "
            'kit.load("sample+") and kit.pretrained("sample+-cnn") work without it'
        ) from problem


def _reason(problem):
    if isinstance(problem, requests.RequestException | ValueError):
        return (
            "the server, or one that it redirects to, cannot be reached; behind a proxy "
            f"set HTTPS_PROXY and REQUESTS_CA_BUNDLE ({type(problem).__name__})"
        )
    return getattr(problem, "strerror", None) or problem


@contextmanager
def _locked(path):
    """Wait until no other process is downloading `path`, and make others wait for the block."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for another process that is downloading {path.name}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def _fetch(source, part, sha256, megabytes):
    """Complete `part` from a URL or a path. Raises ConnectionError if its SHA-256 is wrong then."""
    needed = 2 * megabytes - _size(part) / 1e6  # the packed copy is of about equal size
    free = shutil.disk_usage(part.parent).free / 1e6
    if free < needed:
        raise ConnectionError(
            f"{needed:.0f} MB are needed in {part.parent}, {free:.0f} are free; make room there, "
            "or name another folder in KIT_DATA_DIR"
        )
    if not part.is_file() or part.is_symlink() or part.stat().st_nlink > 1:
        part.unlink(missing_ok=True)  # a link to a file that is not ours to change, or a pipe
    if "://" in source:
        _receive(source, part, sha256, megabytes)
    elif os.path.isfile(source):
        with open(source, "rb") as file:
            _write(iter(partial(file.read, 2**20), b""), part, 0, megabytes)
    else:
        raise ConnectionError(f"KIT_MIRROR names a folder, but there is no file {source}")
    digest = file_sha256(part)
    if digest != sha256:
        raise ConnectionError(
            f"its SHA-256 is {digest}, not {sha256}; if you trust it, rename it to {part.stem}"
        )


def _source(url):
    """Where the file comes from: a URL, or a path if KIT_MIRROR names a folder."""
    mirror = os.environ.get("KIT_MIRROR", "").strip(" '\"")
    if mirror:
        url = f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}"
    if "://" in url and os.environ.get("KIT_OFFLINE", "0") not in ("", "0"):
        raise ConnectionError("KIT_OFFLINE forbids the network: unset it")
    return url if "://" in url else os.path.expanduser(url)


def _receive(url, part, sha256, megabytes):
    """Append to `part` until its SHA-256 is right or a whole file came in one answer."""
    failures = 0
    largest = _size(part)
    with _session() as session:
        while not part.exists() or file_sha256(part) != sha256:
            if failures == TRIES:
                raise ConnectionError(f"the connection was lost {TRIES} times in a row")
            whole = _append(session, url, part, _size(part), megabytes)
            if whole and _size(part) >= (megabytes - 1) * 1e6:  # some servers end early
                return
            failures = 0 if _size(part) >= largest + 2**16 else failures + 1
            largest = max(largest, _size(part))
            time.sleep(PAUSE * 2**failures)


def _session():
    """A session that retries requests that fail before the body of the answer."""
    retry = Retry(
        TRIES,
        other=0,
        status_forcelist=RETRIED,
        backoff_factor=PAUSE,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _append(session, url, part, start, megabytes):
    """Ask for the bytes from `start` on and write them. Returns whether all came in one answer."""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        status = answer.status_code
        span = answer.headers.get("Content-Range", "").lower()
        resumed = span.startswith(f"bytes {start}-") and "Content-Encoding" not in answer.headers
        if status == 200:
            start = 0
        elif start and status in (206, 416) and not resumed:
            if span.startswith("bytes */"):  # the server has no more: `part` is of another file
                part.unlink()
            return _append(session, url, part, 0, megabytes)
        elif not start or status != 206:
            raise ConnectionError(f"the server answered {status} {one_line(answer.reason)}")
        try:
            _write(_received(answer), part, start, megabytes)
        except HTTPError:  # cut off: what came is kept
            return False
    return start == 0


def _received(answer):
    """The bytes of an answer, some at a time. Raises ConnectionError if hardly any come."""
    yield answer.raw.read(40, decode_content=True)  # enough to see if it is the file
    seconds, least = SLOWEST
    since, received = time.monotonic(), 0
    while block := answer.raw.read1(2**16, decode_content=True):  # what has come, be it a byte
        yield block
        received += len(block)
        if time.monotonic() - since > seconds:
            if received < least:
                raise ConnectionError(f"the server sent less than {least} bytes in {seconds} s")
            since = time.monotonic()
            received = 0


def _write(blocks, part, start, megabytes):
    """Write `blocks` to `part` from byte `start` on. If they are cut off, later bytes stay."""
    first = next(blocks, b"")
    if start == 0 and not first.startswith(b"PK\x03\x04"):  # zips, and what torch saves
        raise ConnectionError(f"what came is not the file: it begins with {first[:40]!r}")
    bar = progress(
        desc="downloading", total=megabytes * 1e6, initial=start, unit="B", unit_scale=True
    )
    part.touch()
    with part.open("r+b") as file, bar:
        file.seek(start)
        for block in chain([first], blocks):
            file.write(block)
            bar.update(len(block))
            if file.tell() > (megabytes + 1) * 2**20:  # the answer may be endless
                break
        file.truncate()


def _size(path):
    return path.stat().st_size if path.is_file() else 0
