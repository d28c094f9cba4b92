"""Tables whose columns are inputs and targets: CSV, TSV and Parquet, read piece by piece."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nrcscan.dataset.base import Y_KEYS, Batch, Dataset, damaged, file_provenance
from nrcscan.errors import InputError, UsageError, listed

DELIMITERS = ("\t", ",", ";")


@dataclass(frozen=True)
class TargetColumns:
    """Which columns are the targets: by name, or the last ones by number."""

    names: Sequence[str] = ()
    last: int | None = None

    def choose(self, path: Path, columns: Sequence[str]) -> list[int]:
        """Return the indices of the target columns.

        Raises:
            UsageError: the choice does not fit the table, or there is none to be guessed.
        """
        if self.names:
            unknown = [name for name in self.names if name not in columns]
            if unknown:
                raise UsageError(
                    f"{path}: no column {listed(map(repr, unknown))}; --targets are among"
                    f" {listed(columns)}"
                )
            chosen = [columns.index(name) for name in self.names]
        elif self.last is not None:
            chosen = list(range(len(columns)))[-self.last :] if self.last > 0 else []
        else:
            chosen = [i for i, name in enumerate(columns) if name in Y_KEYS]
            if not chosen:
                raise UsageError(
                    f"{path}: which columns are the targets? name them with --targets, or say how"
                    f" many of the last with --n-targets; there are {listed(columns)}"
                )
        if not 0 < len(chosen) < len(columns):
            raise UsageError(
                f"{path}: {len(chosen)} of {len(columns)} columns as targets leaves no inputs or no"
                " targets"
            )
        return chosen


def is_table(start: bytes) -> bool:
    """Whether the start of a file looks like delimited text."""
    line = start.split(b"\n", 1)[0]
    return any(d.encode() in line for d in DELIMITERS) and b"\0" not in start


def open_csv(path: Path, targets: TargetColumns) -> Dataset:
    """Open delimited text, with or without a line of column names.

    Raises:
        InputError: a cell is not a number.
        UsageError: the targets' columns are not told, or not there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
    except UnicodeDecodeError as error:
        raise damaged(path, error) from error
    delimiter = max(DELIMITERS, key=first.count)
    cells = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
    headed = not all(_is_number(cell) for cell in cells)
    columns = cells if headed else [str(i) for i in range(len(cells))]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: several columns are called {listed(map(repr, repeated))}")
    chosen = targets.choose(path, columns)

    def stream(batch_size: int) -> Iterator[Batch]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            seen = int(headed)
            lines = (line for line in islice(file, seen, None) if line.strip())
            while batch := list(islice(lines, batch_size)):
                yield _split(_parse(path, batch, delimiter, columns, seen), chosen)
                seen += len(batch)

    return Dataset(
        name=str(path),
        n_samples=None,
        provenance={**file_provenance(path), "targets": [columns[i] for i in chosen]},
        stream=stream,
    )


def open_parquet(path: Path, targets: TargetColumns) -> Dataset:
    """Open a Parquet file.

    Raises:
        InputError: it is damaged, or a column is not of numbers.
        UsageError: pyarrow is not installed, or the targets' columns are not told.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: reading Parquet needs pyarrow; pip install 'nrcscan[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            schema, n_samples = file.schema_arrow, file.metadata.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    chosen = targets.choose(path, schema.names)
    for column in schema:
        kind = column.type
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
            if pyarrow.types.is_boolean(kind):
                continue
            raise _not_numbers(path, column.name, str(kind))

    def stream(batch_size: int) -> Iterator[Batch]:
        try:
            with parquet.ParquetFile(path) as file:
                for rows in file.iter_batches(batch_size=batch_size):
                    values = [column.to_numpy(zero_copy_only=False) for column in rows.columns]
                    table = np.stack([v.astype(np.float64) for v in values], axis=1)
                    yield _split(table, chosen)
        except (pyarrow.ArrowException, OSError) as error:
            raise damaged(path, error) from error

    return Dataset(
        name=str(path),
        n_samples=n_samples,
        provenance={**file_provenance(path), "targets": [schema.names[i] for i in chosen]},
        stream=stream,
    )


def _parse(
    path: Path, lines: list[str], delimiter: str, columns: Sequence[str], seen: int
) -> NDArray[np.float64]:
    """Return lines of text as numbers (n, columns), or name the first cell that is none."""
    try:
        rows: NDArray[np.float64] = np.loadtxt(
            lines, delimiter=delimiter, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        for number, cells in enumerate(csv.reader(lines, delimiter=delimiter), start=seen + 1):
            if len(cells) != len(columns):
                raise InputError(
                    f"{path}: line {number} has {len(cells)} cells, and there are"
                    f" {len(columns)} columns; mend the line"
                ) from error
            for name, cell in zip(columns, cells, strict=True):
                if not _is_number(cell):
                    raise _not_numbers(path, name, f"{cell!r} in line {number}") from error
        raise damaged(path, error) from error
    if rows.shape[1] != len(columns):
        raise InputError(
            f"{path}: line {seen + 1} has {rows.shape[1]} cells, and there are {len(columns)}"
            " columns; mend the line"
        )
    return rows


def _split(rows: NDArray[np.float64], targets: Sequence[int]) -> Batch:
    """Return the inputs, which are all other columns in order, and the targets."""
    inputs = [i for i in range(rows.shape[1]) if i not in targets]
    return rows[:, inputs], rows[:, targets]


def _not_numbers(path: Path, column: str, found: str) -> InputError:
    empty = found.startswith("'' ")
    return InputError(
        f"{path}: column {column!r} holds {'an empty cell' + found[2:] if empty else found}, not"
        " numbers; encode it as numbers (categories as one column each), or take it out"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
