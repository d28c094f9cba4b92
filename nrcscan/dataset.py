"""Opens a dataset and streams it in order as batches of inputs and targets.

A `.npz` archive and a pair of `.npy` files are read piece by piece, so they may be larger
than memory; in memory, a pair of arrays, a torch Dataset or any iterable of batches will do.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nrcscan import files
from nrcscan.errors import InputError, UsageError, listed, reason

Batch = tuple[NDArray[Any], NDArray[Any]]
"""Inputs (n, …) and targets (n, n_targets), of whatever dtype they are kept in."""

X_KEYS = ("X", "x", "inputs", "features", "observations", "obs", "images")
Y_KEYS = ("y", "Y", "targets", "target", "labels", "actions")

FORTRAN_LIMIT = 4 << 30
"""The largest column-major array, in bytes, that is read into memory whole."""


@dataclass(frozen=True)
class Dataset:
    """A source of batches.

    Attributes:
        name: what it is called in messages.
        n_samples: how many samples it holds; None if only the end of the stream tells.
        provenance: where it came from: path and SHA-256, as far as there are any.
        stream: batch size → batches in order.
    """

    name: str
    n_samples: int | None
    provenance: dict[str, Any]
    stream: Callable[[int], Iterator[Batch]]

    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yield checked batches, up to `limit` samples; 1-D targets become (n, 1).

        Raises:
            InputError: inputs and targets disagree, are not real numbers, or hold NaN.
        """
        seen = 0
        for x, y in self.stream(batch_size):
            if limit is not None:
                x, y = x[: limit - seen], y[: limit - seen]
            if len(x) != len(y):
                raise InputError(
                    f"{self.name}: a batch has {len(x)} inputs but {len(y)} targets;"
                    " each sample needs both"
                )
            if len(x) == 0:
                continue
            y = _target_rows(y, self.name)
            _require_finite(x, "inputs", seen, self.name)
            _require_finite(y, "targets", seen, self.name)
            yield x, y
            seen += len(x)
            if seen == limit:
                return
        if seen == 0:
            raise InputError(f"{self.name}: holds no samples")


def open_dataset(data: Any, *, x_key: str | None = None, y_key: str | None = None) -> Dataset:
    """Open a dataset.

    Args:
        data: the path of an `.npz`; two paths of `.npy` files; two arrays or tensors of equal
            length; a torch Dataset; or an iterable of (inputs, targets) batches.
        x_key: the archive's key of the inputs, where the usual names do not tell.
        y_key: likewise of the targets.

    Raises:
        InputError: it cannot be read or used.
        UsageError: a key does not fit, or `data` is none of these.
    """
    if isinstance(data, str | Path):
        return _open_file(Path(data), x_key, y_key)
    if x_key or y_key:
        raise UsageError("--x-key and --y-key choose among the arrays of an .npz archive")
    if isinstance(data, Sequence) and len(data) == 1 and isinstance(data[0], str | Path):
        return _open_file(Path(data[0]), x_key, y_key)
    if isinstance(data, Sequence) and len(data) == 2:
        if all(isinstance(part, str | Path) for part in data):
            return _open_npy_pair(Path(data[0]), Path(data[1]))
        return _from_arrays(*data, name="the given arrays", provenance=None)
    known = not isinstance(data, Mapping | tuple)
    if known and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return _from_torch_dataset(data)
    if known and isinstance(data, Iterable):
        return _from_batches(data)
    raise UsageError(
        f"data is a {type(data).__name__}: give a path, a pair of arrays, a Dataset or a loader"
    )


def _open_file(path: Path, x_key: str | None, y_key: str | None) -> Dataset:
    files.regular_file(path, "data")
    start = files.head(path, 6)
    if start.startswith(b"PK"):
        return _open_npz(path, x_key, y_key)
    if start == b"\x93NUMPY":
        raise UsageError(f"{path}: one .npy file holds one array; give two: X.npy y.npy")
    raise InputError(
        f"{path}: is {files.foreign(path)}; data is an .npz archive or a pair of .npy files"
    )


# --- .npz ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


