"""A report as text: a table for people, JSON, CSV, Markdown and TeX for programs and papers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.metrics import quantities
from nrcscan.metrics.quantities import Condition
from nrcscan.options.choices import ReportFormat
from nrcscan.reporting import csv_rows, measures_table, sentences, side_tables
from nrcscan.reporting.fitted_grid import Cell, Column, FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.headings import range_met, title
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.log_bar import HEAD, log_bar
from nrcscan.reporting.markdown import code, escaped, markdown_row
from nrcscan.reporting.marks import ALARM, BLUE, FAILURES, LEGEND, MARKS
from nrcscan.reporting.numbers import NARROW, number, plain
from nrcscan.reporting.place import place
from nrcscan.reporting.report_document import Report
from nrcscan.reporting.strip import Strip
from nrcscan.reporting.tex import tex
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.state import State
from nrcscan.wording import printable

COLUMNS = ("#", "layer", "kind", "width", *quantities.COLUMNS.values())
_JUDGED = {quantities.COLUMNS[c.quantity]: c for c in quantities.JUDGED}
OF_BAR, LINEAR = "noise_component", "linear_mse"
BEGINS = "▼ collapsed"
WIDE_FROM = 120
"""From so many columns on a terminal is shown everything."""


@dataclass(frozen=True)
class Shown:
    """What a table shows beside the values.

    Attributes:
        errors: their standard errors.
        chance: what they are by chance.
        wide: kind, width and stable ranks too, and whole names, however narrow the output is.
    """

    errors: bool = False
    chance: bool = False
    wide: bool = False


PLAIN = Shown()


def render(
    report: Report, form: ReportFormat, shown: Shown = PLAIN, *, encoding: str = "utf-8"
) -> str:
    """Return a report as plain text in the given format, ending in a newline.

    Args:
        report: it.
        form: what to write; JSON holds everything.
        shown: what a table shows; one that is not wide fits 80 columns, its sentences aside.
        encoding: what a table has to be written in.
    """
    if form == "json":
        return json_text(report.to_dict(), indent=2) + "\n"
    if form == "csv":
        return _csv(report)
    if form == "md":
        return _markdown(report, shown)
    if form == "tex":
        return tex(report, errors=shown.errors)
    return plain(table(report, shown, None if shown.wide else NARROW), encoding)


def table(report: Report, shown: Shown = PLAIN, width: int | None = None) -> ReportTable:
    """Return what `nrcscan report` shows in a terminal.

    Args:
        report: it.
        shown: what of it.
        width: that the numbers have to fit; None for that of the terminal.
    """
    return ReportTable(report, shown, width)


@dataclass(frozen=True)
class ReportTable:
    """A report in a terminal."""

    report: Report
    shown: Shown
    width: int | None

    @property
    def least_width(self) -> int:
        """How many columns it takes to cut no number."""
        return self._grid(wide=self.shown.wide).least_width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, verdict = self.report, self.report.verdict
        good = report.learned is not False and not report.doubts
        yield Hanging(printable(verdict.text), "bold" if good else ALARM)
        yield from (Hanging(printable(finding)) for finding in verdict.findings)
        yield Hanging(sentences.signal(report), "dim")
        yield Text()
        if any(layer.step is not None for layer in report.layers):
            yield strip(report)
            yield Text()
        yield self._grid(wide=self.shown.wide or (self.width or options.max_width) >= WIDE_FROM)
        yield Text()
        yield Hanging(LEGEND, "dim")
        yield from side_tables.tables(report, chance=self.shown.chance, width=self.width)
        yield from (Hanging(f"- {line}", "dim") for line in remarks(report))
        yield from measures_table.table(report, self.width)

    def _grid(self, *, wide: bool) -> FittedGrid:
        layers = self.report.layers
        begins = next((i for i, layer in enumerate(layers) if _begins(self.report, layer)), None)
        return FittedGrid(
            [printable(layer.name) for layer in layers],
            "layer",
            list(self._groups(wide=wide)),
            before=[plain_column(("#",), [place(layer) for layer in layers])],
            line=None if begins is None else (begins, BEGINS, f"bold {BLUE}"),
            width=self.width,
        )

    def _groups(self, *, wide: bool) -> Iterator[list[Column]]:
        """Yield the columns, of which those of a group stay together."""
        layers = self.report.layers
        if wide:
            yield [
                plain_column(("kind",), [layer.kind for layer in layers], left=True),
                plain_column(("width",), [str(layer.width) for layer in layers]),
            ]
        for quantity, column in quantities.COLUMNS.items():
            texts = [_number(layer, quantity, self.shown) for layer in layers]
            condition = _JUDGED.get(column)
            if condition is not None:
                yield [self._judged(condition, texts), *self._bar(quantity)]
            elif quantity == LINEAR:
                mse = self.report.mse
                head = () if mse is None else (f"net {number(mse)}",)
                yield [plain_column((column, *head), texts)]
            elif wide:
                yield [plain_column((column,), texts)]

    def _judged(self, condition: Condition, texts: list[str]) -> Column:
        """Return a column of which what is not met is marked."""
        cells: list[Cell] = []
        for layer, text in zip(self.report.layers, texts, strict=True):
            answer = Answer.MET if layer.step is None else layer.answers[condition.name]
            mark, style = FAILURES[answer]
            cells.append(((f"{text} {mark}", style),))
        return Column((title(condition), range_met(condition, self.report.thresholds)), cells)

    def _bar(self, quantity: str) -> list[Column]:
        if quantity != OF_BAR:
            return []
        bars = [log_bar(layer.metrics.get(quantity)) for layer in self.report.layers]
        return [Column(HEAD, [((bar, BLUE),) for bar in bars], left=True)]


def strip(report: Report) -> Strip:
    """Return depth and conditions at a glance: of the layers that the verdict judges."""
    judged = [layer for layer in report.layers if layer.step is not None]
    begins = next(
        ((i, printable(layer.name)) for i, layer in enumerate(judged) if _begins(report, layer)),
        None,
    )
    return Strip(
        steps=[layer.step for layer in judged if layer.step is not None],
        rows={
            title(condition): [layer.answers[condition.name] for layer in judged]
            for condition in quantities.JUDGED
        },
        told=[sentences.in_depth(report, condition.name) for condition in quantities.JUDGED],
        begins=begins,
    )


def remarks(report: Report) -> list[str]:
    """Return the lines below the table: what is undefined, and every note."""
    lines = [
        *sentences.undefined(report),
        *sentences.bounds(report),
        *sentences.layer_notes(report),
    ]
    return [printable(line) for line in [*lines, *report.notes]]


def _begins(report: Report, layer: LayerResult) -> bool:
    """Say whether collapse begins at a layer: the verdict has to be that it does."""
    return report.verdict.state is State.COLLAPSED and layer.name == report.verdict.onset


def _rows(report: Report, shown: Shown) -> Iterator[tuple[LayerResult, dict[str, str]]]:
    for layer in report.layers:
        numbers = (_number(layer, quantity, shown) for quantity in quantities.COLUMNS)
        texts = (place(layer), printable(layer.name), layer.kind, str(layer.width))
        yield layer, dict(zip(COLUMNS, (*texts, *numbers), strict=True))


def _number(layer: LayerResult, quantity: str, shown: Shown) -> str:
    value = number(layer.metrics.get(quantity), quantities.ENTRIES[quantity].digits)
    error = layer.metrics.standard_errors.get(quantity)
    return f"{value} ±{error:.1g}" if shown.errors and error is not None else value


def _mark(layer: LayerResult, column: str) -> str:
    """Return the mark of a column's condition; what the verdict leaves out has none."""
    return " " if layer.step is None else MARKS[layer.answers[_JUDGED[column].name]][0]


