"""Arrays of an open file as rows that can be read from anywhere: single, joined, side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.files import budgets


@dataclass(frozen=True)
class Rows:
    """One array of an open file.

    Attributes:
        shape: of the whole, samples first.
        dtype: None where the library that reads it tells only with the rows.
        read: rows [start, stop).
        columns: of a matrix of MATLAB, where samples may as well be columns: columns [start, stop),
            each as a row.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    read: Callable[[int, int], NDArray[Any]]
    columns: Callable[[int, int], NDArray[Any]] | None = None

    @property
    def turned(self) -> Rows:
        """The columns as rows."""
        assert self.columns is not None
        return Rows(self.shape[::-1], self.dtype, self.columns, self.read)

    @property
    def is_text(self) -> bool:
        """Whether it holds text, such as names of groups."""
        if self.dtype is None:
            return False
        told: dict[str, Any] = dict(self.dtype.metadata or {})  # what HDF5 has beyond numbers
        return self.dtype.kind in "SU" or told.get("vlen") in (str, bytes)


def require_readable(rows: Rows, batch_size: int, path: Path, what: str = "inputs") -> None:
    """Refuse to read batches that take more memory than any is given, or that never end.

    Args:
        rows: of an open file.
        batch_size: how many are read at a time.
        path: of the file.
        what: they are, for the message.

    Raises:
        InputError: the samples are too large to be read so many at a time, or have no numbers.
    """
    n, *of_each = rows.shape
    size = budgets.size_of(of_each, 8 if rows.dtype is None else rows.dtype.itemsize)
    if n and not size:
        shape = ", ".join(map(str, of_each))
        raise InputError(f"{path}: {what} of shape (N, {shape}); reshape them, to hold numbers")
    if min(n, batch_size) * size > budgets.AT_ONCE:
        raise InputError(
            f"{path}: a sample of shape {tuple(of_each)} takes {budgets.told(size)}, and"
            f" {min(n, batch_size)} at a time more than {budgets.told(budgets.AT_ONCE)}; choose a"
            " smaller --batch-size, or smaller samples"
        )


def first(rows: Rows, n: int) -> Rows:
    """Return the first n rows."""
    return Rows((n, *rows.shape[1:]), rows.dtype, rows.read)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return arrays end to end; they must agree in all axes but the first."""
    if len(parts) == 1:
        return parts[0]
    ends = list(accumulate(part.shape[0] for part in parts))
    known = [part.dtype for part in parts if part.dtype is not None]
    dtype = np.result_type(*known) if len(known) == len(parts) else None

    def read(start: int, stop: int) -> NDArray[Any]:
        pieces, place = [], bisect_right(ends, start)
        while start < stop and place < len(parts):
            begin, until = ends[place] - parts[place].shape[0], min(stop, ends[place])
            pieces.append(parts[place].read(start - begin, until - begin))
            start, place = until, bisect_right(ends, until)
        if not pieces:
            return parts[0].read(0, 0)
        whole = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    return Rows((ends[-1], *parts[0].shape[1:]), dtype, read)


def beside(parts: Sequence[Rows]) -> Rows:
    """Return arrays side by side along the last axis; single numbers are a column."""
    if len(parts) == 1:
        return parts[0]
    shapes = [part.shape if len(part.shape) > 1 else (*part.shape, 1) for part in parts]

    def read(start: int, stop: int) -> NDArray[Any]:
        pieces = [part.read(start, stop) for part in parts]
        return side_by_side(pieces)

    return Rows((*shapes[0][:-1], sum(shape[-1] for shape in shapes)), None, read)


def side_by_side(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return arrays of equal length as one along the last axis; single numbers are a column."""
    if len(arrays) == 1:
        return arrays[0]
    columns = [array[:, None] if array.ndim == 1 else array for array in arrays]
    return np.concatenate(columns, axis=-1)
