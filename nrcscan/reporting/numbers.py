"""How tables show things, whatever is in them. Imports nothing heavy."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

WIDE = 10_000
"""Columns when the output is no terminal: nothing is cut or wrapped."""


def plain(shown: RenderableType) -> str:
    """Return what a terminal shows as plain text, nothing of it cut or wrapped."""
    buffer = io.StringIO()
    Console(file=buffer, width=WIDE, color_system=None).print(shown)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


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
