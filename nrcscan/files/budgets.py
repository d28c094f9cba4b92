"""How much memory what a file claims may take, checked before any of it is taken.

A header of a few bytes can claim any shape, and a few bytes can be unpacked to any number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

AT_ONCE = 1 << 30
"""Bytes that are read at once: a batch of samples, a chunk of a dataset."""

UNPACKED = 1 << 28
"""Bytes that may be unpacked from however few; what is more must be in the file in earnest."""

RATIO = 100
"""How many times as large what is unpacked may be then."""


def size_of(shape: Sequence[int], itemsize: int) -> int:
    """Return how many bytes an array takes."""
    return math.prod(shape) * itemsize


def require_at_once(size: int, what: str) -> None:
    """Refuse to read so much at once.

    Raises:
        ValueError: it is more than `AT_ONCE`.
    """
    if size > AT_ONCE:
        raise ValueError(f"{what} takes {told(size)}, and {told(AT_ONCE)} are read at once at most")


def require_earnest(size: int, stored: int, what: str) -> None:
    """Refuse to hold what would be unpacked to far more than the file has, or is not in it.

    Args:
        size: claimed, in bytes.
        stored: in the file, in bytes.
        what: to call it in messages.

    Raises:
        ValueError: the file claims more than can have been meant.
    """
    if size > max(UNPACKED, RATIO * stored):
        raise ValueError(f"{what} claims {told(size)}, and the file holds {told(stored)} of it")


def told(size: int) -> str:
    """Return a number of bytes in words.

    >>> told(1 << 30), told(4_000_000), told(12)
    ('1.1 GB', '4.0 MB', '12 bytes')
    """
    for unit, of in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {of}"
    return f"{size} bytes"
