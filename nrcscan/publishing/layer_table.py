"""The table of layers: every quantity, and the marks of what is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nrcscan.metrics.quantities import CATALOGUE, ENTRIES, JUDGES
from nrcscan.publishing.marks_on_page import Layer, depth_of, judged_cell, legend
from nrcscan.publishing.markup import Markup, element, name_of, together
from nrcscan.reporting.numbers import number

_IN_ORDER = sorted(CATALOGUE, key=lambda quantity: quantity.column is None)
"""Those that tables always show come first."""


LONG = 24
"""Letters of a name from which on the table gives names more room."""


def layer_table(
    layers: Sequence[Layer], thresholds: Mapping[str, float], begins: str | None
) -> Markup:
    """Return the table.

    Args:
        layers: in execution order.
        thresholds: by their option's name.
        begins: the layer from which the network is collapsed.
    """
    head = element(
        "tr",
        column_head("#", "step in depth", number_=True),
        column_head("layer"),
        column_head("kind", class_="wide"),
        column_head("width", number_=True),
        *(_quantity_head(quantity.name, thresholds) for quantity in _IN_ORDER),
    )
    rows = (_row(layer, layer["name"] == begins) for layer in layers)
    long = max((len(layer["name"]) for layer in layers), default=0) > LONG
    caption = "In execution order. A dash is undefined: its layer says why."
    return together(
        element(
            "p",
            element("label", element("input", type="checkbox", id="all"), " all quantities"),
            class_="tools",
        ),
        element(
            "div",
            element(
                "table",
                element("caption", caption),
                element("thead", head),
                element("tbody", *rows),
                class_=f"sortable layers{' long' if long else ''}",
            ),
            class_="scroll",
            role="region",
            aria_label="Table of layers",
            tabindex="0",
        ),
        legend(),
    )


def column_head(
    label: str, tells: str | None = None, *, number_: bool = False, class_: str = ""
) -> Markup:
    """Return the heading of a column that a script makes sortable."""
    kind = " ".join(filter(None, ("number" if number_ else "", class_)))
    return element("th", label, scope="col", title=tells, class_=kind or None)


def _quantity_head(name: str, thresholds: Mapping[str, float]) -> Markup:
    quantity, condition = ENTRIES[name], JUDGES.get(name)
    label = together(quantity.column or quantity.name.replace("_", " "))
    if condition is not None:
        label = together(element("small", condition.name.upper()), " ", label)
        if condition.option in thresholds:
            met = condition.met_at(thresholds[condition.option])
            label = together(label, " ", element("small", met, data_within=condition.name))
    kind = "number" if quantity.column else "number more"
    return element("th", label, scope="col", title=quantity.words, class_=kind)


def _row(layer: Layer, begins: bool) -> Markup:
    name = element("a", name_of(layer["name"]), href=f"#layer-{layer['index']}")
    cells = [
        element("td", depth_of(layer), data_v=layer["step"] or 0),
        element("th", name, scope="row"),
        element("td", layer["kind"], class_="wide left"),
        element("td", str(layer["width"]), data_v=layer["width"]),
        *(_cell(layer, quantity.name) for quantity in _IN_ORDER),
    ]
    kind = "begins" if begins else "aside" if layer["step"] is None else None
    return element("tr", *cells, class_=kind)


def _cell(layer: Layer, name: str) -> Markup:
    shown = number(layer[name], ENTRIES[name].digits)
    if name in JUDGES:
        return judged_cell(0, layer, JUDGES[name].name, shown)
    value = layer[name]
    sortable = None if value is None else f"{value:.6g}"
    return element("td", shown, class_=None if ENTRIES[name].column else "more", data_v=sortable)
