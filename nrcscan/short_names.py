"""Names of layers in little room: what they begin with alike told once, the rest cut in the middle.

Tables and figures share this. Widths are those of a terminal, in which some letters take two
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich.cells import cell_len, set_cell_size

CUT = "…"


def short_names(names: Sequence[str], room: int, cut: str = CUT) -> tuple[str, list[str]]:
    """Return what is left out at the beginning of all names, and the names that fit.

    Nothing is left out, or cut, where all fit.

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
    """
    if all(cell_len(name) <= room for name in names):
        return "", list(names)
    prefix = common_prefix(names, room)
    return prefix, told_apart([name.removeprefix(prefix) for name in names], room, cut)


def common_prefix(names: Sequence[str], room: int) -> str:
    """Return what all names begin with, up to a point; nothing where one has no more than that.

    Where more than `room` letters are left of a name, it ends at an underscore or a hyphen too.

    >>> common_prefix(["layers.0", "layers.10"], 8), common_prefix(["net.0", "head"], 8)
    ('layers.', '')
    >>> common_prefix(["net.block_0", "net.block_1"], 7), common_prefix(["net.block_0"], 7)
    ('net.', '')
    >>> common_prefix(["net.block_0", "net.block_1"], 6)
    'net.block_'
    """
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    alike = next((i for i, c in enumerate(first) if c != last[i : i + 1]), len(first))
    ends = [max(first.rfind(mark, 0, alike) for mark in marks) + 1 for marks in (".", "._-")]
    longest = max(map(len, names))
    return first[: ends[0] if longest - ends[0] <= room else ends[1]]


def told_apart(names: Sequence[str], room: int, cut: str = CUT) -> list[str]:
    """Return names that fit, cut where most of them stay different.

    That is in their middle if possible, or else before that; or first words become letters.

    >>> told_apart(["10.attention.output", "11.attention.output"], 14)
    ['10.atte…output', '11.atte…output']
    >>> told_apart(["bert.layer.0.a.key", "bert.layer.1.a.key", "bert.layer.1.a.query"], 11)
    ['b.l.0.a.key', 'b.l.1.a.key', 'b.l.1.a.qu…']
    """
    tails = range((room - cell_len(cut)) // 2, -1, -1)
    tried = [[shortened(name, room, cut, tail) for name in names] for tail in tails]
    tried.append([shortened(initials(name, room), room, cut, 0) for name in names])
    return max(tried, key=lambda found: len(set(found)))


def initials(name: str, room: int) -> str:
    """Return a name with as many of its words, from the first, as one letter as have to be.

    Numbers stay, and so does the last word.

    >>> initials("bert.encoder.layer.11.attention.self.query", 20)
    'b.e.l.11.a.s.query'
    """
    words = name.split(".")
    for place, word in enumerate(words[:-1]):
        if len(".".join(words)) <= room:
            break
        words[place] = word if word.isdecimal() else word[:1]
    return ".".join(words)


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
