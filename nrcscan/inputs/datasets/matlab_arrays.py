"""The arrays of MATLAB's files before version 7.3, which are no HDF5; read whole, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.inputs.datasets.rows import Rows

MATLAB_5 = b"MATLAB 5.0 MAT-file"
"""How such a file begins."""

_NUMBERS = {
    "double": "f8", "single": "f4", "logical": "?",
    "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8",
}  # fmt: skip
"""MATLAB's classes of numbers."""


@contextmanager
def matlab(path: Path) -> Iterator[Mapping[str, Rows]]:
    """Open the arrays of a MATLAB file; one is read when rows of it are asked for, and kept.

    Cells, structures and objects are never read.
    """
    from scipy import io

    held: dict[str, NDArray[Any]] = {}

    def rows(name: str, shape: tuple[int, ...], kind: str) -> Rows:
        def read(start: int, stop: int) -> NDArray[Any]:
            """Read rows.

            Raises:
                InputError: the variable holds text, cells, a struct or a sparse matrix.
            """
            if kind not in _NUMBERS:
                raise InputError(
                    f"{path}: {name!r}: of class {kind}; save it as a full array of numbers"
                )
            if name not in held:
                content = io.loadmat(str(path), variable_names=[name], appendmat=False)
                held[name] = np.asarray(content[name])
            return held[name][start:stop]

        dtype = np.dtype(_NUMBERS[kind]) if kind in _NUMBERS else None
        return Rows(tuple(shape), dtype, read)

    listed = io.whosmat(str(path), appendmat=False)
    yield {name: rows(name, shape, kind) for name, shape, kind in listed}
