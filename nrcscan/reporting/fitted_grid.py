"""A table that fits: columns side by side as far as there is room, and below each other from there.

The names at the left of its rows are cut where they have to be, numbers never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.short_names import CUT, short_names
from nrcscan.wording import in_ascii, printable

Cell = tuple[tuple[str, str], ...]
"""Pieces of text, each with its style."""

SHORT_NAME = 12
"""A column is not put below others for the sake of names longer than this."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        head: its lines.
        cells: one for each row, those below included.
        left: whether they are flush left.
    """

    head: tuple[str, ...]
    cells: Sequence[Cell]
    left: bool = False

    @property
    def width(self) -> int:
        """How many columns of a terminal it takes."""
        return max(map(cell_len, (*self.head, *("".join(t for t, _ in c) for c in self.cells))))

    def spelled(self, spell: Callable[[str], str]) -> Column:
        """Return the column in other letters."""
        cells = [tuple((spell(text), style) for text, style in cell) for cell in self.cells]
        return Column(tuple(map(spell, self.head)), cells, self.left)


def plain_column(head: tuple[str, ...], texts: Sequence[str], *, left: bool = False) -> Column:
    """Return a column of texts without style."""
    return Column(head, [((text, ""),) for text in texts], left)


@dataclass(frozen=True)
class FittedGrid:
    """A table.

    Attributes:
        names: of its rows.
        named: the head of these.
        groups: columns, of which those of a group stay together.
        before: columns left of the names.
        after: columns that end every stretch of groups.
        line: the row before which a line is drawn, and the word and style of that.
        below: names of rows after these, under a line of their own, such as one that sums up.
        strong: the row that stands out.
        width: that it has to fit; None for that of the terminal.
    """

    names: Sequence[str]
    named: str
    groups: Sequence[Sequence[Column]]
    before: Sequence[Column] = ()
    after: Sequence[Column] = ()
    line: tuple[int, str, str] | None = None
    below: Sequence[str] = field(default=(), kw_only=True)
    strong: int | None = field(default=None, kw_only=True)
    width: int | None = field(default=None, kw_only=True)

    @property
    def least_width(self) -> int:
        """How many columns it takes to cut no number."""
        shown = self._spelled(printable)
        widest = max((_width(group) for group in shown.groups), default=0)
        return _width([*shown.before, *shown.after]) + widest + shown._least_name

    def _spelled(self, spell: Callable[[str], str]) -> FittedGrid:
        """Return the table in other letters."""
        return replace(
            self,
            names=[*map(spell, self.names)],
            named=spell(self.named),
            groups=[[column.spelled(spell) for column in group] for group in self.groups],
            before=[column.spelled(spell) for column in self.before],
            after=[column.spelled(spell) for column in self.after],
            below=[*map(spell, self.below)],
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def spell(text: str) -> str:
            shown = printable(text)
            return in_ascii(shown) if options.ascii_only else shown

        shown = self._spelled(spell)
        room = self.width or options.max_width
        for index, block in enumerate(shown.blocks(room)):
            if index:
                yield Text()
            left = room - _width([*block, *shown.before, *shown.after])
            prefix, short = short_names(shown.names, max(left, shown._least_name), spell(CUT))
            head = (shown.named, *([prefix] if prefix else []))
            if cell_len(prefix) > left:
                head = (shown.named, short_names([prefix], left, spell(CUT))[1][0])
            name = plain_column(head, [*short, *shown.below], left=True)
            yield from self._lines([*shown.before, name, *block, *shown.after], spell)

    def blocks(self, room: int) -> Iterator[list[Column]]:
        """Yield the columns beside the names, as many at a time as stand side by side."""
        around = _width([*self.before, *self.after]) + self._least_name
        block: list[Column] = []
        for group in self.groups:
            if block and around + _width([*block, *group]) > room:
                yield block
                block = []
            block.extend(group)
        yield block

    @property
    def _least_name(self) -> int:
        longest = max(map(cell_len, [*self.names, *self.below]), default=0)
        return max(cell_len(self.named), min(longest, SHORT_NAME))

    def _lines(self, columns: Sequence[Column], spell: Callable[[str], str]) -> Iterator[Text]:
        """Yield a block, line by line."""
        widths = [column.width for column in columns]
        whole = sum(widths) + len(widths) - 1
        height = max(len(column.head) for column in columns)
        for i in range(height):
            cells: list[Cell] = [((_head_line(c.head, i, height), "bold"),) for c in columns]
            yield _row(columns, widths, cells)
        yield _whole(spell("─") * whole, "dim")
        for i in range(len(self.names) + len(self.below)):
            if i == len(self.names):
                yield _whole(spell("─") * whole, "dim")
            if self.line is not None and self.line[0] == i:
                word = f"{spell(self.line[1])} "
                yield _whole(word + spell("─") * (whole - cell_len(word)), self.line[2])
            row = _row(columns, widths, [column.cells[i] for column in columns])
            if i == self.strong:
                row.stylize("bold")
            yield row


def _head_line(head: Sequence[str], line: int, height: int) -> str:
    """Return a line of a head that stands on the lowest."""
    own = line - (height - len(head))
    return head[own] if own >= 0 else ""


def _width(columns: Sequence[Column]) -> int:
    """Return how much columns take, with a space for each."""
    return sum(column.width + 1 for column in columns)


def _row(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Cell]) -> Text:
    parts: list[tuple[str, str]] = []
    for i, (column, width, cell) in enumerate(zip(columns, widths, cells, strict=True)):
        missing = " " * (width - sum(cell_len(text) for text, _ in cell))
        space = ("" if i == 0 else " ", "")
        parts += [space, *cell, (missing, "")] if column.left else [space, (missing, ""), *cell]
    row = Text.assemble(*parts, no_wrap=True, overflow="ignore")
    row.rstrip()
    return row


def _whole(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ignore")
