"""Words in figures: whatever is in a name is drawn as it is, and fits."""

from __future__ import annotations

import textwrap
from functools import cache

from nrcscan.wording import initials, printable

NAME = 20
"""Letters of a name beside an axis."""


@cache
def _known() -> frozenset[int]:
    """Return the characters that the font has."""
    from matplotlib import ft2font, get_data_path

    font = ft2font.FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf")
    return frozenset(font.get_charmap())


def drawn(text: str) -> str:
    r"""Return text in characters that the font has; others are shown as escapes.

    >>> drawn("λ of 層\n")
    'λ of \\u5c64\\n'
    """
    return "".join(
        c if ord(c) in _known() else c.encode("unicode_escape").decode("ascii")
        for c in printable(text)
    )


def cut(text: str, most: int) -> str:
    """Return text with its middle left out where it is longer.

    >>> cut("encoder.layer.11.attention.query", 18)
    'encode…ntion.query'
    """
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 5
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def short_name(name: str, most: int) -> str:
    """Return a layer's name with its first words as letters where it is longer; numbers stay.

    >>> short_name("encoder.layer.11.attention.query", 20)
    'e.l.11.a.query'
    """
    return cut(initials(name, most), most)


def folded(text: str, width: int) -> str:
    """Return text on several lines, none longer than `width`."""
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text
