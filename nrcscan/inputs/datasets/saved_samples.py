"""What torch.save keeps as data, as named arrays: dicts, pairs, datasets of tensors, samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.errors import InputError
from nrcscan.inputs.checkpoints.contents import require_plain
from nrcscan.inputs.datasets.batches import as_array
from nrcscan.inputs.datasets.rows import Rows, joined

_TENSORS = "torch.utils.data.dataset.TensorDataset"
_SUBSET = "torch.utils.data.dataset.Subset"
_JOINED = "torch.utils.data.dataset.ConcatDataset"
_REMEDY = "save a dict of tensors, or a pair of inputs and targets"

_MOST_NODES = 20_000_000
_DEEPEST = 6


def arrays_in(path: Path, content: Any) -> dict[str, Rows]:
    """Return the arrays in what a file of torch.save held, by name; those of a dict joined by /.

    Args:
        path: of the file.
        content: tensors, arrays and numbers in dicts, tuples, lists and torch's datasets. A
            dataset may be a stand-in, with the class's name as `name` and `attributes`.

    Raises:
        InputError: the file is no pair, dict or dataset of samples of one shape.
    """
    _require_reasonable(path, content)
    return _arrays_in(path, content)


def _arrays_in(path: Path, content: Any) -> dict[str, Rows]:
    """Return the arrays in what a file holds.

    Raises:
        InputError: the file holds something else than named tensors, pairs or datasets.
    """
    if isinstance(content, Mapping):
        return _in_mapping(path, content)
    if _is_array(content):
        raise InputError(f"{path}: holds a single tensor; {_REMEDY}")
    if isinstance(content, list | tuple) and content:
        if all(map(_is_dataset, content)):
            raise InputError(
                f"{path}: holds {len(content)} datasets; save the one that is meant by itself"
            )
        if all(map(_is_array, content)) or isinstance(content, tuple):
            return _in_columns(path, content)
        return _in_samples(path, content)
    kind, attributes = _described(content)
    if kind == _TENSORS and isinstance(attributes.get("tensors"), tuple):
        return _in_columns(path, attributes["tensors"])
    if kind == _SUBSET and isinstance(attributes.get("indices"), Sequence | Tensor | np.ndarray):
        return _in_subset(path, attributes)
    if kind == _JOINED and isinstance(attributes.get("datasets"), list):
        parts = [_arrays_in(path, part) for part in attributes["datasets"]]
        return _end_to_end(path, parts)
    raise InputError(f"{path}: holds a {kind.split('.')[-1]}; {_REMEDY}")


def _require_reasonable(path: Path, content: Any) -> None:
    """Refuse content that is larger than what is written in the file: parts in it many times.

    Raises:
        InputError: the containers in the file are too many or too deep to be samples.
    """
    n, waiting = 0, [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        n += 1
        if n > _MOST_NODES or depth > _DEEPEST:
            raise InputError(f"{path}: is nested too deep, or too large, for samples; {_REMEDY}")
        if isinstance(value, Mapping):
            waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(part, depth + 1) for part in value]
        elif not _is_array(value) and (attributes := _described(value)[1]):
            inside = [attributes.get(name) for name in ("tensors", "dataset", "datasets")]
            waiting += [(part, depth + 1) for part in inside if part is not None]


def _described(content: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the class of an object, or of what it stands for, and its attributes."""
    name, attributes = getattr(content, "name", None), getattr(content, "attributes", None)
    if isinstance(name, str) and isinstance(attributes, Mapping):
        return name, attributes
    kind = type(content)
    return f"{kind.__module__}.{kind.__qualname__}", getattr(content, "__dict__", {})


def _is_dataset(value: Any) -> bool:
    """Whether this is one of torch's datasets."""
    return _described(value)[0] in (_TENSORS, _SUBSET, _JOINED)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _in_mapping(path: Path, content: Mapping[Any, Any]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for name, value in content.items():
        if _is_array(value):
            found[str(name)] = _rows(path, str(name), value)
            continue
        if (column := _column(path, str(name), value)) is not None:
            found[str(name)] = column
            continue
        try:
            inside = _arrays_in(path, value)
        except InputError:
            continue  # a number, a name, whatever lies beside the data
        found |= {f"{name}/{key}": rows for key, rows in inside.items()}
    return found


def _column(path: Path, name: str, values: Any) -> Rows | None:
    """Return a list under a name, of samples or of episodes, as the array it stands for."""
    if not isinstance(values, list) or not values or not all(map(_is_value, values)):
        return None
    shapes = {tuple(np.shape(value)) for value in values}
    if len(shapes) == 1 and len(next(iter(shapes))) <= 1:
        return _stacked(path, name, values)
    episodes = len(shapes) > 1 and len({shape[1:] for shape in shapes}) == 1
    if episodes and min(map(len, shapes)) > 1:
        return joined([_rows(path, name, value) for value in values])
    return None


def _is_value(value: Any) -> bool:
    """Whether this is a number, a row of them, or an array."""
    numbers = value if isinstance(value, list) else [value]
    return _is_array(value) or all(isinstance(number, int | float) for number in numbers)


def _names(n: int) -> list[str]:
    """Return what to call columns: a pair is of inputs and targets."""
    return ["X", "y"] if n == 2 else [str(i) for i in range(n)]


def _in_columns(path: Path, columns: Sequence[Any]) -> dict[str, Rows]:
    """Return tensors that hold all samples each.

    Raises:
        InputError: a tuple is a pair of inputs and targets, and this is not.
    """
    names = _names(len(columns))
    found = {}
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, list):
            column = np.stack([as_array(value, str(path)) for value in column]) if column else None
        if not _is_array(column):
            raise InputError(
                f"{path}: holds a tuple of {len(columns)} and not of tensors; {_REMEDY}"
            )
        found[name] = _rows(path, name, column)
    return found


