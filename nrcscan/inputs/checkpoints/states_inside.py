"""Finds the state dicts in whatever a training script saved, and lists of tensors without names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

MAX_DEPTH = 4
"""How deep in a training checkpoint a state dict is looked for."""

GROUPS = "param_groups"
"""What an optimiser has, by which its tensors are told from a network's."""

_OPTIMIZER = {"state", GROUPS}


def states_inside(
    content: Any, key: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping of names to tensors, with its dotted key, and every list of tensors.

    A place in a list is part of a key: "models.0". Tensors of a list are called by their places,
    "0", "1", …; `is_list` tells them. What an optimiser keeps is passed over.
    """
    if isinstance(content, Mapping):
        if content.keys() >= _OPTIMIZER:
            return
        children = {
            str(name): value
            for name, value in content.items()
            if isinstance(name, str | int) and not isinstance(name, bool)
        }
        tensors = {
            name: value
            for name, value in content.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
    elif is_list(content):
        yield key, {str(place): tensor for place, tensor in enumerate(content)}
        return
    elif isinstance(content, list | tuple):
        children, tensors = {str(place): value for place, value in enumerate(content)}, {}
    else:
        return
    if tensors:
        yield key, tensors
    if depth == MAX_DEPTH:
        return
    for name, value in children.items():
        if isinstance(value, Mapping | list | tuple):
            yield from states_inside(value, f"{key}.{name}" if key else name, depth + 1)


def lists_inside(content: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the dotted keys of all lists of tensors that `states_inside` finds."""
    if is_list(content):
        yield key
    elif depth <= MAX_DEPTH and isinstance(content, Mapping | list | tuple):
        if isinstance(content, Mapping) and content.keys() >= _OPTIMIZER:
            return
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for name, value in items:
            if isinstance(value, Mapping | list | tuple):
                yield from lists_inside(value, f"{key}.{name}" if key else str(name), depth + 1)


def is_list(content: Any) -> bool:
    """Whether this is a list of numbers in floating point: weights, in the order of a network's."""
    return (
        isinstance(content, list | tuple)
        and len(content) > 0
        and all(isinstance(one, Tensor) and _numbers(one) for one in content)
        and any(one.ndim > 1 for one in content)
    )


def _numbers(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
