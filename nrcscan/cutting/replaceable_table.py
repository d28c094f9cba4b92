"""Replaceable stretches as text: a list and a triangle for people, JSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.cutting import replaceable_in_words as words
from nrcscan.cutting.numbers_of_cuts import alike, change, pair, share
from nrcscan.cutting.replaceable import Replaceable, Replacement, closest, longest
from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.options.choices import Format
from nrcscan.reporting.fitted_grid import Cell, Column, FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.markdown import escaped, markdown_row
from nrcscan.reporting.marks import LEGEND, MARKS
from nrcscan.reporting.numbers import NARROW, plain
from nrcscan.verdict.answers import Answer
from nrcscan.wording import printable

LISTED = 12
"""Stretches that the list has at most."""

DEEPEST = 16
"""Layers up to which there is a triangle, unless everything is asked for."""

NAMED = "one map for"


def render(found: Replaceable, form: Format, *, wide: bool = False, encoding: str = "utf-8") -> str:
    """Return it as plain text in the given format, ending in a newline.

    Args:
        found: it.
        form: what to write.
        wide: whether a table may be wider than 80 columns, and shows everything.
        encoding: what a table has to be written in.
    """
    if form == "json":
        return json_text(found.to_dict(), indent=2) + "\n"
    if form == "csv":
        rows = [_row(one) for one in found.stretches]
        return csv_text([list(rows[0]), *(row.values() for row in rows)])
    if form == "md":
        return _markdown(found)
    return plain(ReplaceableTable(found, wide=wide, width=None if wide else NARROW), encoding)


@dataclass(frozen=True)
class ReplaceableTable:
    """What `nrcscan cut --between` shows.

    Attributes:
        found: the stretches.
        wide: whether everything is shown, however narrow the terminal.
        width: that its numbers have to fit; None for that of the terminal.
    """

    found: Replaceable
    wide: bool = False
    width: int | None = None

    @property
    def least_width(self) -> int:
        """How many columns it takes to cut no number."""
        return self._list().least_width if listed_of(self.found) else 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.found
        yield Hanging(printable(found.text), "bold")
        yield Hanging(printable(basis(found)), "dim")
        if listed_of(found):
            yield Text()
            yield self._list()
        if any(one.unexplained is not None for one in found.stretches) and self._shows_triangle:
            yield Text()
            yield Hanging(_ABOVE_TRIANGLE)
            yield self._triangle()
        yield Text()
        yield Hanging(legend(found), "dim")
        if not self._shows_triangle:
            yield Hanging("- every stretch: --wide, or --format csv", "dim")
        yield from (Hanging(f"- {printable(note)}", "dim") for note in found.notes)

    @property
    def _shows_triangle(self) -> bool:
        return self.wide or self.found.n_steps <= DEEPEST

    def _list(self) -> FittedGrid:
        stretches = listed_of(self.found)
        marks = Column(("",), [(MARKS[one.answer],) for one in stretches])
        return FittedGrid(
            [words.short(one) for one in stretches],
            NAMED,
            [*_groups(self.found, stretches, wide=self.wide), [marks]],
            before=[plain_column(("layers",), [str(one.steps) for one in stretches])],
            width=self.width,
        )

    def _triangle(self) -> FittedGrid:
        """Return the change of the head's error for every first and last layer replaced."""
        of = {(one.start, one.end): one for one in self.found.stretches}
        count = self.found.n_steps
        columns = [
            [Column((f"to {end}",), [_cell(of.get((start, end))) for start in range(count)])]
            for end in range(1, count + 1)
        ]
        names = [printable(of[start, start + 1].layers[0]) for start in range(count)]
        numbers = [str(start + 1) for start in range(count)]
        before = [plain_column(("#",), numbers)]
        return FittedGrid(names, "from", columns, before=before, width=self.width)


_ABOVE_TRIANGLE = "Added to a linear head's error where one map stands for layers from … to # …:"


def _cell(one: Replacement | None) -> Cell:
    if one is None:
        return (("", ""),)
    if one.refused is not None:
        return (("—", "dim"),)
    mark, style = MARKS[one.answer]
    return ((f"{words.brief(one.change)} ", ""), (mark, style))


