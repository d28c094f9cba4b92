"""How a run developed: layers against time, a map per condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nrcscan.metrics.quantities import ENTRIES, JUDGED, Condition
from nrcscan.publishing.marks_on_page import Layer, answer_of, mark_of, style
from nrcscan.publishing.markup import Markup, element
from nrcscan.publishing.scanned import Scanned
from nrcscan.publishing.svg_axes import label, whole_ticks
from nrcscan.reporting.headings import title
from nrcscan.reporting.numbers import number
from nrcscan.verdict.in_document import step_of

LEFT, BOTTOM, RIGHT, TOP = 26, 30, 4, 4
WIDTH, MOST_HIGH, ROW = 240, 340, 18


def heat_maps(run: Sequence[Scanned]) -> Markup:
    """Return the maps of a run: steps in depth downward, checkpoints in order of training."""
    rows = max(one.depth for one in run)
    if not rows:
        return Markup()
    return element("div", *(_map(run, rows, condition) for condition in JUDGED), class_="heats")


def _map(run: Sequence[Scanned], rows: int, condition: Condition) -> Markup:
    high, wide = min(ROW, MOST_HIGH / rows), (WIDTH - LEFT - RIGHT) / len(run)
    bottom = TOP + rows * high
    ticks = [
        label(str(n), LEFT - 5, TOP + (n - 0.5) * high + 4, "end")
        for n in whole_ticks(1, rows, most=int(max(2, rows * high / 16)))
    ]
    for column in _shown_columns(run):
        ticks.append(label(run[column].time, LEFT + (column + 0.5) * wide, bottom + 13))
    ticks.append(label(run[0].unit or "checkpoint", (LEFT + WIDTH) / 2, bottom + 26))
    named = title(condition)
    drawn = element(
        "svg",
        *_cells(run, condition, high, wide),
        _onset(run, high, wide),
        *ticks,
        viewBox=f"0 0 {WIDTH} {round(bottom + BOTTOM, 1)}",
        role="img",
        aria_label=f"{named} over depth and time; the checkpoints below have it",
    )
    caption = element("figcaption", element("b", named))
    return element("figure", caption, drawn, class_="heat")


def _cells(
    run: Sequence[Scanned], condition: Condition, high: float, wide: float
) -> Iterator[Markup]:
    """Yield a cell per checkpoint and layer."""
    for column, one in enumerate(run):
        for layer, row, of in _rows(one.layers):
            value = number(layer[condition.quantity], ENTRIES[condition.quantity].digits)
            answer = answer_of(layer, condition.name)
            title = f"{layer['name']} at {one.when}: {value}, {answer.value}"
            square = element(
                "rect",
                x=f"{LEFT + column * wide:.2f}",
                y=f"{TOP + row * high:.2f}",
                width=f"{wide:.2f}",
                height=f"{high / of:.2f}",
            )
            yield element(
                "g",
                element("title", title),
                square,
                class_=f"cell {style(answer)}",
                data_r=mark_of(one.number, layer, condition.name),
            )


def _rows(layers: Sequence[Layer]) -> Iterator[tuple[Layer, float, int]]:
    """Yield each layer that is judged, its row, and how many share its step and so its height."""
    by_step: dict[int, list[Layer]] = {}
    for layer in layers:
        if layer["step"] is not None:
            by_step.setdefault(layer["step"], []).append(layer)
    for step, own in by_step.items():
        yield from ((layer, step - 1 + n / len(own), len(own)) for n, layer in enumerate(own))


def _onset(run: Sequence[Scanned], high: float, wide: float) -> Markup:
    """Return the line above the layer from which each checkpoint is collapsed."""
    drawn, last = "", None
    for column, one in enumerate(run):
        collapsed = one.verdict["state"] == "collapsed"
        step = step_of(one.layers, one.verdict["onset"]) if collapsed else None
        if step is None:
            last = None
            continue
        x, y = LEFT + column * wide, TOP + (step - 1) * high
        drawn += f"{f'M{x:.1f} {y:.1f}' if last is None else f'V{y:.1f}'}H{x + wide:.1f}"
        last = step
    return element("path", class_="onset", d=drawn) if drawn else Markup()


def _shown_columns(run: Sequence[Any]) -> list[int]:
    """Return which checkpoints have room for their time below them."""
    longest = max(len(one.time) for one in run)
    most = max(2, int((WIDTH - LEFT) / (7 * longest + 8)))
    return [n - 1 for n in whole_ticks(1, len(run), most=most)]
