"""The order in which people list names: 2 before 10."""

from __future__ import annotations

import re

from nrcscan.files import natural_order


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts "layers.2" before "layers.10".

    >>> sorted(["l.10.b", "l.2.b", "l.2.a"], key=natural_key)
    ['l.2.a', 'l.2.b', 'l.10.b']
    """
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name) if p]


def natural_path(path: str) -> list[list[tuple[int, str]]]:
    """Sort key of relative paths: a folder's own files first, 2 before 10.

    >>> sorted(["10.pt", "b/1.pt", "2.pt"], key=natural_path)
    ['2.pt', '10.pt', 'b/1.pt']
    """
    *folders, name = path.split("/")
    return [
        *([(0, ""), *natural_order.natural_key(f)] for f in folders),
        [(-1, ""), *natural_order.natural_key(name)],
    ]
