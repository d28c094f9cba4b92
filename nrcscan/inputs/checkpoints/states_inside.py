"""Finds the state dicts in whatever a training script saved, and lists of tensors without names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nrcscan.inputs.checkpoints.left_out import mapping_in
from nrcscan.inputs.checkpoints.pickled_networks import is_network, state_dict
from nrcscan.inputs.pickles.placeholder import Placeholder

MAX_DEPTH = 4
"""How deep in a training checkpoint a state dict is looked for."""

GROUPS = "param_groups"
"""What an optimiser has, by which its tensors are told from a network's."""

_OPTIMIZER = {"state", GROUPS}
_MOST_REPEATED = 2_000_000


@dataclass
class StatesInside:
    """What there is in a file's content.

    Attributes:
        kinds: what counts as a tensor.
        opaque: whether objects of other classes are looked into too.
        lists: the keys of those states that are lists of tensors: their names are places.
        networks: whole networks that were not built, by the key of their state dict.
        used: the identities of the placeholders whose content is among the states.
    """

    kinds: type | tuple[type, ...] = Tensor
    opaque: bool = False
    lists: set[str] = field(default_factory=set)
    networks: dict[str, Placeholder] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)

    def find(self, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every mapping of names to tensors, with its dotted key, and every list of tensors.

        A place in a list is part of a key: "models.0". Tensors of a list are called by their
        places, "0", "1", …. What an optimiser keeps is passed over.
        """
        seen: set[int] = set()
        repeated = 0  # of parts that are in one another many times over
        waiting: list[tuple[str, Any, int]] = [("", content, 0)]
        while waiting:
            key, value, depth = waiting.pop()
            if is_network(value):
                self.networks[key] = value
                yield key, state_dict(value)
                continue
            if _is_list(value) and (depth or isinstance(value, list)):  # a bare tuple is data
                self.lists.add(key)
                yield key, {str(place): tensor for place, tensor in enumerate(value)}
                continue
            children = self._children(value)
            if id(value) in seen and (repeated := repeated + len(children) + 1) > _MOST_REPEATED:
                return
            seen.add(id(value))
            tensors = {
                n: v for n, v in children if isinstance(n, str) and isinstance(v, self.kinds)
            }
            if tensors:
                if isinstance(value, Placeholder):
                    self.used.add(id(value))
                yield key, tensors
            if depth < MAX_DEPTH:
                waiting += [
                    (f"{key}.{name}" if key else str(name), part, depth + 1)
                    for name, part in reversed(children)
                    if isinstance(part, Mapping | Placeholder | list | tuple)
                ]

    def _children(self, value: Any) -> list[tuple[str | int, Any]]:
        """Return what a mapping, list or object holds, by name or place."""
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        held = value if isinstance(value, Mapping) else None
        if isinstance(value, Placeholder) and (self.opaque or value.entries):
            held = mapping_in(value)
        if held is None or held.keys() >= _OPTIMIZER:
            return []
        return [
            (name, part)
            for name, part in held.items()
            if isinstance(name, str | int) and not isinstance(name, bool)
        ]


def _is_list(content: Any) -> bool:
    """Whether this is a list of numbers in floating point: weights, in the order of a network's."""
    return (
        isinstance(content, list | tuple)
        and len(content) > 0
        and all(isinstance(one, Tensor) and _numbers(one) for one in content)
        and any(one.ndim > 1 for one in content)
    )


def _numbers(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
