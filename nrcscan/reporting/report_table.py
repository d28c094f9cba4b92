"""A report as text: a table for people, JSON, CSV, Markdown and TeX for programs and papers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nrcscan.metrics import quantities
from nrcscan.options.choices import ReportFormat
from nrcscan.reporting import csv_rows, measures_table, sentences, side_tables
from nrcscan.reporting.markdown import escaped, markdown_row
from nrcscan.reporting.marks import LEGEND, MARKS
from nrcscan.reporting.numbers import number, plain
from nrcscan.reporting.place import place
from nrcscan.reporting.report_document import LayerResult, Report
from nrcscan.reporting.tex import tex
from nrcscan.verdict.verdict import State
from nrcscan.wording import printable

COLUMNS = ("#", "layer", "kind", "width", *quantities.COLUMNS.values())
_JUDGED = {quantities.COLUMNS[c.beside]: c.name for c in quantities.JUDGED}
BEGINS = "▼ collapsed"
NAME_WIDTH = 12
"""A longer layer name is folded where the terminal is narrow."""


@dataclass(frozen=True)
class Shown:
    """What a table shows beside the values.

    Attributes:
        errors: their standard errors.
        chance: what they are by chance.
    """

    errors: bool = False
    chance: bool = False


PLAIN = Shown()


def render(report: Report, form: ReportFormat, shown: Shown = PLAIN) -> str:
    """Return a report as plain text in the given format, ending in a newline.

    Args:
        report: it.
        form: what to write; JSON holds everything.
        shown: what a table shows beside the values.
    """
    if form == "json":
        return json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(report)
    if form == "md":
        return _markdown(report, shown)
    if form == "tex":
        return tex(report, errors=shown.errors)
    return plain(table(report, shown))


def least_width(report: Report, shown: Shown = PLAIN) -> int:
    """Return how many columns the table needs so that no number in it is cut."""
    rows = list(_rows(report, shown))
    widest = {c: max(len(c), *(len(cells[c]) for _, cells in rows)) for c in COLUMNS}
    names = min(widest.pop("layer"), NAME_WIDTH)
    return names + sum(widest.values()) + 2 * len(_JUDGED) + len(COLUMNS) - 1


def table(report: Report, shown: Shown = PLAIN) -> RenderableType:
    """Return what `nrcscan report` shows in a terminal."""
    style = "bold" if report.learned and not report.doubts else "bold red"
    grid = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=0, pad_edge=False, header_style="bold"
    )
    for column in COLUMNS:
        justify: Literal["left", "right"] = "left" if column in ("layer", "kind") else "right"
        grid.add_column(column, justify=justify, overflow="fold", no_wrap=column != "layer")
    for layer, cells in _rows(report, shown):
        if _begins(report, layer):
            grid.add_row(*(Text(word, style="bold green") for word in BEGINS.split()))
        grid.add_row(*(_styled(layer, column, cell) for column, cell in cells.items()))
    verdict = report.verdict
    parts: list[RenderableType] = [
        Text(printable(verdict.text), style=style),
        *(Text(printable(finding), style="bold") for finding in verdict.findings),
        Text(sentences.signal(report), style="dim"),
        Text(),
        grid,
        Text(),
        Text(printable(sentences.onsets(report))),
        Text(LEGEND, style="dim"),
        *side_tables.tables(report, chance=shown.chance),
    ]
    parts += [Text(f"- {line}", style="dim") for line in remarks(report)]
    parts += measures_table.table(report)
    return Group(*parts)


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


def _mark(layer: LayerResult, column: str) -> tuple[str, str]:
    """Return the mark of a column's condition; what the verdict leaves out has none."""
    return (" ", "") if layer.step is None else MARKS[layer.answers[_JUDGED[column]]]


def _styled(layer: LayerResult, column: str, cell: str) -> Text:
    if column not in _JUDGED:
        return Text(cell)
    return Text.assemble(cell, " ", _mark(layer, column))


def _csv(report: Report) -> str:
    own = ("index", "position", "name", "kind", "width")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head, beside = measures_table.columns(report)
    writer.writerow([*own, *csv_rows.HEAD, *head])
    for layer, more in zip((layer.to_dict() for layer in report.layers), beside, strict=True):
        named = (printable(str(layer[key])) for key in own)
        writer.writerow([*named, *csv_rows.cells(layer), *more])
    return buffer.getvalue()


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
        marks = {c: f"{cells[c]} {_mark(layer, c)[0]}".rstrip() for c in _JUDGED}
        lines.append(
            markdown_row(list({**cells, **marks, "layer": f"`{cells['layer']}`"}.values()))
        )
    lines += ["", escaped(sentences.onsets(report)), "", f"{LEGEND}.", ""]
    lines += side_tables.markdown(report, chance=shown.chance)
    lines += [f"- {escaped(line)}" for line in remarks(report)]
    lines += measures_table.markdown(report)
    return "\n".join(lines).rstrip() + "\n"
