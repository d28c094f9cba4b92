"""The measures beside those of Deep NRC as text: a second table, and more columns of a CSV."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from nrcscan.metrics.neighbouring import COLUMNS, MEASURES, NAMES, OF_LAST
from nrcscan.reporting.fitted_grid import FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.markdown import code, escaped, markdown_row
from nrcscan.reporting.neighbouring_measures import NOT_LAST, LayerMeasures
from nrcscan.reporting.numbers import number
from nrcscan.reporting.report_document import Report
from nrcscan.wording import listed, printable

TITLE = "Neighbouring measures"
HEAD = ("#", "layer", *(str(measure.column) for measure in COLUMNS.values()))


def table(report: Report, width: int | None = None) -> list[RenderableType]:
    """Return what stands below a report in a terminal; nothing unless it was asked for."""
    if report.measures is None:
        return []
    places, names, *columns = zip(*_rows(report), strict=True)
    head, _, *heads = HEAD
    grid = FittedGrid(
        names,
        "layer",
        [[plain_column((head,), cells)] for head, cells in zip(heads, columns, strict=True)],
        before=[plain_column((head,), places)],
        width=width,
    )
    below = [Hanging(f"- {line}", "dim") for line in _remarks(report)]
    title = Text(TITLE, style="bold")
    return [Text(), title, Text(), grid, Text(), Hanging(_last(report)), *below]


def markdown(report: Report) -> list[str]:
    """Return the lines that end a report in Markdown; none unless it was asked for."""
    if report.measures is None:
        return []
    rules = ["---" if column == "layer" else "---:" for column in HEAD]
    lines = ["", f"**{TITLE}**", "", markdown_row(HEAD), markdown_row(rules)]
    lines += [markdown_row((at, code(name), *cells)) for at, name, *cells in _rows(report)]
    return [
        *lines,
        "",
        escaped(_last(report)),
        "",
        *(f"- {escaped(line)}" for line in _remarks(report)),
    ]


def columns(report: Report) -> tuple[list[str], list[list[object]]]:
    """Return the heads that a CSV has beside its others, and the cells of every layer."""
    if report.measures is None:
        return [], [[] for _ in report.layers]
    dimension = report.measures.target_dimension
    rows: list[list[object]] = []
    for layer in report.measures.layers:
        values = [_value(report, layer, name) for name in NAMES]
        reasons = "; ".join(f"{name}: {why}" for name, why in layer.undefined.items())
        rows.append([*values, dimension, reasons])
    return [*NAMES, "target_intrinsic_dimension", "undefined_measures"], rows


def _rows(report: Report) -> Iterator[list[str]]:
    assert report.measures is not None
    for layer, found in zip(report.layers, report.measures.layers, strict=True):
        numbers = (number(_value(report, found, m.name), m.digits) for m in COLUMNS.values())
        yield [str(layer.position + 1), printable(layer.name), *numbers]


def _value(report: Report, layer: LayerMeasures, name: str) -> float | None:
    """Return a measure as a number; the explained variance is that of k directions."""
    if name != "explained_variance":
        return layer.values.get(name)
    explained = layer.explained_variance
    known = 0 < report.signal_dim <= len(explained)
    return explained[report.signal_dim - 1] if known else None


def _last(report: Report) -> str:
    """Return the measures of the last layer alone, and of the targets, in a line."""
    assert report.measures is not None
    last = report.measures.layers[-1]
    digits = {measure.name: measure.digits for measure in MEASURES}
    parts = [f"{name} {number(last.values.get(name), digits[name])}" for name in OF_LAST]
    name = printable(report.layers[-1].name)
    dimension = number(report.measures.target_dimension, digits["intrinsic_dimension"])
    return f"Last layer ({name}): {', '.join(parts)}. Targets: ID {dimension}."


def _remarks(report: Report) -> list[str]:
    """Return what is undefined, a reason once, and every note."""
    assert report.measures is not None
    reasons: dict[str, dict[str, None]] = {}
    places: dict[str, list[str]] = {}
    for layer, found in zip(report.layers, report.measures.layers, strict=True):
        for measure, why in found.undefined.items():
            if why != NOT_LAST:
                reasons.setdefault(why, {})[measure] = None
                if layer.name not in places.setdefault(why, []):
                    places[why].append(layer.name)
    lines = [
        f"{_layers(places[why], report)}: no {listed(names)}: {why}"
        for why, names in reasons.items()
    ]
    if isinstance(targets := report.measures.targets, str):
        lines.append(f"targets: no intrinsic_dimension: {targets}")
    for layer, found in zip(report.layers, report.measures.layers, strict=True):
        lines += [f"{layer.name}: {note}" for note in found.notes]
    return [printable(line) for line in lines]


def _layers(names: list[str], report: Report) -> str:
    return "all layers" if len(names) == len(report.layers) > 1 else listed(names)
