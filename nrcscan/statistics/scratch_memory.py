"""Memory that is used for one block or batch after the other: new memory is slow at first touch."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LARGE = 1 << 24
"""Bytes from which a thread does not hold on to an array for its next block."""


class _Workspace(threading.local):
    """Arrays of a thread's own, by name."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of any content; the next one of this name may take its memory."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > _LARGE:
            return np.empty(shape, dtype)
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = np.empty(size, np.uint8)
        return kept[:size].view(dtype).reshape(shape)

    def own(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return the array of this name for the caller to keep: the next one has other memory."""
        kept = self._kept.get(name)
        if kept is None or len(kept) != array.nbytes:
            return array.copy()
        del self._kept[name]
        return array


workspace = _Workspace()


def hold_on_to_memory() -> None:
    """Have the allocator keep what a pass frees for its next batch, rather than hand it back.

    glibc takes its measure for that, up to 32 MiB, from the largest array that was ever freed.
    """
    np.empty(31 << 20, np.uint8)
