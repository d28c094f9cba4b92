"""Folders of Dataset.save_to_disk: streams of Arrow, and a little JSON that names them.

pyarrow alone reads them, so nothing of what a folder says about itself is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.files import open_safely
from nrcscan.files.natural_order import natural_key
from nrcscan.files.read_json import read_json
from nrcscan.inputs.datasets.batches import Dataset, damaged
from nrcscan.inputs.datasets.parquet_and_arrow import (
    arrow_errors,
    choose,
    column_dataset,
    require_pyarrow,
)
from nrcscan.inputs.datasets.table_columns import TableColumns
from nrcscan.wording import listed, reason, some

STATE, INDEX = "state.json", "dataset_dict.json"
"""What `save_to_disk` writes beside one dataset, and beside several splits."""

ZARR = (".zgroup", ".zarray", ".zmetadata", "zarr.json")
"""What stands in a folder of Zarr."""

SUFFIXES = (".npz", ".hdf5", ".h5", ".mat", ".parquet", ".csv", ".csv.gz", ".tsv")
"""How files of data are usually called."""

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def open_folder(folder: Path, columns: TableColumns) -> Dataset:
    """Open a folder that `datasets` saved.

    Raises:
        InputError: it is damaged, or a column is not of numbers.
        UsageError: pyarrow is not installed, the folder holds several datasets or none, or the
            columns are not told.
    """
    paths = _data_files(folder)
    require_pyarrow(f"{folder}: reading a folder of datasets", "datasets")
    import pyarrow

    schema, counts = None, []
    for path in paths:
        try:
            with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
                if schema is not None and not schema.equals(stream.schema):
                    raise InputError(f"{path}: has other columns than {paths[0].name}; save again")
                schema = stream.schema
                counts.append(sum(batch.num_rows for batch in stream))
        except arrow_errors() as error:
            raise damaged(path, error) from error
    if schema is None or not sum(counts):
        raise InputError(f"{folder}: holds no samples; give data that has some")

    def tables(batch_size: int, needed: list[str]) -> Iterator[Any]:
        for path in paths:
            # Mapped pages would count as memory, and end the program if the file were cut.
            with pyarrow.OSFile(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
                for batch in stream:
                    batch.validate(full=True)
                    chosen = batch.select(needed)
                    for start in range(0, batch.num_rows, batch_size):
                        yield chosen.slice(start, batch_size)

    choice = choose(folder, schema, columns)
    provenance = {"path": str(folder.resolve()), "sha256": open_safely.sha256_all(paths)}
    return column_dataset(folder, choice, sum(counts), provenance, tables)


def _data_files(folder: Path) -> list[Path]:
    """Return a saved dataset's files in order.

    Raises:
        UsageError: the folder holds several datasets, or none.
        InputError: a file of the folder is damaged.
        UnsafeError: a file of the folder leads out of it.
    """
    if (folder / INDEX).is_file():
        splits = [str(name) for name in _json(folder / INDEX, "splits")]
        if not splits:
            raise InputError(f"{folder}: holds no samples; give data that has some")
        raise UsageError(
            f"{folder}: holds the splits {listed(splits)}; give the sub-folder of one, such as"
            f" {folder / splits[0]}"
        )
    if not (folder / STATE).is_file():
        raise _no_dataset(folder)
    if _json(folder / STATE, "_indices_data_files", needed=False):
        raise InputError(
            f"{folder}: takes its rows through an index, as datasets once did; load it and save it"
            " again"
        )
    paths = []
    for entry in _json(folder / STATE, "_data_files"):
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise InputError(
                f"{folder / STATE}: names no file but {name!r}; save the dataset again"
            )
        path = open_safely.beside(folder / STATE, name, "file")
        open_safely.regular_file(path, "data")
        with open_safely.opened(path) as file:
            file.seek(max(0, path.stat().st_size - len(END_OF_STREAM)))
            if file.read() != END_OF_STREAM:  # else what is cut off would not be missed
                raise damaged(path, EOFError("it does not end as Arrow's streams do"))
        paths.append(path)
    return paths


def _no_dataset(folder: Path) -> NrcscanError:
    """Return the error for a folder that is something else, by what is in it."""
    names = sorted((file.name for file in folder.iterdir()), key=natural_key)
    if set(names) & set(ZARR):
        return InputError(f"{folder}: is a Zarr store; save its arrays with np.savez, or in HDF5")
    files = [name for name in names if name.lower().endswith(SUFFIXES)]
    if files:
        return UsageError(
            f"{folder}: is a folder with {some(files)}; give the file itself: {folder / files[0]}"
        )
    return UsageError(
        f"{folder}: is no folder of Dataset.save_to_disk (it has no {STATE}); give images with"
        " the table of their targets: IMAGES_FOLDER targets.csv"
    )


def _json(path: Path, key: str, *, needed: bool = True) -> Sequence[Any]:
    """Return a list of a small file of JSON.

    Raises:
        InputError: the description of the dataset is damaged.
    """
    try:
        content = read_json(path, "description of a dataset", finite=False)
        value = content[key] if needed else content.get(key) or []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is not as datasets writes it ({reason(error)}); save the dataset again"
        ) from error
    if not isinstance(value, list):
        raise InputError(f"{path}: {key} is not a list of names; save the dataset again")
    return value
