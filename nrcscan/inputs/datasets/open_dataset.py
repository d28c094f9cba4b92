"""Opens a dataset and streams it in order as batches of inputs and targets.

A file is read piece by piece, so it may be larger than memory. Its format is told by content,
never by extension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError, UnsafeError, UsageError
from nrcscan.files import at_work, open_safely, sniff
from nrcscan.inputs import catalogue
from nrcscan.inputs.ask_nobody import AskedError, ask_nobody
from nrcscan.inputs.check_first import is_code, paths_in
from nrcscan.inputs.checkpoints.recognise import recognise
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.inputs.datasets.csv_text import open_csv
from nrcscan.inputs.datasets.delimited_text import is_table
from nrcscan.inputs.datasets.image_folder import Preparation, open_images
from nrcscan.inputs.datasets.in_memory import from_arrays, from_batches, from_torch_dataset
from nrcscan.inputs.datasets.numpy_files import holds_arrays, open_npy_pair, open_npz
from nrcscan.inputs.datasets.parquet_and_arrow import open_parquet
from nrcscan.inputs.datasets.saved_datasets_folder import open_folder
from nrcscan.inputs.datasets.standardize import standardized
from nrcscan.inputs.datasets.table_columns import TableColumns
from nrcscan.inputs.datasets.text_lines import start_of
from nrcscan.inputs.forms import CheckpointForm
from nrcscan.inputs.user_code import load_callable
from nrcscan.wording import reason

__all__ = ["Batch", "Dataset", "open_dataset", "standardized"]


def open_dataset(
    data: Any,
    *,
    x_key: str | None = None,
    y_key: str | None = None,
    targets: Sequence[str] = (),
    n_targets: int | None = None,
    drop: Sequence[str] = (),
    images: str | None = None,
) -> Dataset:
    """Open a dataset.

    Args:
        data: the path of an `.npz`, CSV, TSV, Parquet, HDF5, MATLAB, safetensors or `.pt` file, or
            of a folder of `Dataset.save_to_disk`; two paths: of `.npy` files, or of a folder of
            images and the CSV of their targets; two arrays or tensors of equal length; a torch
            Dataset; an iterable or list of (inputs, targets) batches; or
            "package.module:callable" or "path/file.py:callable", which returns one of the latter.
        x_key: in a file of named arrays, the key of the inputs, where usual names do not tell.
        y_key: likewise of the targets.
        targets: in a table, the columns of the targets.
        n_targets: in a table, how many of the last columns are targets.
        drop: in a table, columns that are neither inputs nor targets, by name or glob.
        images: how images become inputs: name=value for each attribute of `Preparation`.

    Raises:
        InputError: it cannot be read or used.
        UnsafeError: a library that reads it asks the user.
        UsageError: options and kind of data do not go together, or data is of no kind that is
            known.
    """
    columns = TableColumns(tuple(targets), n_targets, x_key, y_key, tuple(drop))
    if isinstance(data, list | tuple) and len(data) == 1 and isinstance(data[0], str | Path):
        data = data[0]
    if isinstance(data, str) and is_code(data):
        data = _call(data)
    files = " and ".join(map(str, paths_in(data)))
    if not files:
        return _opened(data, columns, images)
    try:
        with ask_nobody(), at_work.doing(file=files):
            return _opened(data, columns, images)
    except AskedError as error:
        raise UnsafeError(
            f"{files}: what reads it has a question ({error}); save it as plain arrays"
        ) from error


def _opened(data: Any, columns: TableColumns, images: str | None) -> Dataset:
    """Open what is not code any more.

    Raises:
        InputError: it cannot be read or used.
        UsageError: options and kind of data do not go together, or data is of no kind that is
            known.
    """
    pair = _two_paths(data)
    if pair is not None and any(map(open_safely.is_folder, pair)):
        _require_images(*pair, keyed=bool(columns.x or columns.y))
        return open_images(*pair, columns, Preparation.parse(images))
    if images is not None:
        raise UsageError(
            "--images goes with a folder of images and the CSV of their targets; give both as DATA"
        )
    if isinstance(data, str | Path):
        return _open_path(Path(data), columns)
    if columns.x or columns.y or columns.by_column:
        raise UsageError(
            "--x-key, --y-key, --targets, --n-targets and --drop choose within one file; leave"
            " them out"
        )
    if pair is not None:
        return open_npy_pair(*pair)
    return _open_in_memory(data)


def _require_images(folder: Path, table: Path, *, keyed: bool) -> None:
    """Refuse what are no images beside a table.

    Raises:
        UsageError: one of two data is a folder, as with images, and the other no table of theirs.
    """
    if not open_safely.is_folder(folder) or open_safely.is_folder(table):
        raise UsageError(
            "images are a folder, then the table of their targets; give both, in this order"
        )
    if keyed:
        raise UsageError("images have no --x-key or --y-key; choose in their table with --targets")


def _open_in_memory(data: Any) -> Dataset:
    """Open what the caller has made: arrays, a torch Dataset, or batches.

    Raises:
        UsageError: what is given is no data, or several that do not belong together.
    """
    if isinstance(data, list | tuple) and data and all(isinstance(d, str | Path) for d in data):
        raise UsageError(f"{len(data)} data files: give one, or two that belong together")
    if isinstance(data, list) and (len(data) != 2 or all(isinstance(d, tuple) for d in data)):
        return from_batches(data)
    if isinstance(data, Sequence) and len(data) == 2:
        return from_arrays(*data, name="the given arrays", provenance=None)
    known = not isinstance(data, Mapping | tuple)
    if known and (
        _iterates_samples(data) or (hasattr(data, "__getitem__") and hasattr(data, "__len__"))
    ):
        return from_torch_dataset(data)
    if known and isinstance(data, Iterable):
        return from_batches(data)
    raise UsageError(
        f"data is a {type(data).__name__}: give a path, a pair of arrays, a Dataset or a loader"
    )


def _iterates_samples(data: Any) -> bool:
    """Whether this is a torch Dataset without indices: of samples, where a loader has batches."""
    from torch.utils.data import IterableDataset

    return isinstance(data, IterableDataset)


def _call(spec: str) -> Any:
    """Return what the user's factory of data returns.

    Raises:
        UsageError: the code that --data names fails.
    """
    factory = load_callable(spec, "--data")
    try:
        with at_work.doing(f"the code of {spec} ran"):
            return factory()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"--data {spec}: calling it failed: {type(error).__name__}: {reason(error)};"
            " mend it, or name another"
        ) from error


def _two_paths(data: Any) -> tuple[Path, Path] | None:
    if not isinstance(data, list | tuple) or len(data) != 2:
        return None
    if not all(isinstance(part, str | Path) for part in data):
        return None
    return Path(data[0]), Path(data[1])


def _open_path(path: Path, columns: TableColumns) -> Dataset:
    """Open a file or folder.

    Raises:
        UsageError: the options are for another kind of data.
        InputError: the file is of a format that is not read.
    """
    if open_safely.is_folder(path):
        if isinstance(form := recognise(path), CheckpointForm):
            raise _checkpoint(path, form)
        return open_folder(path, columns)
    open_safely.regular_file(path, "data")
    start = open_safely.head(path, 4096)
    if start.startswith(b"PAR1"):
        return open_parquet(path, columns)
    if start.startswith(b"\x93NUMPY"):
        raise UsageError(f"{path}: one .npy file holds one array; give two: X.npy y.npy")
    if (opener := _opener(path, start)) is not None:
        if columns.by_column and (not start.startswith(b"PK") or holds_arrays(path)):
            raise UsageError(f"{path}: is no table; choose its arrays with --x-key and --y-key")
        return opener(path, columns.x, columns.y)
    if is_table(start_of(path, 4096)):
        return open_csv(path, columns)
    kind = sniff.kind(path)
    words = kind.words
    if words == sniff.TEXT:
        words += " without commas, semicolons or tabs in its first line"
    raise InputError(f"{path}: is {words}; {kind.remedy or f'give {catalogue.data_kinds()}'}")


def _opener(path: Path, start: bytes) -> Callable[[Path, str | None, str | None], Dataset] | None:
    """Return what opens a file of named arrays; None if this is none.

    Raises:
        InputError: it is a checkpoint.
    """
    from nrcscan.inputs.datasets import hdf5_arrays, matlab_arrays
    from nrcscan.inputs.datasets.named_arrays import Opener, open_keyed

    def of(arrays: Opener) -> Callable[[Path, str | None, str | None], Dataset]:
        return lambda path, x_key, y_key: open_keyed(path, arrays, x_key, y_key)

    form = recognise(path)
    if isinstance(form, CheckpointForm):
        from nrcscan.inputs.datasets import saved_tensors  # which need torch

        tensors = {"torch": saved_tensors.torch_tensors, "safetensors": saved_tensors.safetensors}
        if form.key in tensors:
            return of(tensors[form.key])
        raise _checkpoint(path, form)
    if start.startswith(b"PK"):
        return open_npz
    if start.startswith(matlab_arrays.MATLAB_5):
        return of(matlab_arrays.matlab)
    return of(hdf5_arrays.hdf5) if hdf5_arrays.is_hdf5(path) else None


def _checkpoint(path: Path, form: CheckpointForm) -> InputError:
    """Return the error that a file is a checkpoint.

    Raises:
        InputError: the file holds a network, where data is wanted.
    """
    return InputError(f"{path}: is a checkpoint ({form.name}), not data; give MODEL before DATA")
