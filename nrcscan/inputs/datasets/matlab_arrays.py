"""The arrays of MATLAB's files before version 7.3, which are no HDF5; read whole, as data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.inputs.datasets.matlab_types import complex_arrays
from nrcscan.inputs.datasets.rows import Rows

MATLAB_5 = b"MATLAB 5.0 MAT-file"
"""How such a file begins."""

_NUMBERS = {
    "double": "f8", "single": "f4", "logical": "?",
    "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8",
}  # fmt: skip
"""MATLAB's classes of numbers."""

_FULL = "save it as a full array of numbers"
_REMEDIES = {"struct": "save the file with -v7.3, and name its fields as 'struct/field'"}


@contextmanager
def matlab(path: Path, only: Collection[str] | None = None) -> Iterator[Mapping[str, Rows]]:
    """Open the arrays of a MATLAB file; one is read when rows of it are asked for, and kept.

    Args:
        path: of the file.
        only: those that are wanted, where all were listed before; the others are listed too.

    Cells, structures and objects are never read.

    Raises:
        InputError: as it is read: what a name stands for is no plain array of numbers.
    """
    from scipy import io

    held: dict[str, NDArray[Any]] = {}

    def rows(name: str, shape: tuple[int, ...], kind: str) -> Rows:
        def whole() -> NDArray[Any]:
            if kind not in _NUMBERS:
                raise InputError(f"{path}: {name!r}: of class {kind}; {_REMEDIES.get(kind, _FULL)}")
            if name not in held:
                content = io.loadmat(str(path), variable_names=[name], appendmat=False)
                held[name] = np.asarray(content[name])
            return held[name]

        def read(start: int, stop: int) -> NDArray[Any]:
            return whole()[start:stop]

        def columns(start: int, stop: int) -> NDArray[Any]:
            return whole().T[start:stop]

        dtype = np.dtype(_NUMBERS[kind]) if kind in _NUMBERS else None
        if name in of_complex:
            dtype = np.dtype(complex)
        return Rows(tuple(shape), dtype, read, columns if len(shape) == 2 else None)

    of_complex = complex_arrays(path)
    listed = io.whosmat(str(path), appendmat=False)
    yield {name: rows(name, shape, kind) for name, shape, kind in listed}
