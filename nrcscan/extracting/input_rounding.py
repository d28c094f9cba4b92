"""What the precision that a network runs in does to its inputs: rounding, beside their spread."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from nrcscan.inputs.arrays import Inputs, parts
from nrcscan.wording import some

WORTH_TELLING = 0.01
"""Rounding of an input, root mean square over its standard deviation, from which it is told."""


class InputRounding:
    """Adds up how far inputs are rounded, and how far they spread.

    Args:
        dtype: what the network runs in, and inputs are rounded to.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._sums: dict[str, _ColumnSums] = {}

    def update(self, x: Inputs) -> None:
        """Take in the inputs of a batch: those in a wider floating point than the network's."""
        for name, part in parts(x).items():
            if part.dtype.kind == "f" and part.dtype.itemsize > self._dtype.itemsize and len(part):
                rows = part.reshape(len(part), -1).astype(np.float64)
                self._add(name, _ColumnSums.of(rows, _rounded(rows, self._dtype)))

    def merge(self, other: InputRounding) -> None:
        """Take in what another has seen."""
        for name, sums in other._sums.items():
            self._add(name, sums)

    def _add(self, name: str, sums: _ColumnSums) -> None:
        known = self._sums.get(name)
        self._sums[name] = sums if known is None else known.with_(sums)

    def told(self) -> str | None:
        """Return what is lost, in words; None if it is not worth telling."""
        for name, sums in self._sums.items():
            lost = sums.lost()
            columns = np.flatnonzero(lost > WORTH_TELLING)
            if not len(columns):
                continue
            worst = int(columns[np.argmax(lost[columns])])
            where = (
                ""
                if lost.size == 1
                else f" in column{'s'[: len(columns) > 1]} {some(list(columns))}"
            )
            used = str(self._dtype).removeprefix("torch.")
            return (
                f"{used} does not hold {name}{where}: it rounds them by {lost[worst]:.2g} of their"
                f" standard deviation (values near {sums.mean[worst]:.6g}); --dtype float64 keeps"
                " them"
            )
        return None


class _ColumnSums:
    """Of every column of inputs: how many, their mean, squares about it, and squared roundings."""

    def __init__(
        self,
        n: int,
        mean: NDArray[np.float64],
        squares: NDArray[np.float64],
        roundings: NDArray[np.float64],
    ) -> None:
        self.n, self.mean, self.squares, self.roundings = n, mean, squares, roundings

    @classmethod
    def of(cls, rows: NDArray[np.float64], rounded: NDArray[np.float64]) -> _ColumnSums:
        """Return those of some rows."""
        mean = rows.mean(axis=0)
        return cls(
            len(rows), mean, ((rows - mean) ** 2).sum(axis=0), ((rows - rounded) ** 2).sum(axis=0)
        )

    def with_(self, other: _ColumnSums) -> _ColumnSums:
        """Return those of these rows and others."""
        n, apart = self.n + other.n, other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * (self.n * other.n / n)
        mean = self.mean + apart * (other.n / n)
        return _ColumnSums(n, mean, squares, self.roundings + other.roundings)

    def lost(self) -> NDArray[np.float64]:
        """Return the rounding over the spread; 0 for what never varies."""
        varies = self.squares > 0
        ratio = np.divide(self.roundings, self.squares, out=np.zeros_like(self.mean), where=varies)
        return np.asarray(np.sqrt(ratio))


def _rounded(rows: NDArray[np.float64], dtype: torch.dtype) -> NDArray[np.float64]:
    return np.asarray(torch.from_numpy(rows).to(dtype).double().numpy())


PARTS_OF_ROUNDING = (InputRounding, _ColumnSums)
"""What a saved one is made of."""
