"""Names of layers in little room: what they begin with alike told once, the rest cut in the middle.

Widths are those of a terminal, in which some letters take two columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich.cells import cell_len, set_cell_size

from nrcscan.wording import common_prefix, initials

CUT = "…"


def short_names(names: Sequence[str], room: int, cut: str = CUT) -> tuple[str, list[str]]:
    """Return what is left out at the beginning of all names, and the names that fit.

    Nothing is left out, or cut, where all fit. Names are cut where most of them stay different,
    in their middle if it makes none; where some would look alike, first words become letters.

    Args:
        names: printable.
        room: more than `cut` takes.
        cut: what stands for what is left out.

    >>> short_names(["net.encoder.0.weight", "net.encoder.1.weight"], 10)
    ('net.encoder.', ['0.weight', '1.weight'])
    >>> short_names(["blocks.10.attention.output", "blocks.11.attention.output"], 14)
    ('blocks.', ['10.atte…output', '11.atte…output'])
    >>> short_names(["the_long_name_of_block_1_here", "the_long_name_of_block_2_here"], 6)
    ('the_long_name_of_block_', ['1_here', '2_here'])
    >>> short_names(["bert.layer.0.a.key", "bert.layer.1.a.key", "bert.layer.1.a.query", "fc"], 11)
    ('', ['b.l.0.a.key', 'b.l.1.a.key', 'b.l.1.a.qu…', 'fc'])
    """
    if all(cell_len(name) <= room for name in names):
        return "", list(names)
    prefix = common_prefix(names, room)
    rest = [name.removeprefix(prefix) for name in names]
    tails = range((room - cell_len(cut)) // 2, -1, -1)
    tried = [[shortened(name, room, cut, tail) for name in rest] for tail in tails]
    tried.append([shortened(initials(name, room), room, cut, 0) for name in rest])
    return prefix, max(tried, key=lambda found: len(set(found)))


def shortened(name: str, room: int, cut: str = CUT, tail: int | None = None) -> str:
    """Return a name that fits: where it did not, the middle is cut, or what is before the tail.

    >>> shortened("layers.12.attention.output", 14)
    'layers.…output'
    """
    if cell_len(name) <= room:
        return name
    left = room - cell_len(cut)
    tail = left // 2 if tail is None else tail
    end = set_cell_size(name[::-1], tail)[::-1]
    return f"{set_cell_size(name, left - tail).rstrip()}{cut}{end.lstrip()}"


def shared(words: Sequence[Sequence[str]]) -> int:
    """Return how many words all names begin with."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    return len(list(same))
