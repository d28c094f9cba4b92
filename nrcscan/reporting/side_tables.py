"""Tables below a report's own: at the targets' rank where that is less than k, and by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from nrcscan.metrics.quantities import COLUMNS, OF_RANK, QUANTITIES
from nrcscan.reporting.fitted_grid import FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.markdown import code, markdown_row
from nrcscan.reporting.numbers import number
from nrcscan.reporting.place import place
from nrcscan.reporting.report_document import Report
from nrcscan.wording import printable

SAID_ELSEWHERE = ("cka_debiased", "excess")
"""Quantities whose chance follows from that of others: 0, and that of the linear MSE."""


@dataclass(frozen=True)
class _Side:
    """A table of layers: what it shows, its columns but the first two, and their cells."""

    title: str
    columns: list[str]
    cells: list[list[str]]


def tables(report: Report, *, chance: bool, width: int | None = None) -> Iterator[RenderableType]:
    """Yield the tables for a terminal; `chance` is shown if it is asked for."""
    for side in _sides(report, chance=chance):
        columns = [
            [plain_column((column,), [row[i] for row in side.cells])]
            for i, column in enumerate(side.columns)
        ]
        names = [printable(layer.name) for layer in report.layers]
        places = plain_column(("#",), [place(layer) for layer in report.layers])
        grid = FittedGrid(names, "layer", columns, before=[places], width=width)
        yield from (Text(), Hanging(side.title), Text(), grid, Text())


def markdown(report: Report, *, chance: bool) -> list[str]:
    """Return the lines of the tables for a page."""
    lines: list[str] = []
    for side in _sides(report, chance=chance):
        rule = ["---:", "---", *("---:" for _ in side.columns)]
        rows = [
            [place(layer), code(layer.name), *cells]
            for layer, cells in zip(report.layers, side.cells, strict=True)
        ]
        head = ["#", "layer", *side.columns]
        lines += [f"{side.title}:", "", *map(markdown_row, (head, rule, *rows)), ""]
    return lines


def _sides(report: Report, *, chance: bool) -> Iterator[_Side]:
    if report.target_rank < report.signal_dim:
        yield _at_rank(report)
    if chance:
        yield _by_chance(report)


def _at_rank(report: Report) -> _Side:
    """Return what is measured at k directions beside the same at the targets' rank r."""
    columns = [f"{name.replace('_', ' ')} at {at}" for name in OF_RANK.values() for at in "kr"]
    pairs = [pair for of_r, of_k in OF_RANK.items() for pair in (of_k, of_r)]
    return _Side(
        f"at the k = {report.signal_dim} signal directions, and at the rank r ="
        f" {report.target_rank} of the targets",
        columns,
        [[number(layer.metrics.get(name)) for name in pairs] for layer in report.layers],
    )


def _by_chance(report: Report) -> _Side:
    """Return what every quantity is by chance, after the CKA that chance adds nothing to."""
    layers = report.layers
    low = report.target_rank < report.signal_dim
    those = [
        quantity
        for quantity in QUANTITIES
        if any(quantity in layer.metrics.chance for layer in layers)
        and quantity not in SAID_ELSEWHERE
        and (low or quantity not in OF_RANK)
    ]

    def cell(layer: LayerResult, quantity: str) -> str:
        found = layer.metrics.chance.get(quantity)
        return "—" if found is None else f"{number(found.level)} {number(found.quantile)}"

    return _Side(
        "debiased CKA; and by chance: the mean, and what one unrelated network in a hundred is"
        " beyond",
        ["debiased CKA", *(COLUMNS.get(q, q.replace("_", " ")) for q in those)],
        [
            [number(layer.metrics.get("cka_debiased")), *(cell(layer, q) for q in those)]
            for layer in layers
        ],
    )
