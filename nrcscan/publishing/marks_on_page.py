"""How a page marks an answer: a class for its colour and shape, a sign, and words for ears."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrcscan.metrics.quantities import CONDITIONS, JUDGED
from nrcscan.publishing.markup import Child, Markup, element, together
from nrcscan.reporting.marks import MARKS
from nrcscan.reporting.place import INPUTS, SHORTCUT
from nrcscan.verdict.answers import Answer

Layer = Mapping[str, Any]
"""A layer as the JSON report has it."""


def style(answer: Answer) -> str:
    """Return the class of an answer."""
    return answer.value.replace(" ", "-")


def answer_of(layer: Layer, condition: str) -> Answer:
    """Return the answer for a condition at a layer."""
    return Answer(layer["answers"][condition])


def mark_of(checkpoint: int, layer: Layer, condition: str) -> str | None:
    """Return by what a script finds a mark again; nothing for a layer that is not judged."""
    if layer["step"] is None:
        return None
    return f"{checkpoint}.{layer['index']}.{CONDITIONS.index(condition)}"


def sign(answer: Answer) -> Markup:
    """Return the sign of an answer, with its words."""
    return element("span", MARKS[answer][0], role="img", aria_label=answer.value)


def judged_cell(checkpoint: int, layer: Layer, condition: str, shown: Child) -> Markup:
    """Return the cell of a table for a judged quantity; what the verdict leaves out has no mark."""
    quantity = next(c.quantity for c in JUDGED if c.name == condition)
    mark = mark_of(checkpoint, layer, condition)
    if mark is None:
        return element("td", shown, data_v=_sortable(layer[quantity]))
    answer = answer_of(layer, condition)
    return element(
        "td",
        together(shown, " ", sign(answer)),
        class_=style(answer),
        data_r=mark,
        data_v=_sortable(layer[quantity]),
    )


def _sortable(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def legend() -> Markup:
    """Return what the signs mean."""
    signs = (element("span", MARKS[a][0], " ", a.value, class_=f"key {style(a)}") for a in MARKS)
    return element("p", *(together(one, " ") for one in signs), class_="legend")


def depth_of(layer: Layer) -> str:
    """Return a layer's place as the verdict counts it, or what it is that it leaves out."""
    if layer.get("inputs"):
        return INPUTS
    return SHORTCUT if layer["step"] is None else str(layer["step"])
