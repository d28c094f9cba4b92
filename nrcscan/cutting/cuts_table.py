"""Cuts as text: a table for people, JSON, CSV and Markdown for programs and pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.cutting import cuts_in_words as words
from nrcscan.cutting.cuts import Cuts
from nrcscan.cutting.cuts_frame import rows
from nrcscan.cutting.cuts_in_words import CutLine
from nrcscan.cutting.numbers_of_cuts import share
from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.options.choices import Format
from nrcscan.reporting.fitted_grid import Column, FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.markdown import code, escaped, markdown_row
from nrcscan.reporting.marks import BLUE, MARKS
from nrcscan.reporting.numbers import NARROW, plain
from nrcscan.reporting.report_table import WIDE_FROM
from nrcscan.wording import printable


def render(cuts: Cuts, form: Format, *, wide: bool = False, encoding: str = "utf-8") -> str:
    """Return cuts as plain text in the given format, ending in a newline.

    Args:
        cuts: them.
        form: what to write.
        wide: whether a table may be wider than 80 columns, and shows everything.
        encoding: what a table has to be written in.
    """
    if form == "json":
        return json_text(cuts.to_dict(), indent=2) + "\n"
    if form == "csv":
        every = list(rows(cuts))
        return csv_text([list(every[0]), *(row.values() for row in every)])
    if form == "md":
        return _markdown(cuts)
    return plain(CutsTable(cuts, wide=wide, width=None if wide else NARROW), encoding)


@dataclass(frozen=True)
class CutsTable:
    """What `nrcscan cut` shows.

    Attributes:
        cuts: them.
        wide: whether everything is shown, however narrow the terminal.
        width: that its numbers have to fit; None for that of the terminal.
    """

    cuts: Cuts
    wide: bool = False
    width: int | None = None

    @property
    def least_width(self) -> int:
        """How many columns it takes to cut no number."""
        return self._grid(wide=self.wide).least_width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Hanging(printable(self.cuts.text), "bold")
        yield from (Hanging(printable(line), "dim") for line in words.basis(self.cuts))
        yield Text()
        yield self._grid(wide=self.wide or (self.width or options.max_width) >= WIDE_FROM)
        yield Text()
        yield Hanging(words.legend(self.cuts), "dim")
        yield from (Hanging(f"- {printable(line)}", "dim") for line in words.remarks(self.cuts))

    def _grid(self, *, wide: bool) -> FittedGrid:
        *cuts, network = words.lines(self.cuts)
        every = [*cuts, network]
        chosen = next((i for i, line in enumerate(cuts) if line.chosen), None)
        arrows = [(words.CHOSEN if line.chosen else "", BLUE) for line in every]
        before = [Column(("",), [(arrow,) for arrow in arrows])] if chosen is not None else []
        return FittedGrid(
            [line.name for line in cuts],
            words.NAMED,
            list(_groups(self.cuts, every, wide=wide)),
            before=[*before, plain_column(("#",), [line.place for line in every])],
            below=[network.name],
            strong=chosen,
            width=self.width,
        )


def _groups(cuts: Cuts, lines: Sequence[CutLine], *, wide: bool) -> Iterator[list[Column]]:
    """Yield the columns, of which those of a group stay together."""
    if wide:
        yield [plain_column(("width",), [line.width for line in lines])]
    if words.has_sizes(cuts):
        yield [
            plain_column(("weights", "kept"), [line.weights for line in lines]),
            plain_column(("mult-adds", "kept"), [line.multiply_adds for line in lines]),
        ]
    yield _pairs(("MSE", "train"), [line.train for line in lines])[: 2 if wide else 1]
    if wide and cuts.test is not None:  # else it is what cuts are judged by
        yield _pairs(("MSE", "cross-val."), [line.cross_validated for line in lines])[:1]
    yield _pairs(("MSE", "held-out"), [line.held_out for line in lines])
    marks = [("", "") if line.answer is None else MARKS[line.answer] for line in lines]
    yield [
        *_pairs(("change", f"≤ +{share(cuts.within)}"), [line.change for line in lines]),
        Column(("",), [(mark,) for mark in marks]),
    ]
    if wide:
        yield _pairs(("against", "refitted"), [line.against_refitted for line in lines])
        yield [plain_column(("ridge",), [line.ridge for line in lines])]


def _pairs(head: tuple[str, ...], pairs: Sequence[tuple[str, str]]) -> list[Column]:
    """Return a column of numbers, and one of their error bars if there are any."""
    values, bars = zip(*pairs, strict=True)
    told = [plain_column(head, values)]
    return [*told, plain_column(("",), bars, left=True)] if any(bars) else told


def _markdown(cuts: Cuts) -> str:
    lines = [
        f"**{escaped(cuts.text)}**",
        "",
        *(f"- {escaped(line)}" for line in words.basis(cuts)),
        "",
        markdown_row(words.HEAD),
        markdown_row("---" if column == words.NAMED else "---:" for column in words.HEAD),
        *(markdown_row(words.cells(line, _name(line))) for line in words.lines(cuts)),
        "",
        escaped(words.legend(cuts)),
        "",
        *(f"- {escaped(line)}" for line in words.remarks(cuts)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _name(line: CutLine) -> str:
    name = line.name if line.whole else code(line.name)
    return f"**{name}**" if line.chosen else name
