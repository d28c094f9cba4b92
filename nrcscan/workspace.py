"""Memory that a thread uses for one block after the other, because new memory is slow at first."""

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


workspace = _Workspace()
