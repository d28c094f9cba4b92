"""A report as text: a table for people, JSON, CSV and Markdown for programs and pages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nrcscan.metrics import quantities
from nrcscan.options.choices import Format
from nrcscan.reporting import csv_rows, measures_table, sentences
from nrcscan.reporting.markdown import escaped, markdown_row
from nrcscan.reporting.numbers import number, plain
from nrcscan.reporting.report_document import LayerResult, Report
from nrcscan.verdict.conditions import Answer
from nrcscan.wording import printable

COLUMNS = ("#", "layer", "kind", "width", *quantities.COLUMNS.values())
_JUDGED = {quantities.COLUMNS[c.beside]: c.name for c in quantities.JUDGED}
MARKS: dict[Answer, tuple[str, str]] = {
    True: ("✓", "green"),
    False: ("✗", "red"),
    None: ("·", "dim"),
}
BEGINS = "▼ collapsed"
NAME_WIDTH = 12
"""A longer layer name is folded where the terminal is narrow."""


def render(report: Report, form: Format) -> str:
    """Return a report as plain text in the given format, ending in a newline."""
    if form == "json":
        return json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(report)
    if form == "md":
        return _markdown(report)
    return plain(table(report))


def least_width(report: Report) -> int:
    """Return how many columns the table needs so that no number in it is cut."""
    shown = list(_rows(report))
    widest = {c: max(len(c), *(len(cells[c]) for _, cells in shown)) for c in COLUMNS}
    names = min(widest.pop("layer"), NAME_WIDTH)
    return names + sum(widest.values()) + 2 * len(_JUDGED) + len(COLUMNS) + 1


def table(report: Report) -> RenderableType:
    """Return what `nrcscan report` shows in a terminal."""
    style = "bold" if report.learned and not report.doubts else "bold red"
    grid = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        justify: Literal["left", "right"] = "left" if column in ("layer", "kind") else "right"
        grid.add_column(column, justify=justify, overflow="fold", no_wrap=column != "layer")
    for layer, cells in _rows(report):
        if layer.name == report.onset["all"]:
            grid.add_row("", Text(BEGINS, style="bold green"))
        grid.add_row(*(_styled(layer, column, cell) for column, cell in cells.items()))
    parts: list[RenderableType] = [
        Text(printable(sentences.headline(report)), style=style),
        Text(sentences.signal(report), style="dim"),
        grid,
        Text(printable(sentences.onsets(report))),
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


def _rows(report: Report) -> Iterator[tuple[LayerResult, dict[str, str]]]:
    for layer in report.layers:
        numbers = (
            number(layer.metrics.get(quantity), quantities.ENTRIES[quantity].digits)
            for quantity in quantities.COLUMNS
        )
        texts = (str(layer.position + 1), printable(layer.name), layer.kind, str(layer.width))
        yield layer, dict(zip(COLUMNS, (*texts, *numbers), strict=True))


def _styled(layer: LayerResult, column: str, cell: str) -> Text:
    if column not in _JUDGED:
        return Text(cell)
    mark, style = MARKS[layer.met[_JUDGED[column]]]
    return Text.assemble(cell, " ", (mark, style))


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


def _markdown(report: Report) -> str:
    lines = [
        f"**{escaped(sentences.headline(report))}**",
        "",
        f"{sentences.signal(report)}.",
        "",
        markdown_row(list(COLUMNS)),
        markdown_row(["---" if column in ("layer", "kind") else "---:" for column in COLUMNS]),
    ]
    for layer, cells in _rows(report):
        if layer.name == report.onset["all"]:
            lines.append(markdown_row(["", f"**{BEGINS}**"] + [""] * (len(COLUMNS) - 2)))
        marks = {c: f"{cells[c]} {MARKS[layer.met[k]][0]}" for c, k in _JUDGED.items()}
        lines.append(
            markdown_row(list({**cells, **marks, "layer": f"`{cells['layer']}`"}.values()))
        )
    lines += ["", escaped(sentences.onsets(report)), ""]
    lines += [f"- {escaped(line)}" for line in remarks(report)]
    lines += measures_table.markdown(report)
    return "\n".join(lines).rstrip() + "\n"
