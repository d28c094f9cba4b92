"""In which order layers follow each other, where a file keeps its tensors sorted by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, islice, pairwise

from nrcscan.files.natural_order import natural_key
from nrcscan.network.chain import Block

_VISITS = 10_000
"""Beginnings that are looked at, at most: where more are possible, nothing tells the order."""

_MOST_PARTS = 400
"""Parts of several names that are ordered; a file can have any number."""

Parts = list[list[Block]]


def orders_that_fit(blocks: Sequence[Block]) -> list[list[Block]]:
    """Return up to two orders in which every layer takes what the one before gives.

    Parts, which are what stands under the first piece in which names differ, stay together, and
    numbers in their names tell the order of those that are called alike otherwise.
    """
    ordered = sorted(blocks, key=lambda block: natural_key(block.name))
    depth = _shared_depth(ordered)
    named = [
        (name, list(own)) for name, own in groupby(ordered, lambda block: _piece(block.name, depth))
    ]
    parts = [own for _, own in named]
    if any(before.ends[1] != after.ends[0] for own in parts for before, after in pairwise(own)):
        return []
    stems = [re.sub(r"\d+", "", name) for name, _ in named]
    if len(set(stems)) == 1:  # their numbers tell all
        return [ordered] if all(a.ends[1] == b.ends[0] for a, b in pairwise(ordered)) else []
    if len(parts) > _MOST_PARTS:
        return []
    visits = iter(range(_VISITS))
    found = list(islice(_continued([], list(range(len(parts))), parts, stems, visits), 2))
    if next(visits, None) is None:
        return []
    return [[block for index in order for block in parts[index]] for order in found]


def _continued(
    begun: list[int], left: list[int], parts: Parts, stems: list[str], visits: Iterator[int]
) -> Iterator[list[int]]:
    if not left:
        yield begun
    tried: set[str] = set()
    for index in left:
        if stems[index] in tried:  # a later number of the same name comes later
            continue
        tried.add(stems[index])
        fits = not begun or parts[begun[-1]][-1].ends[1] == parts[index][0].ends[0]
        if fits and next(visits, None) is not None:
            rest = [other for other in left if other != index]
            yield from _continued([*begun, index], rest, parts, stems, visits)


def _shared_depth(blocks: Sequence[Block]) -> int:
    """Return how many leading pieces all names share."""
    pieces = [block.name.split(".") for block in blocks]
    depth = 0
    while all(len(own) > depth + 1 and own[depth] == pieces[0][depth] for own in pieces):
        depth += 1
    return depth


def _piece(name: str, depth: int) -> str:
    return name.split(".")[depth]