def _csv(report: Report) -> str:
    own = ("index", "position", "name", "kind", "width")
    head, beside = measures_table.columns(report)
    rows = (
        (*(layer[key] for key in own), *csv_rows.cells(layer), *more)
        for layer, more in zip((layer.to_dict() for layer in report.layers), beside, strict=True)
    )
    return csv_text([(*own, *csv_rows.HEAD, *head), *rows])


def _markdown(report: Report, shown: Shown) -> str:
    lines = [
        f"**{escaped(report.verdict.text)}**",
        "",
        *(f"{escaped(finding)}\n" for finding in report.verdict.findings),
        f"{sentences.signal(report)}.",
        "",
        markdown_row(list(COLUMNS)),
        markdown_row(["---" if column in ("layer", "kind") else "---:" for column in COLUMNS]),
    ]
    for layer, cells in _rows(report, shown):
        if _begins(report, layer):
            lines.append(markdown_row(["", f"**{BEGINS}**"] + [""] * (len(COLUMNS) - 2)))
        marks = {c: f"{cells[c]} {_mark(layer, c)}".rstrip() for c in _JUDGED}
        words = {"layer": code(layer.name), "kind": escaped(layer.kind)}
        lines.append(markdown_row(list({**cells, **marks, **words}.values())))
    lines += ["", escaped(sentences.onsets(report)), "", f"{LEGEND}.", ""]
    lines += side_tables.markdown(report, chance=shown.chance)
    lines += [f"- {escaped(line)}" for line in remarks(report)]
    lines += measures_table.markdown(report)
    return "\n".join(lines).rstrip() + "\n"