def _open_npz(path: Path, x_key: str | None, y_key: str | None) -> Dataset:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            keys = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
            if not keys:
                looks = "a PyTorch checkpoint" if any("data.pkl" in n for n in names) else "a zip"
                raise InputError(
                    f"{path}: is {looks} without arrays; the order is MODEL DATA, and data is"
                    " an .npz archive"
                )
            headers = {}
            x_key = _choose_key(path, keys, x_key, X_KEYS, "inputs", "--x-key")
            y_key = _choose_key(path, keys, y_key, Y_KEYS, "targets", "--y-key")
            for key in (x_key, y_key):
                with archive.open(f"{key}.npy") as member:
                    headers[key] = _read_header(member, f"{path}: {key!r}")
    except _ZIP_ERRORS as error:
        raise _damaged(path, error) from error
    _require_equal_lengths(path, headers[x_key].shape, headers[y_key].shape)

    def stream(batch_size: int) -> Iterator[Batch]:
        try:
            with ExitStack() as stack:
                rows = [
                    stack.enter_context(closing(_npz_rows(path, key, batch_size)))
                    for key in (x_key, y_key)
                ]
                yield from zip(*rows, strict=True)
        except _ZIP_ERRORS as error:
            raise _damaged(path, error) from error

    return Dataset(
        name=str(path),
        n_samples=headers[x_key].shape[0],
        provenance={**_file_provenance(path), "x_key": x_key, "y_key": y_key},
        stream=stream,
    )


def _choose_key(
    path: Path, keys: list[str], key: str | None, usual: Sequence[str], what: str, option: str
) -> str:
    if key is not None:
        if key not in keys:
            raise UsageError(f"{path}: has no array {key!r}; {option} is one of {listed(keys)}")
        return key
    found = [name for name in usual if name in keys]
    if len(found) == 1:
        return found[0]
    problem = (
        f"{listed(found)} could all be the {what}" if found else f"no array is called {usual[0]}"
    )
    raise UsageError(f"{path}: {problem}; say which of {listed(keys)} are the {what} with {option}")


def _read_header(member: IO[bytes], where: str) -> _Header:
    try:
        version = npy.read_magic(member)
        if version == (1, 0):
            shape, fortran_order, dtype = npy.read_array_header_1_0(member)
        elif version == (2, 0):
            shape, fortran_order, dtype = npy.read_array_header_2_0(member)
        else:
            raise ValueError(f"format version {version}")
    except ValueError as error:
        raise InputError(
            f"{where}: not a readable array: {reason(error)}; save it again"
        ) from error
    _require_numbers(dtype, where)
    if min(shape, default=0) < 0:
        raise InputError(f"{where}: its header claims the shape {shape}; save it again")
    if len(shape) == 0:
        raise InputError(f"{where}: a single number, not an array of samples")
    return _Header(shape, fortran_order and len(shape) > 1, dtype)


