"""What the statistics and attributes of a file were when it was finished, by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

SMALL = 1 << 14
"""Bytes that are sooner copied than taken apart."""


class Checksums:
    """What a file says its content is; of a file of before, nothing.

    Args:
        datasets: name → SHA-256; None for rows of samples, whose pieces HDF5 has checksums of.
        attributes: group → attribute → SHA-256.
    """

    def __init__(
        self,
        datasets: Mapping[str, str | None] | None = None,
        attributes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._datasets = datasets
        self._attributes = attributes
        self._found: set[str] = set()

    def require_all(self, there: Collection[str]) -> None:
        """Refuse a file in which a dataset is missing.

        Args:
            there: the names of those that it has.

        Raises:
            ValueError: one is not among them.
        """
        for name in self._datasets or ():
            if name not in there:
                raise ValueError(f"{name} is missing")

    def require(self, name: str, values: np.ndarray[Any, Any]) -> None:
        """Refuse values of a dataset that are not those that were written, the first time.

        Raises:
            ValueError: they are others.
        """
        if self._datasets is None or name in self._found:
            return
        if self._datasets.get(name) != sha256_of(name, values):
            raise ValueError(f"{name} is not what was written: its SHA-256 differs")
        self._found.add(name)

    def require_attribute(self, group: str, name: str, value: object) -> None:
        """Refuse an attribute that is not the one that was written.

        Args:
            group: that it is of, "" the whole file.
            name: of the attribute.
            value: None where there is no such attribute.

        Raises:
            ValueError: it is another, or missing.
        """
        if self._attributes is None:
            return
        found = None if value is None else sha256_of(f"{group}@{name}", value)
        if self._attributes.get(group, {}).get(name) != found:
            told = f"attribute {name} of {group or 'the file'}"
            raise ValueError(
                f"{told} is missing"
                if value is None
                else f"{told} is not what was written: its SHA-256 differs"
            )

    @property
    def of_file(self) -> Mapping[str, str]:
        """The attributes of the whole file that there must be, and their SHA-256."""
        return (self._attributes or {}).get("", {})


def sha256_of(name: str, values: object) -> str:
    """Return the SHA-256, in hex, of values with their name, dtype and shape.

    >>> sha256_of("targets/mean", np.array([1.0, 2.0]))[:16]
    '6ea65028e9d897a6'
    """
    array = np.asarray(values)
    about = f"{name}\0{array.dtype.str}\0{[*array.shape]}\0".encode()
    if array.nbytes < SMALL:
        return hashlib.sha256(about + array.tobytes()).hexdigest()
    found = hashlib.sha256(about)
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