def _rows(path: Path, name: str, values: Any) -> Rows:
    def read(start: int, stop: int) -> NDArray[Any]:
        if isinstance(values, Tensor):
            require_plain(path, name, values)
        return as_array(values[start:stop], str(path))

    dtype = values.dtype if isinstance(values, np.ndarray) else None
    return Rows(tuple(values.shape), dtype, read)


def _in_subset(path: Path, attributes: Mapping[str, Any]) -> dict[str, Rows]:
    """Return the samples of a dataset that indices choose."""
    if len(attributes["indices"]) > _MOST_NODES:
        raise InputError(f"{path}: a Subset of too many samples; {_REMEDY}")
    try:
        indices = np.asarray(attributes["indices"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: the indices of a Subset are no numbers; {_REMEDY}") from error
    whole = _arrays_in(path, attributes.get("dataset"))
    n = min((rows.shape[0] for rows in whole.values() if rows.shape), default=0)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or not len(indices):
        raise InputError(f"{path}: the indices of a Subset are no whole numbers; {_REMEDY}")
    if indices.min() < -n or indices.max() >= n:
        raise InputError(f"{path}: a Subset's indices go beyond its {n} samples; {_REMEDY}")
    places = indices % n

    def chosen(rows: Rows) -> Rows:
        def read(start: int, stop: int) -> NDArray[Any]:
            wanted = places[start:stop]
            return np.concatenate([rows.read(int(i), int(i) + 1) for i in wanted])

        return Rows((len(places), *rows.shape[1:]), rows.dtype, read)

    return {name: chosen(rows) for name, rows in whole.items() if rows.shape}


def _end_to_end(path: Path, parts: Sequence[Mapping[str, Rows]]) -> dict[str, Rows]:
    """Return datasets one after the other.

    Raises:
        InputError: datasets end to end must be of the same kind of samples.
    """
    if not parts or any(part.keys() != parts[0].keys() for part in parts):
        raise InputError(f"{path}: holds datasets of different tensors; {_REMEDY}")
    for name, rows in parts[0].items():
        if any(part[name].shape[1:] != rows.shape[1:] for part in parts):
            raise InputError(f"{path}: holds datasets of samples of different shapes; {_REMEDY}")
    return {name: joined([part[name] for part in parts]) for name in parts[0]}


# --- samples, or batches, in a list -----------------------------------------------------------


def _in_samples(path: Path, content: Sequence[Any]) -> dict[str, Rows]:
    """Return a list of samples, each a tuple or a dict, or of batches of them.

    Raises:
        InputError: the tensors of a list do not tell what they are, or differ in shape.
    """
    columns = {name: list(values) for name, values in _columns(path, content)}
    shapes = {
        name: [tuple(np.shape(value)) for value in values] for name, values in columns.items()
    }
    alike = all(len(set(told)) == 1 for told in shapes.values())
    if alike and not _could_be_batches(shapes):
        return {name: _stacked(path, name, values) for name, values in columns.items()}
    lengths = [{told[:1] for told in each} for each in zip(*shapes.values(), strict=True)]
    batches = all(len(length) == 1 and length != {()} for length in lengths)
    if alike:
        raise InputError(
            f"{path}: holds a list that could be of samples or of batches, of shapes"
            f" {' and '.join(str(told[0]) for told in shapes.values())}; {_REMEDY}"
        )
    if not batches or any(len({told[1:] for told in each}) > 1 for each in shapes.values()):
        raise InputError(f"{path}: holds a list of samples of different shapes; pad them to one")
    return {
        name: joined([_rows(path, name, value) for value in values])
        for name, values in columns.items()
    }


def _could_be_batches(shapes: Mapping[str, list[tuple[int, ...]]]) -> bool:
    """Whether samples of these shapes, which are all alike, could as well be batches."""
    firsts = {told[0][:1] for told in shapes.values()}
    deep = any(len(told[0]) > 1 for told in shapes.values())
    return deep and len(firsts) == 1 and firsts != {()}


def _columns(path: Path, content: Sequence[Any]) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield the columns of samples, by name.

    Raises:
        InputError: the samples of a list are not alike.
    """
    first = content[0]
    if isinstance(first, Mapping):
        if not all(isinstance(s, Mapping) and s.keys() == first.keys() for s in content):
            raise InputError(f"{path}: holds a list of samples of different names; {_REMEDY}")
        keys: dict[str, Any] = {str(name): name for name in first}
    elif isinstance(first, tuple | list):
        if not all(isinstance(s, tuple | list) and len(s) == len(first) for s in content):
            raise InputError(f"{path}: holds a list of samples of different lengths; {_REMEDY}")
        keys = dict(zip(_names(len(first)), range(len(first)), strict=True))
    else:
        raise InputError(f"{path}: holds a list of {type(first).__name__}; {_REMEDY}")
    for name, key in keys.items():
        yield name, (sample[key] for sample in content)


def _stacked(path: Path, name: str, values: Sequence[Any]) -> Rows:
    def read(start: int, stop: int) -> NDArray[Any]:
        for value in values[start:stop]:
            if isinstance(value, Tensor):
                require_plain(path, name, value)
        return np.stack([as_array(value, str(path)) for value in values[start:stop]])

    return Rows((len(values), *np.shape(values[0])), None, read)
