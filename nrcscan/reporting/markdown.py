"""What Markdown tables are made of."""

from __future__ import annotations

from collections.abc import Iterable

from nrcscan.wording import printable


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def escaped(text: str) -> str:
    """Return text that Markdown and HTML leave alone."""
    for character in "\\`*_<>[]":
        text = text.replace(character, f"\\{character}")
    return printable(text)
