"""What the network costs up to each position, as the provenance of a file tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a part of the network costs.

    Attributes:
        weights: numbers in the weights of its layers, biases aside, each shared one once; None
            where it is not known which layers these are.
        multiply_adds: of the products with them, per sample; None where not known.
    """

    weights: int | None
    multiply_adds: int | None


@dataclass(frozen=True)
class Prefix(Cost):
    """The part of the network that has to run for the features of a position to be there.

    Attributes:
        inside: why the position is no place to cut, as in "the shortcut past it, layers.3, is not
            in what reaches it"; None where it is one.
    """

    inside: str | None


@dataclass(frozen=True)
class Prefixes:
    """What the network costs, and up to each position.

    Attributes:
        whole: all that runs.
        positions: position → what has to run for its features.
    """

    whole: Cost
    positions: tuple[Prefix, ...]


def prefixes_in(provenance: Mapping[str, Any]) -> Prefixes | None:
    """Return what a file's provenance says the parts of its network cost.

    None in files of before, and in merged files of networks of which it is not the same.

    Raises:
        ValueError: it is damaged.
    """
    told = provenance.get("prefixes")
    if told is None:
        return None
    match told:
        case {"whole": {**whole}, "positions": [*positions]}:
            return Prefixes(
                Cost(_number(whole, "weights"), _number(whole, "multiply_adds")),
                tuple(map(_prefix, positions)),
            )
    raise ValueError(_DAMAGED)


_DAMAGED = "what it says the parts of the network cost makes no sense"


def _prefix(told: Any) -> Prefix:
    match told:
        case {"inside": None | str() as inside, **cost}:
            return Prefix(_number(cost, "weights"), _number(cost, "multiply_adds"), inside)
    raise ValueError(_DAMAGED)


def _number(told: Mapping[Any, Any], name: str) -> int | None:
    """Return a number of things, as a file tells it: an int, and no truth value."""
    value = told.get(name, -1)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise ValueError(_DAMAGED)
    return value
