"""Lines of a text file, as it is or compressed; unpacked as they are read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.inputs.datasets.batches import damaged

LONGEST_LINE = 1 << 24
"""Characters in a line; nothing longer is a row of a table."""

_UNPACKERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


def is_compressed(path: Path) -> bool:
    """Whether a file is of gzip, bzip2 or xz."""
    return _unpacker(path) is not None


def start_of(path: Path, size: int) -> bytes:
    """Return the first bytes of a file's content, unpacked; fewer where it is damaged."""
    if not is_compressed(path):
        return open_safely.head(path, size)
    try:
        with _opened(path) as file:
            return file.read(size)
    except _ERRORS:
        return b""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not empty, with their numbers from 1 on.

    Raises:
        InputError: the file is no text in UTF-8, or no table.
    """
    number = 0
    try:
        with (
            _opened(path) as file,
            io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text,
        ):
            while line := text.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise InputError(
                        f"{path}: line {number} has more than {LONGEST_LINE} characters; write a"
                        " table with one line a row"
                    )
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (after line {number}); save it as UTF-8"
        ) from error
    except _ERRORS as error:
        raise damaged(path, error) from error


def _unpacker(path: Path) -> Callable[[BinaryIO], Any] | None:
    start = open_safely.head(path, 6)
    return next((found for magic, found in _UNPACKERS.items() if start.startswith(magic)), None)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    unpacker = _unpacker(path)
    with open_safely.opened(path) as file:
        if unpacker is None:
            yield file
        else:
            with unpacker(file) as unpacked:
                yield unpacked
