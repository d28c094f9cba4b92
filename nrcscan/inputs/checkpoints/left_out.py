"""What of a file was left out because it is no data, in words; and what of it is data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrcscan.inputs.pickles.placeholder import Known, Placeholder, Unreadable
from nrcscan.wording import listed, some

_MOST_NAMED = 6
_MOST_NODES = 100_000
_DEEPEST = 32
_PLAINEST = {str, int, float, bool, type(None)}
_SCALARS = (
    str, int, float, complex, bytes, bytearray, type(None), torch.dtype, torch.device, Tensor,
    np.generic, slice, range,
)  # fmt: skip


def left_out(
    content: Any,
    *,
    opened: Callable[[Placeholder], bool] = lambda _: False,
    built: Iterable[Placeholder] = (),
    all_of: bool = False,
) -> Iterator[tuple[str, str]]:
    """Yield the name of each class or function that was not built, and the key that it is under.

    Args:
        content: of the file.
        opened: whether a placeholder's own content was used: then what else is in it is named.
        built: those that were built after all.
        all_of: name those in others too.
    """
    seen = {id(placeholder) for placeholder in built}
    waiting: list[tuple[Any, str]] = [(content, "")]
    while waiting:
        value, key = waiting.pop()
        if (
            type(value) in _PLAINEST
            or isinstance(value, (*_SCALARS, Unreadable))
            or id(value) in seen
        ):
            continue
        seen.add(id(value))
        parts: list[tuple[Any, str]] = []
        if isinstance(value, Placeholder):
            if isinstance(value, Known):
                continue
            if not opened(value):
                yield value.name, key
                if not all_of:
                    continue
                parts = [(part, key) for part in value.parts()]
            else:
                inside = value.attributes | value.entries
                parts = [(part, _joined(key, name)) for name, part in inside.items()]
                parts += [(part, key) for part in (*(value.args or ()), *value.items)]
        elif isinstance(value, Mapping):
            parts = [(part, _joined(key, name)) for name, part in value.items()]
            parts += [(name, key) for name in value]
        elif isinstance(value, list | tuple | set | frozenset):
            parts = [(part, key) for part in value]
        elif isinstance(value, np.ndarray) and value.dtype == object:
            parts = [(part, key) for part in value.ravel()]
        waiting += reversed(parts)


def in_words(names: Iterator[tuple[str, str]]) -> str:
    """Return what was left out as one enumeration: each class, with the keys it is under."""
    keys: dict[str, dict[str, None]] = {}
    for name, key in names:
        keys.setdefault(name, {})[key] = None
    words = [
        f"{name} ({some(list(under))})" if any(under) else name for name, under in keys.items()
    ]
    if len(words) > _MOST_NAMED + 1:
        words = [*words[:_MOST_NAMED], f"{len(words) - _MOST_NAMED} classes more"]
    return listed(words)


def is_plain(value: Any) -> bool:
    """Whether a value is data through and through, and of a reasonable size."""
    nodes, waiting = 0, [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        nodes += 1
        if nodes > _MOST_NODES or depth > _DEEPEST:
            return False
        if isinstance(part, _SCALARS):
            continue
        if isinstance(part, np.ndarray) and part.dtype.hasobject:
            return False
        if isinstance(part, Mapping):
            inside = [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            inside = list(part)
        elif isinstance(part, np.ndarray):
            inside = []
        else:
            return False
        if len(inside) > _MOST_NODES:
            return False
        waiting += [(one, depth + 1) for one in inside]
    return True


def has_arrays(content: Any) -> bool:
    """Whether there is a tensor or an array anywhere in a file's content."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor | np.ndarray):
            return True
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, Placeholder):
            waiting += value.parts()
    return False


def mapping_in(value: Any) -> Mapping[Any, Any] | None:
    """Return a mapping, be it one, be it what an object of a class of its own holds by name."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Placeholder) and not isinstance(value, Known | Unreadable):
        return value.entries or value.attributes or None
    return None


def _joined(key: str, name: Any) -> str:
    if not isinstance(name, str | int):
        return key
    return f"{key}.{name}" if key else str(name)
