"""Attributes of HDF5 that are numbers or text of a fixed length, which alone are safe to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from nrcscan.acts_file.checksums import Checksums
from nrcscan.files.budgets import size_of

LARGEST = 1 << 16
"""Bytes of an attribute; HDF5 itself keeps larger ones elsewhere."""


class PlainAttributes(Mapping[str, Any]):
    """The attributes of a group or file.

    One is looked at before it is read: HDF5 can crash on variable-length text that is damaged.

    Args:
        of: the group or file.
        checksums: what they must be.
    """

    def __init__(self, of: h5py.Group, checksums: Checksums | None = None) -> None:
        self._held = of.attrs
        self._checksums = checksums or Checksums()
        self._group = (of.name or "").strip("/")

    def __getitem__(self, name: str) -> Any:
        """Return the value of an attribute.

        Raises:
            KeyError: there is none of this name.
            TypeError: it is not of numbers or text of a fixed length.
            ValueError: it is not what was written, or is missing.
        """
        try:
            found = self._held.get_id(name)
        except KeyError:
            self._checksums.require_attribute(self._group, name, None)
            raise
        size = size_of(found.shape or (), found.dtype.itemsize)
        if found.shape is None or found.dtype.hasobject or found.dtype.subdtype or size > LARGEST:
            raise TypeError(f"{name} is no number and no text of a fixed length")
        values = np.zeros(found.shape, found.dtype)
        found.read(values)  # rather than through h5py's own, which opens it once more
        value = values[()]
        self._checksums.require_attribute(self._group, name, value)
        return value

    def plain(self, name: str) -> Any:
        """Return the value of an attribute; None if there is none, or none that is read."""
        try:
            return self[name]
        except (KeyError, TypeError):
            return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held
