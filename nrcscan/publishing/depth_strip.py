"""Depth against conditions in a strip of cells: where collapse begins, at a glance."""

from __future__ import annotations

from itertools import pairwise

from nrcscan.metrics.quantities import JUDGED
from nrcscan.publishing.condition_panels import LayersInDepth, tooltip
from nrcscan.publishing.marks_on_page import answer_of, mark_of, style
from nrcscan.publishing.markup import Markup, element
from nrcscan.publishing.svg_axes import label, whole_ticks
from nrcscan.reporting.headings import title
from nrcscan.reporting.marks import MARKS

WIDTH, LABELS, ROW = 720, 96, 24
READABLE = 14
"""Cells narrower than this have no sign in them: their colour and pattern alone."""


def strip(depth: LayersInDepth) -> Markup:
    """Return the strip; nothing where no layer is judged."""
    judged = [layer for layer in depth.layers if layer["step"] is not None]
    if not judged:
        return Markup()
    cell = min((WIDTH - LABELS) / len(judged), 64.0)
    parts = []
    for row, condition in enumerate(JUDGED):
        y = row * ROW
        parts.append(
            element(
                "text", title(condition), class_="row", x=LABELS - 8, y=y + 16, text_anchor="end"
            )
        )
        for column, layer in enumerate(judged):
            x = round(LABELS + column * cell, 1)
            answer = answer_of(layer, condition.name)
            shape = element("rect", x=x, y=y, width=round(cell - 1.5, 1), height=ROW - 2, rx=2)
            mark = Markup()
            if cell >= READABLE:
                middle = round(x + cell / 2 - 0.7, 1)
                mark = element("text", MARKS[answer][0], x=middle, y=y + 16, text_anchor="middle")
            parts.append(
                element(
                    "g",
                    element("title", f"{title(condition)}, {tooltip(layer, condition)}"),
                    shape,
                    mark,
                    class_=f"cell {style(answer)}",
                    data_r=mark_of(0, layer, condition.name),
                )
            )
    bottom, width = len(JUDGED) * ROW, round(LABELS + len(judged) * cell)
    starts = _first_of_each(depth)
    numbers = whole_ticks(1, depth.steps, most=25)
    for step, column in starts.items():
        if step in numbers:
            middle = round(LABELS + (column + 0.5) * cell, 1)
            parts.append(label(str(step), middle, bottom + 12))
    if depth.shaded is not None:
        ends = [starts[depth.shaded[0]], starts.get(depth.shaded[1] + 1)]
        at = [round(LABELS + column * cell - 1, 1) for column in ends if column is not None]
        drawn = "".join(f"M{x} -4V{bottom + 2}" for x in at)
        parts.append(element("path", class_="onset", d=drawn))
    return element(
        "svg",
        *parts,
        viewBox=f"0 -6 {width} {bottom + 22}",
        width=width,
        class_="strip",
        role="img",
        aria_label=f"{len(JUDGED)} conditions at {depth.steps} steps; the table below has them",
    )


def _first_of_each(depth: LayersInDepth) -> dict[int, int]:
    """Return step → the first of its columns."""
    steps = [layer["step"] for layer in depth.layers if layer["step"] is not None]
    changed = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(steps)) if a != b)]
    return {steps[column]: column for column in changed}
