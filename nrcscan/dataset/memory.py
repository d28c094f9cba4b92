"""Data in memory, and whatever yields batches: arrays, torch Datasets, loaders, generators."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.dataset.base import (
    Batch,
    Dataset,
    as_array,
    require_equal_lengths,
    require_numbers,
)
from nrcscan.errors import InputError, reason


def from_arrays(x: Any, y: Any, *, name: str, provenance: dict[str, Any] | None) -> Dataset:
    """Open a pair of arrays, memory maps or tensors."""
    inputs, targets = as_array(x, name), as_array(y, name)
    for array, what in ((inputs, "inputs"), (targets, "targets")):
        require_numbers(array.dtype, f"{name}: the {what}")
        if array.ndim == 0:
            raise InputError(f"{name}: the {what} are a single number, not an array of samples")
    require_equal_lengths(name, inputs.shape, targets.shape)

    def stream(batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(inputs), batch_size):
            rows = slice(start, start + batch_size)
            yield np.asarray(inputs[rows]), np.asarray(targets[rows])

    if provenance is None:
        provenance = {"path": None, "sha256": _content_sha256(inputs, targets)}
    return Dataset(name=name, n_samples=len(inputs), provenance=provenance, stream=stream)


def _content_sha256(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for start in range(0, len(array), 1024):
            digest.update(np.ascontiguousarray(array[start : start + 1024]).data)
    return digest.hexdigest()


def from_torch_dataset(data: Any) -> Dataset:
    """Open a torch Dataset of (inputs, targets) samples."""
    from torch.utils.data import DataLoader

    def stream(batch_size: int) -> Iterator[Batch]:
        return _pairs(DataLoader(data, batch_size=batch_size, shuffle=False), name)

    name = type(data).__name__
    provenance = {"path": None, "sha256": None}
    return Dataset(name=name, n_samples=len(data), provenance=provenance, stream=stream)


def from_batches(data: Iterable[Any]) -> Dataset:
    """Open an iterable of (inputs, targets) batches."""
    provenance = {"path": None, "sha256": None}
    name = type(data).__name__
    return Dataset(
        name=name,
        n_samples=None,
        provenance=provenance,
        stream=lambda _: _pairs(data, name),
        once=isinstance(data, Iterator),
    )


def _pairs(batches: Iterable[Any], name: str) -> Iterator[Batch]:
    for batch in _guarded(batches, name):
        if not isinstance(batch, Sequence) or len(batch) != 2:
            raise InputError(
                f"{name}: a batch is a {type(batch).__name__}; each must be a pair of inputs"
                " and targets"
            )
        x, y = as_array(batch[0], name), as_array(batch[1], name)
        # Copies: they are still in use when whoever yields them may fill the same arrays again.
        yield np.array(x), np.array(y)


def _guarded(batches: Iterable[Any], name: str) -> Iterator[Any]:
    """Yield what the user's own code yields, naming it when it fails."""
    try:
        yield from batches
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InputError(
            f"{name}: reading it failed: {type(error).__name__}: {reason(error)}"
        ) from error
