"""Opens a dataset and streams it in order as batches of inputs and targets.

A file is read piece by piece, so it may be larger than memory. Its format is told by content,
never by extension.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nrcscan import files
from nrcscan.dataset.base import Batch, Dataset
from nrcscan.dataset.columns import TargetColumns, is_table, open_csv, open_parquet
from nrcscan.dataset.memory import from_arrays, from_batches, from_torch_dataset
from nrcscan.dataset.npz import open_npy_pair, open_npz
from nrcscan.dataset.standardize import standardized
from nrcscan.errors import InputError, UsageError, reason
from nrcscan.usercode import load_callable

__all__ = ["Batch", "Dataset", "open_dataset", "standardized"]

FORMATS = "an .npz archive, a pair of .npy files, CSV, TSV, Parquet, HDF5, safetensors or .pt"


def open_dataset(
    data: Any,
    *,
    x_key: str | None = None,
    y_key: str | None = None,
    targets: Sequence[str] = (),
    n_targets: int | None = None,
) -> Dataset:
    """Open a dataset.

    Args:
        data: the path of an `.npz`, CSV, TSV, Parquet, HDF5, safetensors or `.pt` file; two
            paths of `.npy` files; two arrays or tensors of equal length; a torch Dataset; an
            iterable of (inputs, targets) batches; or "package.module:callable" or
            "path/file.py:callable", which returns one of the latter.
        x_key: in a file of named arrays, the key of the inputs, where usual names do not tell.
        y_key: likewise of the targets.
        targets: in a table, the columns of the targets.
        n_targets: in a table, how many of the last columns are targets.

    Raises:
        InputError: it cannot be read or used.
        UsageError: a key or column does not fit, or `data` is none of these.
    """
    columns = TargetColumns(tuple(targets), n_targets)
    if isinstance(data, list | tuple) and len(data) == 1 and isinstance(data[0], str | Path):
        data = data[0]
    if isinstance(data, str) and ":" in data and not Path(data).exists():
        data = _call(data)
    if isinstance(data, str | Path):
        return _open_file(Path(data), x_key, y_key, columns)
    if x_key or y_key or targets or n_targets is not None:
        raise UsageError("--x-key, --y-key, --targets and --n-targets choose within one file")
    if isinstance(data, Sequence) and len(data) == 2:
        if all(isinstance(part, str | Path) for part in data):
            return open_npy_pair(Path(data[0]), Path(data[1]))
        return from_arrays(*data, name="the given arrays", provenance=None)
    known = not isinstance(data, Mapping | tuple)
    if known and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return from_torch_dataset(data)
    if known and isinstance(data, Iterable):
        return from_batches(data)
    raise UsageError(
        f"data is a {type(data).__name__}: give a path, a pair of arrays, a Dataset or a loader"
    )


def _call(spec: str) -> Any:
    """Return what the user's factory of data returns."""
    factory = load_callable(spec, "--data")
    try:
        return factory()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"--data {spec}: calling it failed: {type(error).__name__}: {reason(error)}"
        ) from error


def _open_file(path: Path, x_key: str | None, y_key: str | None, columns: TargetColumns) -> Dataset:
    from nrcscan.checkpoint import LEGACY_MAGIC, looks_like_safetensors
    from nrcscan.dataset import keyed

    files.regular_file(path, "data")
    start = files.head(path, 4096)
    table = start.startswith(b"PAR1") or is_table(start)
    if table and (x_key or y_key):
        raise UsageError(f"{path}: is a table; choose its columns with --targets or --n-targets")
    if not table and (columns.names or columns.last is not None):
        raise UsageError(f"{path}: is no table; choose its arrays with --x-key and --y-key")
    if start.startswith(b"PK"):
        if _is_torch_zip(path):
            return keyed.open_keyed(path, keyed.torch_tensors, x_key, y_key)
        return open_npz(path, x_key, y_key)
    if start.startswith(LEGACY_MAGIC):
        return keyed.open_keyed(path, keyed.torch_tensors, x_key, y_key)
    if looks_like_safetensors(start):
        return keyed.open_keyed(path, keyed.safetensors, x_key, y_key)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return keyed.open_keyed(path, keyed.hdf5, x_key, y_key)
    if start.startswith(b"PAR1"):
        return open_parquet(path, columns)
    if start.startswith(b"\x93NUMPY"):
        raise UsageError(f"{path}: one .npy file holds one array; give two: X.npy y.npy")
    if table:
        return open_csv(path, columns)
    raise InputError(f"{path}: is {files.foreign(path)}; data is {FORMATS}")


def _is_torch_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False  # whoever opens it says what is wrong
