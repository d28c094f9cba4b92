"""JSON of files and arguments, once it is known that what reads it further can take it.

Python's reader stops at no depth and no number of digits that programs behind it can deal with,
takes what JSON has no word for, and makes a hundred bytes of memory of two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from nrcscan.files import open_safely

DEEPEST = 100
"""Objects and lists inside one another."""

LONGEST_NUMBER = 100
"""Digits of an integer: what a float can hold has no more than 309, and the longest seed 40."""

MOST_VALUES = 10_000_000
"""Values and keys: about 1 GB of memory at most."""

LARGEST = 1 << 24
"""Bytes of a file that describes a network or its weights; the largest indices have 15 MB."""

LARGEST_RESULT = 1 << 28
"""Bytes of a file that nrcscan writes itself."""


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Return what JSON says.

    Args:
        text: UTF-8, if it is bytes.
        finite: refuse NaN and infinities, which JSON has no word for and Python writes all the
            same; files of other programs may have some.

    Raises:
        ValueError: it is no JSON, or larger or deeper than any that is meant.

    >>> parse_json('{"width": 256}')
    {'width': 256}
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if sum(map(text.count, ",:[{")) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES} values in it")
    read_float: Callable[[str], float] = _in_range if finite else float
    constant: Callable[[str], float] = _no_constant if finite else float
    try:
        found = json.loads(text, parse_int=_whole, parse_float=read_float, parse_constant=constant)
    except RecursionError:
        raise _too_deep() from None
    require_flat(found)
    return found


def read_json(path: Path, kind: str, *, limit: int = LARGEST, finite: bool = True) -> Any:
    """Return what a file of JSON says; raises as `parse_json` and `open_safely.content` do."""
    return parse_json(open_safely.content(path, kind, limit), finite=finite)


def require_flat(found: Any) -> None:
    """Refuse what has lists and objects inside one another without end.

    Raises:
        ValueError: deeper than `DEEPEST`.
    """
    level = [found] if isinstance(found, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ValueError:
    """Return the error that something is too deep.

    Raises:
        ValueError: it is.
    """
    return ValueError(f"lists or objects inside one another more than {DEEPEST} times")


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"{text[:20]}… in it, a number of {len(text)} digits, is out of range")
    return int(text)


def _in_range(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} in it, which is out of range")
    return number


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} in it")
