"""A sentence in a terminal: what wraps is indented, so that where each begins is in sight."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.wording import printable

INDENT = "  "


@dataclass(frozen=True)
class Hanging:
    """A sentence.

    Attributes:
        text: whatever is in it, it is one line.
        style: of all of it.
    """

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = printable(self.text)
        first, *rest = Text(text, self.style).wrap(console, options.max_width)
        yield first
        if rest:
            left = text[len(first.plain) :].lstrip()
            for line in Text(left, self.style).wrap(console, options.max_width - len(INDENT)):
                yield Text(INDENT).append_text(line)
