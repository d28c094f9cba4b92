"""NumPy's own files: an `.npz` archive read as a stream, and a memory-mapped pair of `.npy`."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.files import budgets, open_safely, sniff
from nrcscan.files.apart_in_zip import require_apart
from nrcscan.inputs.datasets.array_keys import Piece
from nrcscan.inputs.datasets.batches import (
    Batch,
    Dataset,
    damaged,
    file_provenance,
    require_numbers,
)
from nrcscan.inputs.datasets.in_memory import from_arrays
from nrcscan.inputs.datasets.named_arrays import ChosenArrays, chosen
from nrcscan.inputs.datasets.rows import Rows, require_readable, side_by_side
from nrcscan.wording import reason, some

FORTRAN_LIMIT = 4 << 30
"""The largest column-major array, in bytes, that is read into memory whole."""

_HEADER_LIMIT = 1 << 16
"""Bytes of an array's header, which is a line of Python."""


_SIZES = {(1, 0): 2, (2, 0): 4}
"""Version of the format → in how many bytes it tells how long the header is."""

_MOST_AXES = 64

_DOUBLE = 8
"""Bytes of a number once it is read, at least."""


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def holds_arrays(path: Path) -> bool:
    """Whether a zip archive has arrays in it; also where it is damaged, which opening it tells."""
    try:
        with open_safely.opened(path) as file, zipfile.ZipFile(file) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except _ZIP_ERRORS:
        return True


def open_npz(path: Path, x_key: str | None, y_key: str | None) -> Dataset:
    """Open an archive; no array of it is ever held whole.

    Raises:
        InputError: the archive has no member that is an array.
    """
    try:
        with open_safely.opened(path) as file, zipfile.ZipFile(file) as archive:
            require_apart(archive)
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            if not names:
                raise InputError(
                    f"{path}: is a zip archive of {some(archive.namelist())}, and no .npz of"
                    " np.savez; unpack it"
                )
            arrays = {name.removesuffix(".npy"): _rows(path, archive, name) for name in names}
        choice = chosen(path, arrays, x_key, y_key)
    except _ZIP_ERRORS as error:
        raise damaged(path, error) from error

    def stream(batch_size: int) -> Iterator[Batch]:
        for part in choice.inputs:
            require_readable(choice.rows(arrays, part), batch_size, path)
        require_readable(choice.rows(arrays, choice.targets), batch_size, path, "targets")
        try:
            with ExitStack() as stack:

                def side(pieces: Sequence[Piece]) -> Iterator[NDArray[Any]]:
                    rows = [
                        stack.enter_context(closing(_piece(path, p.keys, choice, batch_size)))
                        for p in pieces
                    ]
                    return map(side_by_side, zip(*rows, strict=True))

                sides = [side(s.pieces) for s in (*choice.inputs, choice.targets)]
                for *inputs, targets in zip(*sides, strict=True):
                    yield choice.named(inputs), targets
        except _ZIP_ERRORS as error:
            raise damaged(path, error) from error

    return choice.dataset(path, stream)


def _rows(path: Path, archive: zipfile.ZipFile, name: str) -> Rows:
    """Return a member's shape and dtype; its rows are read as one, for lists of names."""
    key = name.removesuffix(".npy")
    with archive.open(name) as member:
        header = _read_header(member, f"{path}: {key!r}")

    def read(start: int, stop: int) -> NDArray[Any]:
        return next(_npz_rows(path, key, stop))[start:]

    return Rows(header.shape, header.dtype, read)


def _piece(
    path: Path, keys: Sequence[str], choice: ChosenArrays, batch_size: int
) -> Generator[NDArray[Any], None, None]:
    """Yield the rows of members that are joined end to end, in batches across their borders."""
    kept: list[NDArray[Any]] = []
    lacking = batch_size
    for key in keys:
        left = choice.counts[key]
        for rows in _npz_rows(path, key, batch_size):
            rows = rows[:left]
            left -= len(rows)
            while len(rows) >= lacking:
                yield np.concatenate([*kept, rows[:lacking]]) if kept else rows[:lacking]
                rows, kept, lacking = rows[lacking:], [], batch_size
            if len(rows):
                kept.append(rows)
                lacking -= len(rows)
    if kept:
        yield np.concatenate(kept)


