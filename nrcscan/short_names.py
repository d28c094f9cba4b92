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
    """
    if all(cell_len(name) <= room for name in names):
        return "", list(names)
    prefix = common_prefix(names)
    return prefix, told_apart([name.removeprefix(prefix) for name in names], room, cut)


def common_prefix(names: Sequence[str]) -> str:
    """Return what all names begin with, up to a point; nothing where one has no more than that.

    >>> common_prefix(["layers.0", "layers.10"]), common_prefix(["net.0", "head"])
    ('layers.', '')
    """
    if len(names) < 2:
        return ""
    words = [name.split(".") for name in names]
    alike = min(shared(words), min(map(len, words)) - 1)
    return "".join(f"{word}." for word in words[0][:alike])


def told_apart(names: Sequence[str], room: int, cut: str = CUT) -> list[str]:
    """Return names that fit, cut where most of them stay different.

    That is in their middle if possible, or else before that, or in their longest words.

    >>> told_apart(["10.attention.output", "11.attention.output"], 14)
    ['10.atte…output', '11.atte…output']
    """
    tails = range((room - cell_len(cut)) // 2, -1, -1)
    tried = [[shortened(name, room, cut, tail) for name in names] for tail in tails]
    tried.append([_words_shortened(name, room, cut) for name in names])
    return max(tried, key=lambda found: len(set(found)))


def _words_shortened(name: str, room: int, cut: str) -> str:
    """Return a name that fits, with its longest words cut short, so that numbers stay whole.

    >>> _words_shortened("encoder.layer.11.attention.query", 20, CUT)
    'en….la….11.att….que…'
    """
    words = name.split(".")
    while cell_len(".".join(words)) > room:
        longest = max(words, key=lambda word: 0 if word.isdecimal() else len(word))
        if len(longest) < len(cut) + 3:
            return shortened(name, room, cut)
        kept = longest.removesuffix(cut)[: len(longest) - len(cut) - 1]
        words[words.index(longest)] = f"{kept}{cut}"
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
