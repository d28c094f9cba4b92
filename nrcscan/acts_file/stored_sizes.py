"""How much of what a dataset of HDF5 claims to hold is in the file."""

from __future__ import annotations

import h5py

from nrcscan.files import budgets

DEFLATED = 1100
"""How many times as large gzip can make what it unpacks, and a little."""


def require_streamed(dataset: h5py.Dataset) -> None:
    """Refuse to read a dataset piece by piece whose chunks, or whole, cannot have been meant.

    Raises:
        ValueError: a chunk is more than is read at once, or most of it was never written.
    """
    what, itemsize = dataset.name or "a dataset", dataset.dtype.itemsize
    if dataset.chunks:
        budgets.require_at_once(budgets.size_of(dataset.chunks, itemsize), f"a chunk of {what}")
    size = budgets.size_of(dataset.shape or (), itemsize)
    stored = dataset.id.get_storage_size()
    budgets.require_earnest(size, DEFLATED // budgets.RATIO * stored, what)


def require_held(dataset: h5py.Dataset, most: int | None = None) -> None:
    """Refuse to read a dataset whole that claims more than is in the file.

    Args:
        dataset: that is asked for.
        most: bytes that such a one has.

    Raises:
        ValueError: it was never written, would be unpacked to far more than the file has, or is
            larger than any such.
    """
    what = dataset.name or "a dataset"
    size = budgets.size_of(dataset.shape or (), dataset.dtype.itemsize)
    budgets.require_earnest(size, dataset.id.get_storage_size(), what)
    if most is not None and size > most:
        raise ValueError(f"{what} takes {budgets.told(size)}, more than {budgets.told(most)}")
    require_streamed(dataset)