def _read_header(member: IO[bytes], where: str) -> _Header:
    """Read the first bytes of an array.

    Raises:
        InputError: the array is damaged, or not as np.save writes it.
    """
    try:
        version = npy.read_magic(member)
        if version not in _SIZES:
            raise ValueError(f"format version {version}")
        told = member.read(_SIZES[version])
        size = int.from_bytes(told, "little")
        if size > _HEADER_LIMIT:
            raise ValueError(f"a header of {size} bytes")
        text = io.BytesIO(told + member.read(size))
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read(text)
        if not all(type(n) is int for n in shape) or len(shape) > _MOST_AXES:  # True is none
            raise ValueError(f"a shape of {shape}"[:80])
    except Exception as error:  # the header is Python source, which fails in many ways
        raise InputError(
            f"{where}: not a readable array: {reason(error)}; save it again"
        ) from error
    claimed = math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, _DOUBLE)
    if min(shape, default=0) < 0 or claimed >= 1 << 62:
        raise InputError(f"{where}: damaged: its header claims the shape {shape}; save it again")
    return _Header(shape, fortran_order and len(shape) > 1, dtype)


def _npz_rows(path: Path, key: str, batch_size: int) -> Generator[NDArray[Any], None, None]:
    """Yield the rows of one archive member, read as a stream."""
    with (
        open_safely.opened(path) as file,
        zipfile.ZipFile(file) as archive,
        archive.open(f"{key}.npy") as member,
    ):
        header = _read_header(member, f"{path}: {key!r}")
        n, *rest = header.shape
        packed = archive.getinfo(f"{key}.npy")
        if n * header.row_bytes > packed.file_size:
            raise EOFError(f"{key!r} is shorter than its header says")
        if header.fortran_order:
            size = header.row_bytes * n
            budgets.require_earnest(size, packed.compress_size, f"{key!r}, stored by columns,")
            yield from _column_major_rows(path, key, member, header, batch_size)
            return
        for start in range(0, n, batch_size):
            rows = min(batch_size, n - start)
            budgets.require_at_once(rows * header.row_bytes, f"a batch of {key!r}")
            buffer = member.read(rows * header.row_bytes)
            if len(buffer) < rows * header.row_bytes:
                raise EOFError(f"{key!r} ends at sample {start + len(buffer) // header.row_bytes}")
            yield np.frombuffer(buffer, header.dtype).reshape(rows, *rest)


def _column_major_rows(
    path: Path, key: str, member: IO[bytes], header: _Header, batch_size: int
) -> Iterator[NDArray[Any]]:
    """Yield the rows of an array in Fortran order, which is held whole.

    Raises:
        InputError: it is too large for that.
    """
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


def read_arrays(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return small arrays of an archive, held whole; those that are not there are left out.

    Raises:
        ValueError: it is no such archive, or damaged.
        InputError: an array of it is not as np.save writes it, or too large for a small one.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        with open_safely.opened(path) as file, zipfile.ZipFile(file) as archive:
            require_apart(archive)
            for name in {f"{key}.npy" for key in keys} & set(archive.namelist()):
                key = name.removesuffix(".npy")
                with archive.open(name) as member:
                    header = _read_header(member, f"{path}: {key!r}")
                    require_numbers(header.dtype, f"{path}: {key!r}")
                    size = budgets.size_of(header.shape, header.dtype.itemsize)
                    if size > budgets.UNPACKED:
                        raise InputError(
                            f"{path}: {key!r} takes {budgets.told(size)}; save one number, or one"
                            " for every entry of a sample"
                        )
                    values = np.frombuffer(member.read(size), header.dtype)
                    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
                    found[key] = values.reshape(header.shape, order=order)
    except _ZIP_ERRORS as error:
        raise ValueError(reason(error)) from error
    return found


_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError),
    *(LookupError, ArithmeticError, MemoryError, OSError),
)


def open_npy_pair(x_path: Path, y_path: Path) -> Dataset:
    """Open inputs and targets in a file each, mapped into memory.

    Raises:
        InputError: one of the two files is not an array of samples, as np.save writes it.
    """
    arrays = []
    for path in (x_path, y_path):
        open_safely.regular_file(path, "data")
        if open_safely.head(path, 6) != b"\x93NUMPY":
            raise InputError(
                f"{path}: is {sniff.foreign(path)};"
                " save it with np.save, as both of two data files are"
            )
        with open_safely.opened(path) as file:
            header = _read_header(file, str(path))
        require_numbers(header.dtype, str(path))
        if not header.shape:
            raise InputError(
                f"{path}: a single number, not an array of samples; save one entry for each sample"
            )
        try:
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (ValueError, OverflowError, OSError) as error:
            raise InputError(
                f"{path}: the array is damaged or cut short ({reason(error)}); save it again"
            ) from error
    x_provenance, y_provenance = file_provenance(x_path), file_provenance(y_path)
    provenance = {
        "path": [x_provenance["path"], y_provenance["path"]],
        "sha256": [x_provenance["sha256"], y_provenance["sha256"]],
    }
    return from_arrays(*arrays, name=f"{x_path} and {y_path}", provenance=provenance)
