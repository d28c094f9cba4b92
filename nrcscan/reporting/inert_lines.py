"""The last door before a terminal: whatever was laid out, no line of it steers what shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from nrcscan.wording import printable


@dataclass(frozen=True)
class InertLines:
    """What is shown, each of its lines printable; colours are as they were.

    Names are made printable before they are laid out, so that columns line up; but where a line
    begins is known only after that, and a command of a build's log is one there alone.

    Attributes:
        shown: what is laid out.
    """

    shown: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in Segment.split_lines(console.render(self.shown, options)):
            yield from _inert(line)
            yield Segment.line()


def _inert(line: Sequence[Segment]) -> Iterable[Segment]:
    if _is_printable(line):
        return line
    parts = [Segment(printable(part.text), part.style) for part in line]
    return parts if _is_printable(parts) else [Segment(printable(_text(parts)))]


def _is_printable(line: Sequence[Segment]) -> bool:
    return printable(_text(line)) == _text(line)


def _text(line: Iterable[Segment]) -> str:
    return "".join(part.text for part in line)
