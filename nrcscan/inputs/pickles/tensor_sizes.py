"""Sizes of tensors in pickles, before they are believed."""

from __future__ import annotations

from typing import Any

from nrcscan.inputs.pickles.placeholder import PickleRefused

_MOST_AXES = 64


def count(value: Any) -> int:
    """Return a size.

    Raises:
        PickleRefused: it is no whole number from 0 on.
    """
    if type(value) is not int or not 0 <= value < 2**62:
        shown = repr(value) if type(value) is int else type(value).__name__
        raise PickleRefused(f"a tensor has a size {shown}, which is none")
    return value


def counts(values: Any) -> tuple[int, ...]:
    """Return a shape, or strides.

    Raises:
        PickleRefused: it is no sequence of whole numbers from 0 on.
    """
    if not isinstance(values, tuple | list) or len(values) > _MOST_AXES:
        raise PickleRefused("a tensor's shape is none")
    return tuple(count(value) for value in values)
