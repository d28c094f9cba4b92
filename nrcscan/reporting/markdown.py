"""What Markdown pages are made of; nothing in a name from a file is taken for Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nrcscan.wording import printable


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def escaped(text: str) -> str:
    r"""Return text that Markdown and HTML leave alone; no address or name in it is a link.

    >>> escaped("a_b <i>"), escaped("http://a.b")
    ('a\\_b \\<i\\>', 'http\\://a.b')
    """
    text = re.sub(r"([\\`*_<>\[\]~&@#$])", r"\\\1", printable(text))
    text = re.sub(r"^( *\d*)(?=[-+.)](?: |$)|--)", r"\1\\", text)  # or it would begin a list
    return re.sub(r"(:)(?=//)|(?<=www)(\.)", r"\\\1\2", text, flags=re.IGNORECASE)


def code(name: str) -> str:
    r"""Return a name as code, or as text where something in it would end that, or a table's cell.

    >>> code("net.0"), code("`<i>")
    ('`net.0`', '\\`\\<i\\>')
    """
    return escaped(name) if "`" in name or "|" in name else f"`{printable(name)}`"
