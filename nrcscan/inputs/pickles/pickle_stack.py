"""The stack, the buffer and the containers of the pickle machine."""

from __future__ import annotations

import mmap
import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from nrcscan.inputs.pickles.placeholder import Known, PickleDamaged, PickleRefused, Placeholder

_SCALARS = (str, int, float, bytes, complex, bool, type(None), Placeholder)
_SCALARS_OF = ("torch", "numpy")
"""The modules of dtypes, devices and numbers that can be keys too."""
_NESTED_KEYS = 3
_LONGEST_KEY = 64


def require_key(key: Any, depth: int = 0) -> None:
    """Refuse what cannot be a key, or takes long to be hashed.

    Raises:
        PickleRefused: it is no scalar, and no small tuple of them.
    """
    if isinstance(key, tuple) and depth < _NESTED_KEYS and len(key) <= _LONGEST_KEY:
        for part in key:
            require_key(part, depth + 1)
    elif not isinstance(key, _SCALARS) and type(key).__module__ not in _SCALARS_OF:
        raise PickleRefused(f"it has a {type(key).__name__} as a key")


class PickleStack:
    """What a pickle is read from, and what its operations work on.

    Attributes:
        position: where in the buffer the next operation is.
    """

    def __init__(self, buffer: bytes | mmap.mmap, position: int = 0) -> None:
        self.position = position
        self._buffer = buffer
        self._memo: dict[int, Any] = {}
        self._marks: list[list[Any]] = []
        self._stack: list[Any] = []

    # --- the buffer ---------------------------------------------------------------------------

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._buffer):
            raise PickleDamaged("it ends in the middle of its pickle")
        taken = self._buffer[self.position : end]
        self.position = end
        return taken

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize(code)))[0]

    def _sized(self, code: str) -> bytes:
        size: int = self._number(code)
        if size < 0:
            raise PickleDamaged("its pickle is out of order: a negative size")
        return self._take(size)

    def _line(self) -> bytes:
        end = self._buffer.find(b"\n", self.position)
        if end < 0:
            raise PickleDamaged("it ends in the middle of its pickle")
        line = self._buffer[self.position : end]
        self.position = end + 1
        return line

    # --- the stack ----------------------------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _drop_mark(self) -> None:
        self._since_mark()

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise IndexError("too little on the stack")
        start = len(self._stack) - size
        self._stack[start:] = [tuple(self._stack[start:])]

    def _put(self, index: int) -> None:
        if index < 0:
            raise PickleDamaged("its pickle is out of order: a negative index")
        self._memo[index] = self._stack[-1]

    # --- lists, dicts and sets ----------------------------------------------------------------

    def _extend(self, items: Sequence[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Placeholder) and not isinstance(target, Known):
            target.items.extend(items)
        else:
            raise PickleRefused(f"it appends to a {type(target).__name__}")

    def _append(self) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _set(self, items: Sequence[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Placeholder) and not isinstance(target, Known):
            target = target.entries
        if type(target) not in (dict, OrderedDict):
            raise PickleRefused(f"it sets entries of a {type(target).__name__}")
        if len(items) % 2:
            raise PickleDamaged("its pickle is out of order: a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            require_key(key)
            target[key] = value

    def _set_one(self) -> None:
        pair = self._stack[-2:]
        del self._stack[-2:]
        self._set(pair)

    def _add(self, items: Sequence[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise PickleRefused(f"it adds to a {type(target).__name__}")
        for item in items:
            require_key(item)
        target.update(items)

    def _new_dict(self) -> None:
        items = self._since_mark()
        self._push({})
        self._set(items)

    def _new_frozenset(self) -> None:
        items = self._since_mark()
        self._push(set())
        self._add(items)
        self._push(frozenset(self._stack.pop()))
