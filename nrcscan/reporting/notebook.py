"""What a notebook shows of a report: plain HTML in the notebook's own colours, without scripts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

from nrcscan.metrics.quantities import COLUMNS, ENTRIES, JUDGES
from nrcscan.options.faces import in_keywords
from nrcscan.reporting import sentences
from nrcscan.reporting.headings import title
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.marks import LEGEND, MARKS
from nrcscan.reporting.numbers import number
from nrcscan.reporting.place import place
from nrcscan.reporting.report_document import Report
from nrcscan.verdict.state import State
from nrcscan.wording import printable

_BEGINS = "; border-top: 2px solid currentColor"
_CELL = "padding: 0.1em 0.6em; white-space: nowrap"
_TABLE = "border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.5em 0"


def of_report(report: Report) -> str:
    """Return a report: the verdict, a row per layer with marks, and what to know, folded."""
    starts = report.verdict.onset if report.verdict.state is State.COLLAPSED else None
    remarks = [
        *sentences.undefined(report),
        *sentences.bounds(report),
        *sentences.layer_notes(report),
        *report.notes,
    ]
    return shown(
        [report.verdict.text],
        [*report.verdict.findings, sentences.signal(report), sentences.onsets(report)],
        table(
            ["#", "layer", "width", *map(_head, COLUMNS)],
            ([place(layer), layer.name, str(layer.width), *_cells(layer)] for layer in report),
            left=("layer",),
            begins=[layer.name == starts for layer in report],
        )
        + small(LEGEND),
        remarks,
    )


def shown(verdicts: Iterable[str], basis: Iterable[str], tables: str, remarks: list[str]) -> str:
    """Return a result: verdicts first, what they rest on, tables, and remarks that unfold.

    Args:
        verdicts: sentences that stand out.
        basis: sentences below them.
        tables: in HTML.
        remarks: what else to know, with flags as files have them.
    """
    parts = [f"<p><strong>{text(verdict)}</strong></p>" for verdict in verdicts]
    parts += [small(line) for line in basis] + [tables]
    if remarks:
        lines = "".join(f"<li>{text(in_keywords(line))}</li>" for line in remarks)
        parts.append(
            f"<details><summary>notes ({len(remarks)})</summary><ul>{lines}</ul></details>"
        )
    return f'<div style="max-width: 60em; overflow-x: auto">{"".join(parts)}</div>'


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[str] = (),
    begins: Sequence[bool] = (),
) -> str:
    """Return a table in HTML.

    Args:
        columns: their heads.
        rows: their cells, as plain text.
        left: the columns of words; numbers stand at the right.
        begins: whether a line stands above each row, as collapse begins there.
    """
    sides = ["left" if column in left else "right" for column in columns]

    def row(tag: str, cells: Sequence[str], style: str = "") -> str:
        told = "".join(
            f'<{tag} style="text-align: {side}; {_CELL}{style}">{text(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{told}</tr>"

    body = "".join(
        row("td", cells, _BEGINS if index < len(begins) and begins[index] else "")
        for index, cells in enumerate(rows)
    )
    head = row("th", columns)
    return f'<table style="{_TABLE}"><thead>{head}</thead><tbody>{body}</tbody></table>'


def small(line: str) -> str:
    """Return a line that stands back."""
    return f'<p style="opacity: 0.75; margin: 0.2em 0">{text(line)}</p>'


def text(words: str) -> str:
    """Return words as HTML shows them, whatever is in them: names come from files."""
    return escape(printable(words))


def _head(quantity: str) -> str:
    """Return a quantity's column, after the condition that it judges."""
    return title(JUDGES[quantity]) if quantity in JUDGES else COLUMNS[quantity]


def _cells(layer: LayerResult) -> Iterable[str]:
    for quantity in COLUMNS:
        value = number(layer[quantity], ENTRIES[quantity].digits)
        judged = quantity in JUDGES and layer.step is not None
        mark = MARKS[layer.answers[JUDGES[quantity].name]][0] if judged else ""
        yield f"{value} {mark}".rstrip()
