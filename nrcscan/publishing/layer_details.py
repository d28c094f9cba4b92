"""All that is known of one layer: spectrum, errors, chance, bounds, what is undefined and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nrcscan.metrics.neighbouring import MEASURES
from nrcscan.metrics.quantities import CATALOGUE, JUDGED, Quantity
from nrcscan.publishing.marks_on_page import Layer, depth_of, judged_cell, sign, style
from nrcscan.publishing.marks_on_page import answer_of as answer
from nrcscan.publishing.markup import Markup, element, name_of, text, together
from nrcscan.publishing.spectrum_figure import spectrum_figure
from nrcscan.reporting.numbers import number

_JUDGED = {condition.quantity: condition.name for condition in JUDGED}
_HEADS = (
    ("quantity", "left"),
    ("value", "number"),
    ("± error", "number"),
    ("by chance", "number"),
    ("99 % by chance", "number"),
    ("off by at most", "number"),
    ("undefined, because", "left"),
)


def layer_details(layer: Layer, eigenvalues: Sequence[float], signal_dim: int) -> Markup:
    """Return a layer's section, closed until it is asked for.

    Args:
        layer: it.
        eigenvalues: of its features' covariance, descending.
        signal_dim: k.
    """
    signs = (
        element("span", sign(answer(layer, name)), class_=style(answer(layer, name)))
        for name in _JUDGED.values()
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
    shown = [head for head in _HEADS if _any(layer, head[0])]
    heads = (element("th", label, scope="col", class_=kind) for label, kind in shown)
    rows = (_row(layer, quantity, [label for label, _ in shown]) for quantity in CATALOGUE)
    table = element(
        "table",
        element("caption", f"Every quantity of {layer['name']}"),
        element("thead", element("tr", *heads)),
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


def _any(layer: Layer, column: str) -> bool:
    """Say whether any quantity has something in a column."""
    held = {
        "± error": "standard_error",
        "by chance": "chance",
        "99 % by chance": "chance",
        "off by at most": "bounds",
        "undefined, because": "undefined",
    }
    return column not in held or bool(layer[held[column]])


def _row(layer: Layer, quantity: Quantity, columns: Sequence[str]) -> Markup:
    name, digits = quantity.name, quantity.digits
    error, chance = layer["standard_error"].get(name), layer["chance"].get(name, {})
    shown = number(layer[name], digits)
    value = element("td", shown)
    if name in _JUDGED:
        value = judged_cell(0, layer, _JUDGED[name], shown)
    bound = layer["bounds"].get(name)
    cells = {
        "quantity": element("th", name.replace("_", " "), scope="row", title=quantity.words),
        "value": value,
        "± error": element("td", "" if error is None else f"{error:.1g}"),
        "by chance": element("td", number(chance["level"], digits) if chance else ""),
        "99 % by chance": element("td", number(chance["quantile"], digits) if chance else ""),
        "off by at most": element("td", "" if bound is None else f"{bound:.1g}"),
        "undefined, because": element("td", layer["undefined"].get(name, ""), class_="left"),
    }
    return element("tr", *(cells[column] for column in columns))


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
