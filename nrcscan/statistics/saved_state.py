"""Accumulators in a file: what they have added up, bit for bit, for another process to go on with.

A file holds a table, in JSON, and after it the bytes of arrays. Nothing in it is code: classes are
those that the reader says it takes, and what two objects share they share again.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nrcscan.files import open_safely
from nrcscan.files.read_json import parse_json

MAGIC = b"nrcscan state 1\n"
"""What a file begins with; the number is that of the layout."""

_LENGTH = 8
"""Bytes that say how long the table is."""

_NUMBERS = re.compile(r"[<>|][biuf][1248]|[<>]f16")
"""Types of numbers that an array may have."""

_OF_TORCH = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}

_DAMAGED = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What comes of a table that another program wrote."""


def write_state(path: Path, value: Any, classes: Sequence[type]) -> None:
    """Write a value: numbers, text, containers, arrays, tensors, and objects of some classes.

    Args:
        path: of the file.
        value: what is kept.
        classes: of the objects that may be in it; each tells what it has by `__getstate__`.

    Raises:
        TypeError: something else is in it.
        OSError: the file cannot be written.
    """
    table = _Table(classes)
    table.add(value)
    header = json.dumps(table.nodes, separators=(",", ":")).encode()
    with path.open("wb", buffering=1 << 20) as file:
        file.write(MAGIC + len(header).to_bytes(_LENGTH, "little") + header)
        for array in table.arrays:
            file.write(_in_bytes(array))


def read_state(path: Path, classes: Sequence[type], device: torch.device) -> Any:
    """Return what `write_state` has written, tensors on a device.

    Raises:
        ValueError: it is no such file, or damaged.
        InputError: it cannot be read.
    """
    with open_safely.opened(path, "state") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin as such a file does")
        length = int.from_bytes(file.read(_LENGTH), "little")
        left = size - file.tell() - length
        if left < 0:
            raise ValueError("it is cut short")
        nodes = parse_json(file.read(length))
        try:
            return _read(nodes, {one.__name__: one for one in classes}, device, file, left)
        except _DAMAGED as error:
            raise ValueError(f"its table makes no sense ({error})") from error


class _Table:
    """A value taken apart: a node for each of its parts, after those that it is made of."""

    def __init__(self, classes: Sequence[type]) -> None:
        self._classes = set(classes)
        self._known: dict[int, tuple[int, Any]] = {}  # with the part: its place stays its own
        self.nodes: list[list[Any]] = []
        self.arrays: list[NDArray[Any]] = []

    def add(self, value: Any) -> int:
        """Return the number of a value's node."""
        plain = value is None or isinstance(value, bool | int | float | str)
        if not plain and id(value) in self._known:
            return self._known[id(value)][0]
        self.nodes.append(self._node(value))
        if not plain:
            self._known[id(value)] = len(self.nodes) - 1, value
        return len(self.nodes) - 1

    def _node(self, value: Any) -> list[Any]:
        kind = type(value)
        if kind in self._classes:
            state = tuple(value) if isinstance(value, tuple) else value.__getstate__()
            return ["object", kind.__name__, self.add(state)]
        if value is None or kind in (bool, int, str):
            return ["plain", value]
        if kind is float:
            return ["float", value.hex()]  # JSON has no infinities
        if kind in (list, tuple):
            return [kind.__name__, [self.add(part) for part in value]]
        if kind in (dict, Counter):
            return [kind.__name__, [[self.add(k), self.add(v)] for k, v in value.items()]]
        if kind is torch.dtype:
            return ["torch", str(value).removeprefix("torch.")]
        if isinstance(value, np.dtype):
            return ["dtype", value.str]
        if kind is torch.Tensor:
            return ["tensor", self.add(value.cpu().numpy())]
        if kind is np.ndarray and _NUMBERS.fullmatch(value.dtype.str):
            self.arrays.append(value)
            return ["array", value.dtype.str, list(value.shape), _order(value)]
        raise TypeError(f"no state can hold a {kind.__module__}.{kind.__name__}")


def _order(array: NDArray[Any]) -> str:
    """Return how an array lies in memory: products of it round accordingly."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _in_bytes(array: NDArray[Any]) -> memoryview | bytes:
    flat = array.reshape(-1, order="F" if _order(array) == "F" else "C")
    return flat.data.cast("B") if flat.size and flat.dtype.isnative else flat.tobytes()


def _read(
    nodes: list[Any],
    classes: dict[str, type],
    device: torch.device,
    file: io.BufferedReader,
    left: int,
) -> Any:
    """Return the value of the last node.

    Args:
        nodes: of the table.
        classes: that objects may be of, by name.
        device: that tensors are put on.
        file: open where the arrays begin.
        left: bytes from there on, which they must come to.
    """
    made: list[Any] = []

    def at(number: Any) -> Any:
        if type(number) is not int or not 0 <= number < len(made):
            raise ValueError("its table makes no sense: a part that comes later")
        return made[number]

    for kind, *told in nodes:
        match kind:
            case "plain":
                value = told[0]
                if not (value is None or isinstance(value, bool | int | str)):
                    raise ValueError("its table makes no sense: nothing plain")
            case "float":
                value = float.fromhex(told[0])
            case "list":
                value = [at(part) for part in told[0]]
            case "tuple":
                value = tuple(at(part) for part in told[0])
            case "dict" | "Counter":
                value = {at(key): at(part) for key, part in told[0]}
                value = Counter(value) if kind == "Counter" else value
            case "torch":
                value = _OF_TORCH[told[0]]
            case "dtype":
                value = _dtype(told[0])
            case "array":
                value = _array(file, left, *told)
                left -= value.nbytes
            case "tensor":
                value = torch.from_numpy(at(told[0])).to(device)
            case "object":
                value = _object(classes[told[0]], at(told[1]))
            case _:
                raise ValueError(f"its table makes no sense: {kind!r:.40}")
        made.append(value)
    if left:
        raise ValueError("it is longer than its table says")
    return made[-1]


def _object(made_of: type, state: Any) -> Any:
    if isinstance(state, tuple):
        return made_of(*state)
    value: Any = object.__new__(made_of)
    restore = getattr(value, "__setstate__", None)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError("its table makes no sense: an object without names")
    vars(value).update(state) if restore is None else restore(state)
    return value


def _dtype(told: Any) -> np.dtype[Any]:
    if not isinstance(told, str) or not _NUMBERS.fullmatch(told):
        raise ValueError("its table makes no sense: numbers of no type")
    return np.dtype(told)


def _array(
    file: io.BufferedReader, left: int, numbers: Any, shape: Any, order: Any
) -> NDArray[Any]:
    """Return the next array of a file, which has so many bytes left."""
    dtype = _dtype(numbers)
    if not all(type(size) is int and size >= 0 for size in shape) or order not in ("C", "F"):
        raise ValueError("its table makes no sense: an array of no shape")
    size = math.prod(shape)
    if size * dtype.itemsize > left:
        raise ValueError("it is cut short")
    flat = np.empty(size, dtype)
    if size and file.readinto(flat.view(np.uint8).data) != flat.nbytes:
        raise ValueError("it is cut short")
    return flat.reshape(shape, order=order)
