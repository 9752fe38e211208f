"""Resumable downloads."""

import os
import re
import shutil
import sys
import time
from contextlib import contextmanager
from http import HTTPStatus
from itertools import chain
from pathlib import Path

import requests
from filelock import FileLock, Timeout

from kit.files import file_sha256, progress

TRIES = 3           # in a row without a new byte, then a download is given up
PAUSE = 1           # seconds before the next try, twice as long after each in vain
TIMEOUT = (10, 30)  # seconds to connect, and to wait for the next byte


class WrongHash(ValueError):
    """What came is not what was promised."""


def download(what, url, path, sha256, megabytes, instead='kit.load("sample+")'):
    """Download a file that is not there yet. What has come stays in `path`.part for the next call.

    The environment's KIT_MIRROR, a URL or a folder that holds a file of the same name, takes the
    place of `url`; KIT_OFFLINE forbids the network. Raises ConnectionError, with what to do.
    instead: what works without the file, for that sentence.
    """
    if os.path.exists(path):  # it got this name when its hash was right, or by the user's hand
        return
    part = path.with_name(path.name + ".part")
    try:
        source = _source(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not path.exists():  # else another process was first
                check_disk_space(part, megabytes)
                _complete(source, part, path, sha256, megabytes)
    except (OSError, ValueError) as problem:  # OSErrors: those of requests too
        kept = (f"{_size(part) / 1e6:.1f} MB are kept in {part} for the next try; "
                if _size(part) and not isinstance(problem, WrongHash) else "")
        raise ConnectionError(
            f"{what} could not be had: {_reason(problem, part)}; {kept}or download {url} "
            f"({megabytes} MB) by other means and put it at {path}; "
            f"{instead} works without it") from problem


@contextmanager
def locked(path):
    """Wait until no other process is downloading `path`."""
    file = path.with_name(path.name + ".lock")
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for another process that is downloading {path.name}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
    file.unlink(missing_ok=True)


def _source(url):
    """Where a file comes from: a URL, or a path if KIT_MIRROR names a folder."""
    mirror, name = os.environ.get("KIT_MIRROR", "").strip(" '\""), url.rpartition("/")[2]
    if mirror and "://" not in mirror:
        path = Path(os.path.expanduser(mirror)) / name
        if not path.is_file():  # a link that leads nowhere is what git-annex leaves
            what = "a folder without the file " + name if path.parent.is_dir() else "no folder"
            raise ConnectionError(f"KIT_MIRROR is {mirror[:200]!r}, {what}; put the file there, "
                                  "name another folder or URL, or unset it")
        return path
    if os.environ.get("KIT_OFFLINE", "0") not in ("", "0"):
        raise ConnectionError("KIT_OFFLINE forbids the network: unset it")
    return f"{mirror.rstrip('/')}/{name}" if mirror else url


def check_disk_space(part, megabytes):
    """Refuse what would fill the disk: a recording is packed into about its own size again."""
    needed = 2 * megabytes * 1e6 - _size(part)
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise ConnectionError(f"{needed / 1e9:.2f} GB are needed in {part.parent} and "
                              f"{free / 1e9:.2f} GB are free: make room, or name another data "
                              "folder in KIT_DATA_DIR")


def _complete(source, part, path, sha256, megabytes):
    """Bring `part` to its end and, if its hash is right, to its name."""
    if part.is_symlink() or (part.exists() and part.stat().st_nlink > 1):
        part.unlink()  # another name of a file that is not ours to write to
    fill = _copied if isinstance(source, Path) else _received
    for last in (False, True):
        begun = part.exists()
        pieces = begun + fill(source, part, sha256, megabytes)
        found = file_sha256(part)
        if found == sha256:
            os.replace(part, path)
            return
        if last or pieces == 1:
            raise WrongHash(f"its SHA-256 is {found}, expected {sha256}: if you trust what came, "
                            f"rename {part} to {path.name}, else delete it")
        part.unlink()  # the file may have changed between two pieces: once more, from the start


def _copied(source, part, _sha256, megabytes):
    """Fill `part` from a file. Returns 1, the number of pieces."""
    with source.open("rb") as file:
        _write(part, iter(lambda: file.read(2**20), b""), 0, megabytes)
    return 1


RETRIED = (requests.ConnectionError, requests.Timeout, requests.HTTPError,
           requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)


def _received(url, part, sha256, megabytes):
    """Append to `part` until the server has no more. Returns how many answers that took."""
    most, vain, answers = _size(part), 0, 0
    while True:
        try:
            answers += 1
            _append(url, part, megabytes)
            if _size(part) < (megabytes - 1) * 1e6 and file_sha256(part) != sha256:
                raise requests.ConnectionError("it ended early")  # though no length said so
            return answers
        except RETRIED as problem:
            vain = 0 if _size(part) >= most + 2**16 else vain + 1
            status = getattr(problem.response, "status_code", 500)
            hopeless = status < 500 and status not in (408, 429)
            if vain == TRIES or hopeless or isinstance(problem, requests.exceptions.SSLError):
                raise
            most = max(most, _size(part))
            time.sleep(PAUSE * 2**vain)


def _append(url, part, megabytes, resume=True):
    """Ask once for what `part` lacks, and write what comes; it may be the file from its start."""
    start = _size(part) if resume else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        status, span = answer.status_code, answer.headers.get("Content-Range", "")
        if start and status == 416 and span == f"bytes */{start}":
            return  # all of it was there already
        if start and (status == 416 or (status == 206 and (
                not re.match(rf"bytes {start}-\d+/", span, re.IGNORECASE)
                or answer.headers.get("Content-Encoding", "identity") != "identity"))):
            # the server has a shorter file, or answers what was not asked
            return _append(url, part, megabytes, resume=False)
        if status != 200 and not (start and status == 206):
            answer.raise_for_status()
            raise requests.HTTPError(response=answer)
        # small blocks: one that is cut off is lost
        _write(part, answer.iter_content(2**13), start if status == 206 else 0, megabytes)


def _write(part, blocks, start, megabytes):
    """Write blocks of bytes to `part` from `start` on, unless they are no such file at all.

    From 0, they take the place of what was there only if all of them come, or more than that was.
    """
    first = next(blocks, b"")
    if not start and not first.startswith(b"PK\x03\x04"):  # zips, and what torch saves
        what = ("a git-annex pointer" if b"annex/objects" in first[:300] else
                "a web page" if b"<" in first[:10] else "something else" if first else "nothing")
        raise ConnectionError(f"{what} came instead of the file")
    target = part
    if not start and part.exists():
        target = part.with_name(part.name + ".new")
        target.unlink(missing_ok=True)  # a leftover, or a link to a file that is not ours
    limit = (megabytes + 1) * 2**20
    try:
        with target.open("ab" if start else "xb") as file, progress(  # x follows no link
                desc="downloading", total=megabytes * 1e6, initial=start, unit="B",
                unit_scale=True) as bar:
            for block in chain([first], blocks):
                file.write(block)
                bar.update(len(block))
                if file.tell() > limit:
                    break
    except BaseException:
        if target != part and _size(target) <= _size(part):
            target.unlink()
        elif target != part:
            os.replace(target, part)
        raise
    if _size(target) > limit:
        target.unlink()
        raise ConnectionError(f"more came than the {megabytes} MB that the file has")
    os.replace(target, part)


def _size(path):
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _reason(problem, part):
    """What went wrong, as a clause."""
    if isinstance(problem, requests.HTTPError):
        status = problem.response.status_code
        known = status in set(HTTPStatus)
        return f"the server answered {status}" + (f" {HTTPStatus(status).phrase}" if known else "")
    if isinstance(problem, WrongHash):
        return str(problem)
    for kind, reason in (
            (requests.TooManyRedirects, "the server redirects in a circle"),
            (requests.exceptions.SSLError, "the server's certificate is not trusted; if a proxy "
             "stands between, set REQUESTS_CA_BUNDLE to the file with its certificate"),
            (requests.exceptions.ProxyError, "the proxy that HTTP_PROXY or HTTPS_PROXY names does "
             "not answer"),
            (requests.exceptions.ContentDecodingError, "what came could not be unpacked"),
            ((requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema), "the address, "
             "or one that it redirects to, does not begin with http:// or https://"),
            ((requests.RequestException, ValueError), "the connection failed, was lost or fell "
             "silent, or an address on the way is not valid")):
        if isinstance(problem, kind):
            return reason
    if getattr(problem, "errno", None) is not None:
        return f"{problem.filename or part}: {problem.strerror.lower()}"
    return str(problem)
