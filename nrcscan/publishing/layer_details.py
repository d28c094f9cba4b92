"""All that is known of one layer: spectrum, errors, chance, bounds, what is undefined and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nrcscan.metrics.neighbouring import MEASURES
from nrcscan.metrics.quantities import CATALOGUE, CONDITIONS, JUDGES, Quantity
from nrcscan.publishing.marks_on_page import Layer, depth_of, judged_cell, sign, style
from nrcscan.publishing.marks_on_page import answer_of as answer
from nrcscan.publishing.markup import Markup, element, name_of, text, together
from nrcscan.publishing.svg_spectrum import spectrum_figure
from nrcscan.reporting.numbers import number

_BESIDE = {"± error": "standard_error", "by chance": "chance", "off by at most": "bounds"}
"""What stands beside values, where there is any of it: its heading, and where JSON has it."""


CHANCE = "; by chance: the mean, and what one unrelated network in a hundred is beyond"


def layer_details(layer: Layer, eigenvalues: Sequence[float], signal_dim: int) -> Markup:
    """Return a layer's section, closed until it is asked for.

    Args:
        layer: it.
        eigenvalues: of its features' covariance, descending.
        signal_dim: k.
    """
    signs = (
        element("span", sign(answer(layer, name)), class_=style(answer(layer, name)))
        for name in CONDITIONS
        if layer["step"] is not None
    )
    summary = element(
        "summary",
        element("span", depth_of(layer), class_="place"),
        " ",
        name_of(layer["name"]),
        " ",
        element("small", f"{layer['kind']}, width {layer['width']}"),
        " ",
        element("span", *signs, class_="signs"),
    )
    beside = [told for told, held in _BESIDE.items() if layer[held]]
    labels = beside or ([""] if layer["undefined"] else [])
    heads = [element("th", label, scope="col", class_="number") for label in ("value", *labels)]
    rows = (_row(layer, quantity, beside) for quantity in CATALOGUE)
    table = element(
        "table",
        element("caption", f"Every quantity of {layer['name']}{CHANCE if layer['chance'] else ''}"),
        element("thead", element("tr", element("th", "quantity", scope="col"), *heads)),
        element("tbody", *rows),
    )
    return element(
        "details",
        summary,
        element(
            "div",
            spectrum_figure(eigenvalues, signal_dim),
            element("div", table, class_="scroll"),
            class_="inside",
        ),
        _remarks(layer),
        _measures(layer),
        id=f"layer-{layer['index']}",
        class_="layer",
    )


def _row(layer: Layer, quantity: Quantity, beside: Sequence[str]) -> Markup:
    name = quantity.name
    shown = number(layer[name], quantity.digits)
    judged = JUDGES.get(name)
    cells = [
        element("th", name.replace("_", " "), scope="row", title=quantity.words),
        element("td", shown) if judged is None else judged_cell(0, layer, judged.name, shown),
    ]
    if layer[name] is None:
        why = layer["undefined"].get(name, "undefined")
        return element("tr", *cells, element("td", why, class_="left", colspan=max(len(beside), 1)))
    cells += [element("td", _told(layer[_BESIDE[one]].get(name), quantity)) for one in beside]
    return element("tr", *cells)


def _told(found: Mapping[str, float] | float | None, quantity: Quantity) -> str:
    """Return an error, or what chance makes of a quantity and the best of a hundred by chance."""
    if found is None:
        return ""
    if isinstance(found, Mapping):
        level, quantile = (number(found[key], quantity.digits) for key in ("level", "quantile"))
        return f"{level}, {quantile}"
    return f"{found:.1g}"


def _remarks(layer: Layer) -> Markup:
    """Return the corrected values, the floor of the precision, and the notes."""
    lines = [
        f"{name.replace('_', ' ')}, with the bias of samples that were fitted to taken off:"
        f" {number(value)}"
        for name, value in layer["corrected"].items()
    ]
    if layer["floor"] is not None:
        lines.append(
            f"the least noise that the precision of the features can show: {number(layer['floor'])}"
        )
    lines += layer["notes"]
    return element("ul", *(element("li", line) for line in lines)) if lines else Markup()


def _measures(layer: Layer) -> Markup:
    """Return the neighbouring measures, where they were asked for."""
    found: dict[str, Any] | None = layer.get("measures")
    if found is None:
        return Markup()
    rows = []
    for measure in MEASURES:
        value = found[measure.name]
        if isinstance(value, list):
            shown = ", ".join(number(one, measure.digits) for one in value[:8])
            shown += ", …" if len(value) > 8 else ""
        else:
            shown = number(value, measure.digits)
        why = found["undefined"].get(measure.name, "")
        rows.append(
            element(
                "tr",
                element("th", measure.name.replace("_", " "), scope="row", title=measure.formula),
                element("td", shown),
                element("td", why, class_="left"),
            )
        )
    notes = (element("li", note) for note in found["notes"])
    return together(
        element(
            "div",
            element("table", element("caption", "Neighbouring measures"), element("tbody", *rows)),
            class_="scroll",
        ),
        element("ul", *notes) if found["notes"] else text(""),
    )
