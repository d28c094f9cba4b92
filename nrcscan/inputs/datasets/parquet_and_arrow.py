"""Arrow's columns as inputs and targets, wherever they are kept; Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError, UsageError
from nrcscan.extras import to_install
from nrcscan.files.read_json import parse_json
from nrcscan.inputs.datasets.batches import (
    Batch,
    Dataset,
    damaged,
    file_provenance,
)
from nrcscan.inputs.datasets.table_columns import Chosen, TableColumns, not_numbers
from nrcscan.wording import listed, reason

INDEX_COLUMN = "__index_level_0__"
"""What pandas calls its index when it is kept as a column."""

ASSETS = ("Image", "Audio", "Video", "Pdf", "Nifti")
"""What `datasets` keeps as encoded files."""

_BUFFER = 1 << 16
"""Bytes of a column of a Parquet file that are read at a time."""

Tables = Callable[[int, list[str]], Iterator[Any]]
"""Batch size and columns → record batches of at most so many rows."""


def open_parquet(path: Path, columns: TableColumns) -> Dataset:
    """Open a Parquet file.

    Raises:
        InputError: it is damaged, or a column is not of numbers.
        UsageError: pyarrow is not installed, or the columns are not told.
    """
    require_pyarrow(f"{path}: reading Parquet", "parquet")
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema, n_samples = file.schema_arrow, file.metadata.num_rows
    except arrow_errors() as error:
        raise damaged(path, error) from error

    def tables(batch_size: int, needed: list[str]) -> Iterator[Any]:
        # By default whole row groups are held, of which a file may have one alone.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            yield from file.iter_batches(batch_size=batch_size, columns=needed)

    return column_dataset(
        path, choose(path, schema, columns), n_samples, file_provenance(path), tables
    )


def column_dataset(
    path: Path, chosen: Chosen, n_samples: int, provenance: dict[str, Any], tables: Tables
) -> Dataset:
    """Return the dataset of the chosen columns.

    Raises:
        InputError: as it is read: it is damaged, has gaps, or its arrays are not of one shape.
    """

    def stream(batch_size: int) -> Iterator[Batch]:
        seen = 0
        shapes: dict[str, tuple[int, ...]] = {}
        try:
            for table in tables(batch_size, chosen.columns):
                columns = [(name, table.column(name)) for name in table.schema.names]
                values = {name: _values(column, path, name, seen) for name, column in columns}
                for name, rows in values.items():
                    if rows.shape[1:] != shapes.setdefault(name, rows.shape[1:]):
                        raise InputError(
                            f"{path}: column {name!r} holds arrays of shape {shapes[name]} and,"
                            f" from sample {seen} on, {rows.shape[1:]}; pad or cut them to one"
                        )
                yield _batch(path, chosen, values)
                seen += table.num_rows
        except arrow_errors() as error:
            raise damaged(path, error) from error

    return Dataset(str(path), n_samples, {**provenance, **chosen.provenance}, stream)


def _batch(path: Path, chosen: Chosen, values: Mapping[str, NDArray[Any]]) -> Batch:
    """Return a batch of the columns that were chosen.

    Raises:
        InputError: a column is nested in a way that has no array.
    """
    try:
        return chosen.batch(values)
    except ValueError as error:
        raise InputError(
            f"{path}: {reason(error)}; name one with --x-key, or flatten them first"
        ) from error


# --- which columns ----------------------------------------------------------------------------


def choose(path: Path, schema: Any, columns: TableColumns) -> Chosen:
    """Take the columns that the options and their types tell.

    Raises:
        UsageError: the choice does not fit, or cannot be guessed.
        InputError: a column that is needed is not of numbers.
    """
    features = _features(schema)
    arrays = {
        field.name for field in schema if _is_list(field.type) and not features.get(field.name)
    }
    chosen = columns.choose(path, list(schema.names), arrays)
    if INDEX_COLUMN in chosen.columns:
        raise InputError(
            f"{path}: holds an index of pandas as a column, {INDEX_COLUMN}; leave it out with"
            f" --drop {INDEX_COLUMN}, or save without it (index=False)"
        )
    for name in chosen.columns:
        _require_numbers(path, name, schema.field(name).type, features.get(name))
    return chosen


def _features(schema: Any) -> dict[str, Mapping[str, Any]]:
    """Return what `datasets` knows of columns beyond their type: classes, and encoded files."""
    try:
        told = parse_json((schema.metadata or {})[b"huggingface"], finite=False)["info"]["features"]
        return {
            name: feature
            for name, feature in told.items()
            if feature.get("_type") in ("ClassLabel", *ASSETS)
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _require_numbers(path: Path, name: str, kind: Any, feature: Mapping[str, Any] | None) -> None:
    from pyarrow import types

    if feature is not None and feature["_type"] == "ClassLabel":
        classes = [str(label) for label in feature.get("names") or ()]
        raise not_numbers(
            path,
            name,
            f"classes ({listed(classes[:3], 'or')}{', …' if len(classes) > 3 else ''})",
            "encode it as one column each, or, if its codes are meant,"
            f" ds.cast_column({name!r}, datasets.Value('int64'))",
        )
    if feature is not None:
        raise not_numbers(
            path,
            name,
            f"{feature['_type'].lower()} files",
            "decode them into arrays as the network takes them, with ds.map",
        )
    while _is_list(kind):
        kind = _storage(kind).value_type
    numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    if not any(is_kind(kind) for is_kind in numeric):
        categories = types.is_dictionary(kind)
        raise not_numbers(
            path, name, f"categories of {kind.value_type}" if categories else str(kind)
        )


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    kind = _storage(kind)
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _storage(kind: Any) -> Any:
    return getattr(kind, "storage_type", kind)


# --- what they hold ---------------------------------------------------------------------------


def _values(column: Any, path: Path, name: str, first_sample: int) -> NDArray[Any]:
    """Return a column as an array (n, …), lists in it as further axes.

    Raises:
        InputError: it has gaps, or its lists are not equally long.
    """
    from pyarrow import compute, types

    n, shape = len(column), [len(column)]

    def sample(index: int) -> int:
        return first_sample + index * n // max(1, len(column))

    while True:
        if column.null_count:
            index = compute.index(compute.is_null(column), True).as_py()
            raise InputError(
                f"{path}: column {name!r} has no value in sample {sample(index)};"
                " remove or impute such samples"
            )
        if hasattr(column, "to_numpy_ndarray"):  # tensors: their shape is part of the type
            return column.to_numpy_ndarray()
        column = getattr(column, "storage", column)
        if not _is_list(column.type):
            break
        lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
        other = np.flatnonzero(lengths != lengths[0])
        if len(other):
            raise InputError(
                f"{path}: column {name!r} holds lists of {lengths[0]} and, in sample"
                f" {sample(int(other[0]))}, of {lengths[other[0]]}; pad or cut them to one length"
            )
        shape.append(int(lengths[0]))
        column = column.flatten()
    if types.is_decimal(column.type):
        column = column.cast("float64")
    return column.to_numpy(zero_copy_only=False).reshape(shape)


def require_pyarrow(who: str, extra: str) -> None:
    """Refuse to go on without pyarrow.

    Raises:
        UsageError: the package that reads such files is not installed.
    """
    try:
        import pyarrow.ipc  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{who} needs pyarrow; {to_install(extra)}") from error


def arrow_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises on damaged files."""
    import pyarrow

    return pyarrow.ArrowException, OSError, ValueError, LookupError  # as of names that are no text
