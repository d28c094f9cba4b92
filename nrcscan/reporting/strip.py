"""Depth and conditions at a glance: a row for each condition, a mark for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.reporting.marks import BLUE, MARKS
from nrcscan.short_names import CUT, shortened
from nrcscan.verdict.answers import Answer
from nrcscan.wording import in_ascii

LONGEST = 40
"""So many layers are in a line."""

APART = 20
"""Up to so many layers there is a space between them."""

NAME = 20
LINE = "│"
DEPTH = "depth"


@dataclass(frozen=True)
class Strip:
    """The answers at every layer.

    Attributes:
        steps: the layers' places in depth.
        rows: what each condition is called → its answer at every layer.
        told: of each row, in a few words, what follows its marks.
        begins: the layer at which collapse begins, by its index and its name; None where it does
            not.
    """

    steps: Sequence[int]
    rows: dict[str, Sequence[Answer]]
    told: Sequence[str]
    begins: tuple[int, str] | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        spell = in_ascii if options.ascii_only else str
        for first in range(0, len(self.steps), LONGEST):
            if first:
                yield Text()
            yield from self._part(first, min(first + LONGEST, len(self.steps)), spell)

    def _part(self, first: int, stop: int, spell: Callable[[str], str]) -> Iterator[Text]:
        """Yield the lines of the layers that stand side by side."""
        apart = 2 if len(self.steps) <= APART else 1
        margin = max(map(len, (*self.rows, DEPTH))) + 1
        line = None
        if self.begins is not None and first <= self.begins[0] < stop:
            line = self.begins[0]
            at = margin + (line - first) * apart
            yield Text(_label(self.begins[1], at, spell), f"bold {BLUE}", no_wrap=True)
        for (name, answers), told in zip(self.rows.items(), self.told, strict=True):
            row = Text(name.ljust(margin), no_wrap=True, overflow="ignore")
            for i in range(first, stop):
                if i == line:
                    row.append(spell(LINE).ljust(apart), BLUE)
                mark, style = MARKS[answers[i]]
                row.append(spell(mark).ljust(apart), style)
            if stop == len(self.steps):
                row.append(f"{' ' * (3 - apart)}{told}", "dim")
            row.rstrip()
            yield row
        yield Text(DEPTH.ljust(margin) + self._ticks(first, stop, line, apart), "dim", no_wrap=True)

    def _ticks(self, first: int, stop: int, line: int | None, apart: int) -> str:
        """Return the places in depth, every one where there is room, else every fifth."""
        ticks = ""
        for i in range(first, stop):
            step = self.steps[i]
            begins = i == first or step != self.steps[i - 1]
            wanted = begins and (max(self.steps) < 10 or step % 5 == 0 or i == first)
            at = (i - first + (line is not None and i >= line)) * apart
            if wanted and (not ticks or at > len(ticks)):
                ticks = ticks.ljust(at) + str(step)
        return ticks


def _label(name: str, at: int, spell: Callable[[str], str]) -> str:
    """Return a line that points down at a column, with its words where there is room for them."""
    short = shortened(spell(name), NAME, spell(CUT))
    words = f"collapsed from {short}"
    pointer = spell("▼")
    if at > len(words):
        return f"{words} {pointer}".rjust(at + 1)
    return f"{' ' * at}{pointer} {words}"
