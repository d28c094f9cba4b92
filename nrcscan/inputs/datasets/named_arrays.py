"""Files of named arrays, read in slices: HDF5, safetensors, and tensors of torch.save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.reading import require_self_contained
from nrcscan.acts_file.schema import FORMAT
from nrcscan.errors import InputError, NrcscanError
from nrcscan.inputs.datasets.batches import (
    Batch,
    Dataset,
    as_array,
    choose_inputs,
    choose_targets,
    damaged,
    file_provenance,
    named,
    require_equal_lengths,
    require_numbers,
)


@dataclass(frozen=True)
class Rows:
    """One array of an open file: its shape and dtype, and how to read rows [start, stop)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    read: Callable[[int, int], NDArray[Any]]


Opener = Callable[[Path], AbstractContextManager[Mapping[str, Rows]]]


def open_keyed(path: Path, opener: Opener, x_key: str | None, y_key: str | None) -> Dataset:
    """Open a file of named arrays.

    Raises:
        InputError: it is damaged, or the arrays are no samples.
        UsageError: a key does not fit, or cannot be guessed.
    """
    with _reading(path), opener(path) as arrays:
        keys = list(arrays)
        x_keys, y_key = choose_inputs(path, keys, x_key), choose_targets(path, keys, y_key)
        for key in (*x_keys, y_key):
            dtype = arrays[key].dtype
            if dtype is not None:
                require_numbers(dtype, f"{path}: {key!r}")
            if not arrays[key].shape:
                raise InputError(f"{path}: {key!r}: a single number, not an array of samples")
        n = arrays[y_key].shape[0]
        for key in x_keys:
            require_equal_lengths(path, arrays[key].shape, arrays[y_key].shape)

    def stream(batch_size: int) -> Iterator[Batch]:
        with _reading(path), opener(path) as arrays:
            for start in range(0, n, batch_size):
                stop = min(start + batch_size, n)
                inputs = [arrays[key].read(start, stop) for key in x_keys]
                yield named(x_keys, inputs), arrays[y_key].read(start, stop)

    return Dataset(
        name=str(path),
        n_samples=n,
        provenance={**file_provenance(path), "x_key": ",".join(x_keys), "y_key": y_key},
        stream=stream,
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except NrcscanError:
        raise
    except Exception as error:  # three libraries, each with errors of its own
        raise damaged(path, error) from error


@contextmanager
def hdf5(path: Path) -> Iterator[Mapping[str, Rows]]:
    """Open the datasets of an HDF5 file, by their path in it."""
    with h5py.File(path, "r") as file:
        if "format" in file.attrs and bytes(file.attrs["format"]) == FORMAT.encode():
            raise InputError(f"{path}: is a file of nrcscan extract, not data; see nrcscan report")
        require_self_contained(file, path)
        found: dict[str, Rows] = {}

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = Rows(item.shape, item.dtype, lambda a, b: np.asarray(item[a:b]))

        file.visititems(take)
        yield found


@contextmanager
def safetensors(path: Path) -> Iterator[Mapping[str, Rows]]:
    """Open the tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:

        def rows(name: str) -> Rows:
            part = file.get_slice(name)
            return Rows(tuple(part.get_shape()), None, lambda a, b: as_array(part[a:b], str(path)))

        yield {name: rows(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


@contextmanager
def torch_tensors(path: Path) -> Iterator[Mapping[str, Rows]]:
    """Open the tensors of `torch.save`: a dict of them, or a pair (inputs, targets)."""
    import torch

    from nrcscan.inputs.checkpoints.contents import require_plain
    from nrcscan.inputs.checkpoints.torch_save import load_tensors

    content = load_tensors(path, mapped=True)
    if isinstance(content, list | tuple) and len(content) == 2:
        content = {"X": content[0], "y": content[1]}
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path}: holds a {type(content).__name__}; save a dict of tensors, or a pair"
        )

    def rows(name: str, tensor: torch.Tensor) -> Rows:
        def read(start: int, stop: int) -> NDArray[Any]:
            require_plain(path, name, tensor)
            return as_array(tensor[start:stop], str(path))

        return Rows(tuple(tensor.shape), None, read)

    yield {
        str(name): rows(str(name), value)
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
