"""How tables show things, whatever is in them. Imports nothing heavy."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from nrcscan.reporting.inert_lines import InertLines
from nrcscan.wording import in_ascii

WIDE = 10_000
"""Columns when the output is no terminal: no sentence is wrapped."""

NARROW = 80
"""Columns that tables fit then, unless they are asked to be wide: the same wherever it is read."""


def plain(shown: RenderableType, encoding: str = "utf-8") -> str:
    """Return what a terminal shows as plain text, no sentence of it wrapped.

    Args:
        shown: it.
        encoding: of what it will be written to; in one that has not all its letters it is ASCII.
    """
    text = _printed(shown, "utf-8")
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = in_ascii(_printed(shown, "ascii"))
    return text


def _printed(shown: RenderableType, encoding: str) -> str:
    """Return it as it is laid out for an encoding."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=WIDE, color_system=None)
    options = console.options.update()
    options.encoding = encoding
    lines = console.render_lines(InertLines(shown), options, pad=False)
    return "".join(f"{''.join(s.text for s in line).rstrip()}\n" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number short enough for a table, or a dash where there is none.

    >>> number(0.97961), number(1.23e-7), number(12.345), number(1.618, 2), number(None)
    ('0.980', '1.2e-7', '12.3', '1.62', '—')
    """
    if value is None:
        return "—"
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.{digits if abs(value) < 10 else min(digits, 1)}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
