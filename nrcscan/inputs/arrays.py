"""What a network is fed: one array, or several, by name or in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Inputs = NDArray[Any] | dict[str, NDArray[Any]] | tuple[NDArray[Any], ...]
"""Arrays (n, …) of equal length: one, a dict of them, or a tuple."""

T = TypeVar("T")


def parts(x: Any) -> dict[str, Any]:
    """Return every array or tensor of some inputs, with what to call it in messages.

    >>> list(parts({"ids": 1, "mask": 2})), list(parts((1, 2))), list(parts(1))
    (['the inputs ids', 'the inputs mask'], ['the inputs 1', 'the inputs 2'], ['the inputs'])
    """
    if isinstance(x, Mapping):
        return {f"the inputs {name}": part for name, part in x.items()}
    if isinstance(x, tuple):
        return {f"the inputs {place}": part for place, part in enumerate(x, 1)}
    return {"the inputs": x}


def each(x: Any, change: Callable[[Any], T]) -> Any:
    """Return inputs of the same structure, every array or tensor changed.

    >>> each({"a": 1, "b": 2}, lambda part: part * 10)
    {'a': 10, 'b': 20}
    """
    if isinstance(x, Mapping):
        return {name: change(part) for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(change(part) for part in x)
    return change(x)


def length(x: Any) -> int:
    """Return the number of samples."""
    return len(next(iter(parts(x).values())))


def joined(batches: Sequence[Any]) -> Any:
    """Return batches of the same structure as one, sample after sample.

    Raises:
        ValueError: the samples have different shapes.
    """
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in first}
    if isinstance(first, tuple):
        return tuple(np.concatenate(part) for part in zip(*batches, strict=True))
    return np.concatenate(batches)


def shapes(x: Any) -> str:
    """Return the shapes of some inputs, in words."""
    told = [(name, tuple(part.shape)) for name, part in parts(x).items()]
    if len(told) == 1:
        return f"inputs of shape {told[0][1]}"
    return ", ".join(f"{name.removeprefix('the ')} of shape {shape}" for name, shape in told)
