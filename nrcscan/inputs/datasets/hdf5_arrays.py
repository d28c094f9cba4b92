"""The arrays of an HDF5 file, by their path in it; MATLAB's turned the right way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.plain_attributes import PlainAttributes
from nrcscan.acts_file.schema import FORMAT
from nrcscan.acts_file.self_contained import datasets_inside
from nrcscan.acts_file.stored_sizes import require_streamed
from nrcscan.errors import InputError
from nrcscan.files import open_safely, sniff
from nrcscan.inputs.datasets.rows import Rows

KEPT_OPEN = 64
"""So many arrays stay open at a time: each keeps up to 1 MB of what it has decompressed."""

MATLAB = b"MATLAB 7.3 MAT-file"
"""How MATLAB's files of version 7.3 begin, before the HDF5 in them."""

_PRIVATE = ("#refs#", "#subsystem#")
"""Groups in which MATLAB keeps what cells and objects refer to."""


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, from its start or behind a block of the user's own."""
    size, place = path.stat().st_size, 0
    with open_safely.opened(path) as file:
        while place + len(sniff.HDF5) <= size:
            file.seek(place)
            if file.read(len(sniff.HDF5)) == sniff.HDF5:
                return True
            place = max(512, place * 2)  # where the format lets it begin
    return False


@contextmanager
def hdf5(path: Path, only: Collection[str] | None = None) -> Iterator[Mapping[str, Rows]]:
    """Open the datasets of an HDF5 file, by their path in it; all, or those that are wanted.

    Raises:
        InputError: the file holds statistics, or refers to data outside itself.
    """
    of_matlab = open_safely.head(path, len(MATLAB)) == MATLAB
    with h5py.File(path, "r") as file:

        @lru_cache(maxsize=KEPT_OPEN)
        def dataset(name: str) -> Any:
            require_streamed(found_at := file[name])
            return found_at

        def rows() -> Iterator[tuple[str, Rows]]:
            inside = [*datasets_inside(file, path, only)]  # all of it before any attribute
            if PlainAttributes(file).plain("format") == FORMAT.encode():
                raise InputError(
                    f"{path}: is a file of nrcscan extract, not data; see nrcscan report"
                )
            for name, item in inside:
                if name.split("/")[0] not in _PRIVATE:
                    turned = of_matlab or "MATLAB_class" in item.attrs
                    yield name, (_turned if turned else _plain)(path, name, item, dataset)

        yield dict(rows())
        dataset.cache_clear()


Open = Callable[[str], Any]
"""Opens a dataset of a file by its name."""


def _plain(path: Path, name: str, item: h5py.Dataset, dataset: Open) -> Rows:
    return Rows(item.shape or (), item.dtype, lambda a, b: np.asarray(dataset(name)[a:b]))


def _turned(path: Path, name: str, item: h5py.Dataset, dataset: Open) -> Rows:
    """Return an array of MATLAB, whose axes HDF5 has in reverse; empty ones have a shape inside."""

    def read(start: int, stop: int) -> NDArray[Any]:
        return np.asarray(dataset(name)[..., start:stop]).transpose()

    if "MATLAB_empty" in item.attrs:
        return Rows((0, 0), np.dtype(np.float64), read)
    dtype = item.dtype
    if dtype.names == ("real", "imag"):
        dtype = np.dtype(np.complex128)
    if PlainAttributes(item).plain("MATLAB_class") == b"char":
        dtype = np.dtype(np.str_)  # MATLAB keeps the codes of letters
    columns = _plain(path, name, item, dataset).read if item.ndim == 2 else None
    return Rows((item.shape or ())[::-1], dtype, read, columns)