def _npz_rows(path: Path, key: str, batch_size: int) -> Generator[NDArray[Any], None, None]:
    """Yield the rows of one archive member, read as a stream."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
        header = _read_header(member, f"{path}: {key!r}")
        n, *rest = header.shape
        if header.fortran_order:
            yield from _column_major_rows(path, key, member, header, batch_size)
            return
        for start in range(0, n, batch_size):
            rows = min(batch_size, n - start)
            buffer = member.read(rows * header.row_bytes)
            if len(buffer) < rows * header.row_bytes:
                raise EOFError(f"{key!r} ends at sample {start + len(buffer) // header.row_bytes}")
            yield np.frombuffer(buffer, header.dtype).reshape(rows, *rest)


def _column_major_rows(
    path: Path, key: str, member: IO[bytes], header: _Header, batch_size: int
) -> Iterator[NDArray[Any]]:
    size = header.row_bytes * header.shape[0]
    if size > FORTRAN_LIMIT:
        raise InputError(
            f"{path}: {key!r} is stored column by column ({size / 1e9:.0f} GB) and cannot be"
            " streamed; save it with np.ascontiguousarray"
        )
    buffer = member.read(size)
    if len(buffer) < size:
        raise EOFError(f"{key!r} is shorter than its header says")
    array = np.frombuffer(buffer, header.dtype).reshape(header.shape, order="F")
    for start in range(0, len(array), batch_size):
        yield array[start : start + batch_size]


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: the archive is damaged or cut short ({reason(error)}); save or copy it again"
    )


# --- .npy pair -------------------------------------------------------------------------------


def _open_npy_pair(x_path: Path, y_path: Path) -> Dataset:
    arrays = []
    for path in (x_path, y_path):
        files.regular_file(path, "data")
        if files.head(path, 6) != b"\x93NUMPY":
            raise InputError(
                f"{path}: is {files.foreign(path)}; with two data files both are .npy arrays"
            )
        with path.open("rb") as file:
            _read_header(file, str(path))
        try:
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (ValueError, OSError) as error:
            raise InputError(
                f"{path}: the array is damaged or cut short ({reason(error)}); save it again"
            ) from error
    x_provenance, y_provenance = _file_provenance(x_path), _file_provenance(y_path)
    provenance = {
        "path": [x_provenance["path"], y_provenance["path"]],
        "sha256": [x_provenance["sha256"], y_provenance["sha256"]],
    }
    return _from_arrays(*arrays, name=f"{x_path} and {y_path}", provenance=provenance)


def _file_provenance(path: Path) -> dict[str, Any]:
    return {"path": str(path.resolve()), "sha256": files.sha256(path)}


# --- in memory -------------------------------------------------------------------------------


def _from_arrays(x: Any, y: Any, *, name: str, provenance: dict[str, Any] | None) -> Dataset:
    inputs, targets = _as_array(x, name), _as_array(y, name)
    for array, what in ((inputs, "inputs"), (targets, "targets")):
        _require_numbers(array.dtype, f"{name}: the {what}")
        if array.ndim == 0:
            raise InputError(f"{name}: the {what} are a single number, not an array of samples")
    _require_equal_lengths(name, inputs.shape, targets.shape)

    def stream(batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(inputs), batch_size):
            rows = slice(start, start + batch_size)
            yield np.asarray(inputs[rows]), np.asarray(targets[rows])

    if provenance is None:
        provenance = {"path": None, "sha256": _content_sha256(inputs, targets)}
    return Dataset(name=name, n_samples=len(inputs), provenance=provenance, stream=stream)


def _content_sha256(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for start in range(0, len(array), 1024):
            digest.update(np.ascontiguousarray(array[start : start + 1024]).data)
    return digest.hexdigest()


def _from_torch_dataset(data: Any) -> Dataset:
    from torch.utils.data import DataLoader

    def stream(batch_size: int) -> Iterator[Batch]:
        return _pairs(DataLoader(data, batch_size=batch_size, shuffle=False), name)

    name = type(data).__name__
    provenance = {"path": None, "sha256": None}
    return Dataset(name=name, n_samples=len(data), provenance=provenance, stream=stream)


def _from_batches(data: Iterable[Any]) -> Dataset:
    provenance = {"path": None, "sha256": None}
    name = type(data).__name__
    return Dataset(
        name=name, n_samples=None, provenance=provenance, stream=lambda _: _pairs(data, name)
    )


def _pairs(batches: Iterable[Any], name: str) -> Iterator[Batch]:
    for batch in _guarded(batches, name):
        if not isinstance(batch, Sequence) or len(batch) != 2:
            raise InputError(
                f"{name}: a batch is a {type(batch).__name__}; each must be a pair of inputs"
                " and targets"
            )
        x, y = _as_array(batch[0], name), _as_array(batch[1], name)
        _require_numbers(x.dtype, f"{name}: the inputs")
        _require_numbers(y.dtype, f"{name}: the targets")
        yield x, y


def _guarded(batches: Iterable[Any], name: str) -> Iterator[Any]:
    """Yield what the user's own code yields, naming it when it fails."""
    try:
        yield from batches
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"{name}: reading it failed: {type(error).__name__}: {reason(error)}"
        ) from error


def _as_array(values: Any, name: str) -> NDArray[Any]:
    """Return an array, memory map or tensor as an array, without a copy where possible."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    if np.ma.is_masked(values):
        raise InputError(f"{name}: holds masked values; fill them or leave out their samples")
    try:
        return np.asanyarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: not an array of numbers: {reason(error)}") from error


# --- checks ----------------------------------------------------------------------------------


def _require_numbers(dtype: np.dtype[Any], where: str) -> None:
    if dtype.hasobject:
        raise InputError(
            f"{where}: an object array, which only unpickling could read;"
            " save it as an array of numbers"
        )
    if dtype.kind == "c":
        raise InputError(f"{where}: complex numbers; give real and imaginary parts as columns")
    if dtype.kind not in "fiub":
        raise InputError(f"{where}: dtype {dtype} is not numbers; encode it as numbers first")


def _require_equal_lengths(name: object, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    if x[0] != y[0]:
        raise InputError(
            f"{name}: {x[0]} inputs but {y[0]} targets; each sample needs both"
            f" (inputs have shape {x}, targets {y})"
        )
    if x[0] == 0:
        raise InputError(f"{name}: holds no samples")


def _target_rows(y: NDArray[Any], name: str) -> NDArray[np.float64]:
    rows = np.asarray(y, dtype=np.float64)
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InputError(
            f"{name}: targets of shape {('N', *y.shape[1:])}; reshape them to (N, n_targets)"
        )
    return rows


def _require_finite(values: NDArray[Any], what: str, first_sample: int, name: str) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    index = np.argwhere(~np.isfinite(values))[0]
    found = "NaN" if np.isnan(values[tuple(index)]) else "an infinite value"
    place = f" at {tuple(int(i) for i in index[1:])}" if len(index) > 1 else ""
    raise InputError(
        f"{name}: the {what} hold {found}, first in sample {first_sample + index[0]}{place};"
        " remove or impute such samples"
    )
