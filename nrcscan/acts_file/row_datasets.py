"""Rows of samples in a file: appended as they come, written a whole chunk at a time."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 20

_PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""How rows are compressed: higher levels take several times as long for a few per cent."""


class RowDatasets:
    """Datasets of a file that grow by rows. What h5py raises is the caller's to translate.

    Args:
        file: that they are in.
        n_samples: how many rows will come, if that is known.
        compress: them.
    """

    def __init__(self, file: h5py.File, n_samples: int | None, *, compress: bool) -> None:
        self._file = file
        self._n_samples = n_samples
        self._packed = _PACKED if compress else {}
        # Kept open to the end, as the writer keeps its own.
        self._datasets: dict[str, h5py.Dataset] = {}
        self._waiting: dict[str, list[NDArray[Any]]] = {}

    @property
    def names(self) -> Collection[str]:
        """Of the datasets that there are rows of."""
        return self._datasets.keys()

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, width) to a dataset, which the first call creates.

        They are written a whole chunk at a time, and must stay as they are until then.
        """
        if name not in self._datasets:
            self._datasets[name] = self._file.create_dataset(
                name,
                shape=(0, rows.shape[1]),
                maxshape=(None, rows.shape[1]),
                chunks=(chunk_rows(rows, self._n_samples), rows.shape[1]),
                dtype=rows.dtype,
                fletcher32=True,
                **self._packed,
            )
            self._waiting[name] = []
        waiting = self._waiting[name]
        waiting.append(rows)
        if sum(map(len, waiting)) >= self._datasets[name].chunks[0]:
            self._write_chunks(name)

    def append_from(self, other: h5py.File) -> None:
        """Append all rows of another file."""
        names: list[str] = []
        other.visititems(lambda name, item: names.append(name) if _holds_rows(item) else None)
        for name in names:
            dataset = other[name]
            for chunk in dataset.iter_chunks():
                self.append(name, dataset[chunk[0]])

    def end(self) -> None:
        """Write the rows that still wait for a whole chunk; none come after them."""
        for name, waiting in self._waiting.items():
            if waiting:
                self._write_chunks(name, all_rows=True)

    def _write_chunks(self, name: str, *, all_rows: bool = False) -> None:
        """Write the whole chunks among the rows that wait, or all of them."""
        dataset, waiting = self._datasets[name], self._waiting[name]
        rows = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        count = len(rows) if all_rows else len(rows) - len(rows) % dataset.chunks[0]
        start = dataset.shape[0]
        dataset.resize(start + count, axis=0)
        dataset[start:] = rows[:count]
        self._waiting[name] = [rows[count:].copy()] if count < len(rows) else []


def chunk_rows(rows: NDArray[Any], total: int | None) -> int:
    """Return how many rows make a chunk of about 1 MiB, the last one of `total` no less full."""
    most = max(1, CHUNK_BYTES // rows[:1].nbytes)
    return most if total is None else math.ceil(total / math.ceil(total / most))


def _holds_rows(item: h5py.Group | h5py.Dataset) -> bool:
    return isinstance(item, h5py.Dataset)
