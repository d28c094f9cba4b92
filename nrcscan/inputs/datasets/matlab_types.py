"""The types of numbers in a MATLAB file, which scipy takes on trust: it crashes on unknown ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from nrcscan.files import open_safely

Order = Literal["little", "big"]

_HEADER = 128
"""Bytes before the first variable; the last two tell the order of bytes."""

_BEGIN = 1 << 16
"""Bytes of a variable in which its flags, shape, name, and the type of its numbers are told."""

_COMPRESSED = 15
_STORED = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
"""Types in which numbers are stored: signed and unsigned whole ones, single and double."""

_CLASSES = range(6, 16)
"""Of arrays of numbers; others are of text, sparse, or made of further arrays."""

_COMPLEX = 0x0800


def complex_arrays(path: Path) -> set[str]:
    """Return the names of a file's arrays of complex numbers, once each has a type that there is.

    Raises:
        ValueError: numbers are stored as of a type that there is none of.
        zlib.error: what is compressed is damaged.
    """
    found = set()
    for begin, order in _begins(path):
        parts = _parts(begin, order)
        (_, told), _, (_, name) = next(parts), next(parts), next(parts)
        flags = int.from_bytes(told[:4], order)
        if flags & 0xFF not in _CLASSES:
            continue
        kind, _ = next(parts)
        if kind not in _STORED:
            raise ValueError(f"{name.decode('latin-1')!r} has numbers of an unknown type, {kind}")
        if flags & _COMPLEX:
            found.add(name.decode("latin-1"))
    return found


def _begins(path: Path) -> Iterator[tuple[bytes, Order]]:
    """Yield how each variable begins, unpacked and without its own tag, and the order of bytes."""
    with open_safely.opened(path) as file:
        order: Order = "big" if file.read(_HEADER)[-2:] == b"MI" else "little"
        while len(tag := file.read(8)) == 8:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            begin, following = file.read(min(size, _BEGIN)), file.tell() + max(size - _BEGIN, 0)
            if kind == _COMPRESSED:
                begin = zlib.decompressobj().decompress(begin, _BEGIN)[8:]
            yield begin, order
            file.seek(following)


def _parts(begin: bytes, order: Order) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of a variable's parts: flags, shape, name, and numbers.

    Raises:
        ValueError: they end before one that is asked for.
    """
    at = 0
    while True:
        kind, size = (int.from_bytes(begin[i : i + 4], order) for i in (at, at + 4))
        start, stop = at + 8, at + 8 + size
        following = stop + -size % 8
        if kind >> 16:  # of four bytes at most, which are beside their type
            kind, size, start, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            stop = start + size
        if start > len(begin):
            raise ValueError("a variable ends before its numbers begin")
        yield kind, begin[start:stop]
        at = following
