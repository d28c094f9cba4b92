"""Reads the arrays of a file, once their shapes and values are as they must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.block_datasets import Read
from nrcscan.acts_file.checksums import Checksums
from nrcscan.acts_file.schema import LARGEST_TEXT
from nrcscan.acts_file.self_contained import dataset_at
from nrcscan.acts_file.stored_sizes import require_held, require_streamed
from nrcscan.statistics.moments import Array
from nrcscan.wording import reason

Shape = tuple[int | None, ...]
"""None stands for any number."""


class CheckedArrays:
    """The datasets of an open file.

    Every method raises ValueError where a dataset is not as it must be, and what h5py raises
    where it is missing or damaged.

    Args:
        file: that they are in.
        checksums: what they must be.
    """

    def __init__(self, file: h5py.File, checksums: Checksums) -> None:
        self._file = file
        self._checksums = checksums

    def array(self, name: str, shape: Shape | None) -> Array:
        """Return a dataset in float64."""
        return self.stored(name, shape).astype(np.float64, copy=False)

    def not_negative(self, name: str, shape: Shape) -> Array:
        """Return a dataset in float64 of which no value is negative."""
        values = self.array(name, shape)
        if (values < 0).any():
            raise ValueError(f"{name} has a negative one")
        return values

    def stored(self, name: str, shape: Shape | None) -> NDArray[Any]:
        """Return a dataset in the dtype that it is stored in."""
        dataset = dataset_at(self._file, name)
        if dataset is None:
            raise ValueError(f"{name} is no array")
        if shape is not None and (
            len(dataset.shape) != len(shape)
            or any(w is not None and w != h for w, h in zip(shape, dataset.shape, strict=True))
        ):
            raise ValueError(f"{name} has shape {dataset.shape}, expected {shape}")
        if dataset.dtype.kind != "f":
            raise ValueError(f"{name} has dtype {dataset.dtype}, expected floating point")
        require_held(dataset)
        values = _all_of(dataset, name)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite values")
        if name.endswith("/covariance") and (np.diagonal(values, axis1=-2, axis2=-1) < 0).any():
            raise ValueError(f"{name} has a negative variance")
        self._checksums.require(name, values)
        return values

    def text(self, name: str) -> bytes:
        """Return a dataset that holds the bytes of a text."""
        dataset = dataset_at(self._file, name)
        if dataset is None or dataset.dtype != np.uint8:
            raise ValueError(f"{name} is no text")
        require_held(dataset, most=LARGEST_TEXT)
        values = _all_of(dataset, name)
        self._checksums.require(name, values)
        return values.tobytes()

    def rows(
        self, name: str, shape: tuple[int, int], reading: Callable[[], AbstractContextManager[None]]
    ) -> Iterator[NDArray[Any]]:
        """Yield a dataset of this shape (n, width), piece by piece.

        Args:
            name: of the dataset.
            shape: that it must have.
            reading: entered while something is read, and not while a caller works on it.
        """
        with reading():
            dataset = self._file[name]
            if dataset.shape != shape or dataset.dtype.kind != "f":
                raise ValueError(f"{name} has shape {dataset.shape} and dtype {dataset.dtype}")
            require_streamed(dataset)
            step = (dataset.chunks or dataset.shape)[0]
        for start in range(0, len(dataset), step):
            with reading():
                rows = _part_of(dataset, name, slice(start, start + step))
            yield rows

    def group(self, where: str) -> tuple[Read, Callable[[str], bool]]:
        """Return what reads a dataset of a group, and what says whether it is there."""
        return (
            lambda name, shape: self.array(f"{where}/{name}", shape),
            lambda name: f"{where}/{name}" in self._file,
        )


def _all_of(dataset: h5py.Dataset, name: str) -> NDArray[Any]:
    return _part_of(dataset, name, ())


def _part_of(dataset: h5py.Dataset, name: str, part: slice | tuple[()]) -> NDArray[Any]:
    """Return values of a dataset.

    Raises:
        OSError: they cannot be read, with the name of the dataset.
    """
    try:
        values: NDArray[Any] = dataset[part]
    except (OSError, RuntimeError) as error:
        raise OSError(f"{name}: {reason(error)}") from error
    return values