def listed_of(found: Replaceable) -> tuple[Replacement, ...]:
    """Return the stretches to look at: the longest that surely are replaceable, then may be."""
    sure = found.longest
    perhaps = longest(found.stretches, Answer.UNDECIDED)
    shown = [*sure, *(one for one in perhaps if not any(other.holds(one) for other in sure))]
    if not shown and (near := closest(found.stretches)) is not None:
        shown = [near]
    return tuple(shown[:LISTED])


def basis(found: Replaceable) -> str:
    """Say on which samples maps are fitted and judged."""
    if found.test is None:
        return f"maps and heads are fitted to the {found.n_train} samples of {found.train}"
    return (
        f"maps and heads are fitted to the {found.n_train} samples of {found.train}, and judged on"
        f" the {found.n_test} of {found.test}"
    )


def legend(found: Replaceable) -> str:
    """Say what the marks and numbers are."""
    within = share(found.within)
    return (
        f"replaceable: left of the variance, and added to the head's error, are both {within} or"
        f" less, three standard errors (±) included; {LEGEND}"
    )


def _groups(
    found: Replaceable, stretches: Sequence[Replacement], *, wide: bool
) -> Iterator[list[Column]]:
    """Yield the columns of the list, of which those of a group stay together."""
    within = share(found.within)
    show = alike([e for one in stretches for e in (one.own, one.replaced)])
    parts = slice(None if wide else 1)
    yield _pairs(("left", f"≤ {within}"), [words.left(one.unexplained) for one in stretches])[parts]
    yield [
        *_pairs(("head MSE", "own"), [pair(one.own, show) for one in stretches])[parts],
        *_pairs(("", "on map"), [pair(one.replaced, show) for one in stretches])[parts],
    ]
    yield _pairs(("change", f"≤ +{within}"), [change(one.change) for one in stretches])
    yield [
        plain_column(("weights", "now"), [_count(one.weights) for one in stretches]),
        plain_column(("", "of map"), [_count(one.map_weights) for one in stretches]),
    ]


def _pairs(head: tuple[str, ...], pairs: Sequence[tuple[str, str]]) -> list[Column]:
    """Return a column of numbers, and one of their error bars if there are any."""
    values, bars = zip(*pairs, strict=True)
    told = [plain_column(head, values)]
    return [*told, plain_column(("",), bars, left=True)] if any(bars) else told


def _count(number: int | None) -> str:
    return "—" if number is None else f"{number:,}"


def _row(one: Replacement) -> dict[str, object]:
    """Return a stretch as a row of CSV."""
    row: dict[str, object] = {
        "first": one.layers[0],
        "last": one.layers[-1],
        "reaches": one.reaches,
        "start": one.start,
        "end": one.end,
        "refused": one.refused,
        "weights": one.weights,
        "map_weights": one.map_weights,
        "ridge": None if one.map is None else one.map.ridge,
        "seen": one.seen,
    }
    for name, found in one.estimates():
        row[name] = None if found is None else found.value
        row[f"{name}_se"] = None if found is None else found.standard_error
    return {**row, "answer": one.answer.value}


def _markdown(found: Replaceable) -> str:
    head = (NAMED, "left", "head's MSE", "on map", "change", "weights", "of map", "")
    lines = [f"**{escaped(found.text)}**", "", f"- {escaped(basis(found))}", ""]
    stretches = listed_of(found)
    if stretches:
        show = alike([e for one in stretches for e in (one.own, one.replaced)])
        lines += [markdown_row(head), markdown_row(["---", *["---:"] * (len(head) - 1)])]
        for one in stretches:
            told = (
                words.left(one.unexplained),
                pair(one.own, show),
                pair(one.replaced, show),
                change(one.change),
            )
            cells = [" ".join(filter(None, both)) for both in told]
            sizes = _count(one.weights), _count(one.map_weights)
            mark = MARKS[one.answer][0]
            lines.append(markdown_row([escaped(words.named(one)), *cells, *sizes, mark]))
        lines.append("")
    lines += [escaped(legend(found)), "", *(f"- {escaped(note)}" for note in found.notes)]
    return "\n".join(lines).rstrip() + "\n"
