"""Rows as CSV that a spreadsheet reads as data: no text in it is a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from nrcscan.wording import printable

_FORMULA = re.compile(r"(?:^|(?<=;))(?=\s*[=+\-@＝＋－＠])")
"""Where a spreadsheet takes a formula to begin: in some countries a semicolon ends a cell."""


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV; a text that would begin a formula has an apostrophe before it.

    Args:
        rows: of numbers, written so that they are read back exactly; None, which is empty; texts.

    >>> print(csv_text([["name", "cka"], ["=cmd()", -0.5], ["head", None]]), end="")
    name,cka
    '=cmd(),-0.5
    head,
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _cell(cell: object) -> object:
    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, str):
        return cell
    return _FORMULA.sub("'", printable(cell))
