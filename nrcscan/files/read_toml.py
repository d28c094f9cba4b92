"""TOML, once it is known that Python's reader can take it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from nrcscan.files.read_json import LONGEST_NUMBER, require_flat

LARGEST = 1 << 20
"""Bytes of a file of settings, or of a project's."""

MOST_PARTS = 100
"""Parts of a key, such as three in a.b.c; the reader's time grows with their square."""

_KEY = re.compile(
    rb"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % MOST_PARTS
)


def parse_toml(text: bytes) -> dict[str, Any]:
    """Return what TOML says.

    Raises:
        ValueError: it is no TOML, or larger or deeper than any that is meant.

    >>> parse_toml(b"require = ['model.r2 >= 0.9']")
    {'require': ['model.r2 >= 0.9']}
    """
    if _KEY.search(text):
        raise ValueError(f"a key of more than {MOST_PARTS} parts")
    try:
        found = tomllib.loads(text.decode("utf-8"))
    except (RecursionError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    require_flat(found)
    _require_small(found)
    return found


def _require_small(found: dict[str, Any]) -> None:
    waiting: list[Any] = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            waiting.extend(one.values() if isinstance(one, dict) else one)
        elif isinstance(one, int) and abs(one) >= 10**LONGEST_NUMBER:
            raise ValueError(f"a number of more than {LONGEST_NUMBER} digits")
