"""Zip files of unknown origin: checked before they are read."""

import errno
import io
import lzma
import re
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

from kit.checks import system_words

GET_AGAIN = "download or unpack it again, or get the content of this git-annex or Git LFS pointer"

# raised by Python, zipfile and numpy on damaged, encrypted or hostile bytes
BUILT_IN = (ValueError, TypeError, EOFError, OSError, RuntimeError, SyntaxError, OverflowError)
OF_LIBRARIES = (zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError, tokenize.TokenError)
READ_ERRORS = (*BUILT_IN, MemoryError, *OF_LIBRARIES)


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip. Raises ValueError if it is none, is damaged or was made to do harm."""
    try:
        if not path.is_file():  # a pipe may never end
            raise ValueError
        archive = zipfile.ZipFile(path)
    except READ_ERRORS as problem:
        require_readable(path, problem)
        raise ValueError(f"{path} is not a zip file; {GET_AGAIN}") from None
    for name, count in Counter(map(name_of, archive.infolist())).items():
        if count > 1 or ".." in name.split("/") or re.match(r"/|[A-Za-z]:", name):
            archive.close()
            problem = f"holds {name[:80]!r} twice, or outside its folder"
            raise ValueError(f"{path} {problem}; download it again")
    return archive


def directory_bytes(path: Path) -> bytes:
    """The size of a zip and its central directory: names, sizes and CRC-32 of all members.

    Of any other file, its size and last bytes.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        start = max(0, size - 2**16)
        file.seek(start)
        tail = file.read()
        end = tail.rfind(b"PK\5\6")
        if 0 <= end <= len(tail) - 22:
            (start,) = struct.unpack_from("<I", tail, end + 16)
        if start == 2**32 - 1:  # it is larger than 4 GB
            with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
                start = archive.start_dir
        file.seek(start)
        return size.to_bytes(8, "big") + file.read()


def require_readable(path: Path | str, problem: BaseException) -> None:
    """Raise what the system says of a file, unless the problem is what the file holds."""
    if isinstance(problem, OSError) and problem.errno not in (None, errno.EINVAL, errno.ENOENT):
        words = system_words(problem)
        raise type(problem)(f"{path} cannot be read: {words}; mend that and try again") from None


def name_of(member: zipfile.ZipInfo) -> str:
    """The name of a zip's member, also where a program of Windows wrote it."""
    return member.filename.replace("\\", "/")
