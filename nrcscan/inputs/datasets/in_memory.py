"""Data in memory, and whatever yields batches: arrays, torch Datasets, loaders, generators."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.inputs.arrays import Inputs, each, parts
from nrcscan.inputs.datasets.batches import (
    Batch,
    Dataset,
    as_array,
    axes_of,
    require_equal_lengths,
    require_numbers,
)
from nrcscan.inputs.usual_names import Y_KEYS
from nrcscan.wording import listed, reason


def from_arrays(x: Any, y: Any, *, name: str, provenance: dict[str, Any] | None) -> Dataset:
    """Open a pair of arrays, memory maps or tensors.

    Raises:
        InputError: an array has no axis of samples, or they are not the same number.
    """
    inputs, targets = as_inputs(x, name), as_array(y, name)
    for what, array in {**parts(inputs), "the targets": targets}.items():
        require_numbers(array.dtype, f"{name}: {what}")
        if array.ndim == 0:
            raise InputError(
                f"{name}: {what} are a single number, not an array of samples; give arrays"
            )
        require_equal_lengths(name, array.shape, targets.shape)

    def stream(batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(targets), batch_size):
            rows = slice(start, start + batch_size)
            taken = each(inputs, lambda part, rows=rows: np.asarray(part[rows]))  # type: ignore[misc]
            yield taken, np.asarray(targets[rows])

    if provenance is None:
        provenance = {"path": None, "sha256": _content_sha256(*parts(inputs).values(), targets)}
    axes = axes_of(targets.shape)
    return Dataset(name, len(targets), provenance, stream, target_axes=axes)


def _content_sha256(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of the hashes of all pieces, which are made side by side."""

    def hashed(piece: NDArray[Any]) -> bytes:
        return hashlib.sha256(np.ascontiguousarray(piece).data).digest()

    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            pieces = (array[start : start + 4096] for start in range(0, len(array), 4096))
            for part in pool.map(hashed, pieces):
                digest.update(part)
    return digest.hexdigest()


def from_torch_dataset(data: Any) -> Dataset:
    """Open a torch Dataset of (inputs, targets) samples, one by index or one to iterate."""
    from torch.utils.data import DataLoader

    def stream(batch_size: int) -> Iterator[Batch]:
        return _pairs(DataLoader(data, batch_size=batch_size, shuffle=False), name)

    name = type(data).__name__
    provenance = {"path": None, "sha256": None}
    n_samples = len(data) if hasattr(data, "__len__") else None
    return Dataset(name=name, n_samples=n_samples, provenance=provenance, stream=stream)


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
        x, y = _split(batch, name)
        targets = as_array(y, name)
        if isinstance(x, list) and _are_inputs(x, len(targets)):
            x = tuple(x)  # what a DataLoader makes of samples with a tuple of inputs
        # Copies: they are still in use when whoever yields them may fill the same arrays again.
        yield each(as_inputs(x, name), np.array), np.array(targets)


def _split(batch: Any, name: str) -> tuple[Any, Any]:
    """Return inputs and targets of a batch: a pair, or a dict with the targets among its keys.

    Raises:
        InputError: it cannot be told which part of a batch are the targets.
    """
    if isinstance(batch, Mapping):
        found = [key for key in batch if key in Y_KEYS]
        if len(found) != 1 or len(batch) < 2:
            raise InputError(
                f"{name}: a batch is a dict of {listed(batch)}; give a pair of inputs and targets,"
                " or call the targets 'labels'"
            )
        inputs = {key: value for key, value in batch.items() if key != found[0]}
        return (inputs if len(inputs) > 1 else next(iter(inputs.values()))), batch[found[0]]
    if not isinstance(batch, Sequence) or len(batch) != 2:
        raise InputError(
            f"{name}: a batch is a {type(batch).__name__}; give a pair of inputs and targets"
        )
    return batch[0], batch[1]


def _are_inputs(x: list[Any], n: int) -> bool:
    """Whether a list is of several inputs for n samples, rather than of the samples."""
    lengths = [len(part) if getattr(part, "ndim", 0) else None for part in x]
    return len(x) != n and all(length == n for length in lengths)


def as_inputs(x: Any, name: str) -> Inputs:
    """Return inputs as arrays: one, or several in a dict or tuple.

    Raises:
        InputError: the dict or tuple of inputs is empty.
    """
    if isinstance(x, Mapping):
        x = {str(key): value for key, value in x.items()}
    if isinstance(x, dict | tuple) and not x:
        raise InputError(f"{name}: a sample has no inputs; give each some")
    inputs: Inputs = each(x, lambda part: as_array(part, name))
    return inputs


def _guarded(batches: Iterable[Any], name: str) -> Iterator[Any]:
    """Yield what the user's own code yields, naming it when it fails.

    Raises:
        InputError: the code that makes the samples has failed.
    """
    try:
        yield from batches
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InputError(
            f"{name}: reading it failed: {type(error).__name__}: {reason(error)};"
            " mend the code that makes it"
        ) from error
