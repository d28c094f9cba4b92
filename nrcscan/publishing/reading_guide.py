"""How to read each number, from the catalogues of quantities and measures."""

from __future__ import annotations

from nrcscan.metrics.neighbouring import MEASURES
from nrcscan.metrics.quantities import CATALOGUE, JUDGED, Need
from nrcscan.publishing.markup import Markup, coded, element

_HEADS = ("number", "what it is", "range", "collapsed", "undefined where")
_CONDITIONS = {condition.quantity: condition.name.upper() for condition in JUDGED}


def reading_guide(*, measures: bool = False) -> Markup:
    """Return what every quantity is, and every neighbouring measure where they are shown."""
    rows = []
    for one in CATALOGUE:
        mark = f" ({_CONDITIONS[one.name]})" if one.name in _CONDITIONS else ""
        lacking = [need.value.removesuffix(", as above") for need in Need if need in one.needs]
        told = (one.words, one.formula, one.range, one.collapsed, "; ".join(lacking))
        rows.append(_row(f"{one.column or _spaced(one.name)}{mark}", *told))
    for beside in MEASURES if measures else ():
        told = (beside.source, beside.formula, beside.range, beside.collapsed, beside.undefined)
        rows.append(_row(beside.column or _spaced(beside.name), *told))
    heads = (element("th", head, scope="col", class_="left") for head in _HEADS)
    table = element(
        "table",
        element("caption", "Every number of this page"),
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="guide",
    )
    return element(
        "details",
        element("summary", "How to read each number"),
        element("div", table, class_="scroll"),
        id="guide",
    )


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _row(label: str, words: str, formula: str, *rest: str) -> Markup:
    return element(
        "tr",
        element("th", label, scope="row"),
        element("td", words, element("br"), element("small", coded(formula)), class_="left"),
        *(element("td", coded(one), class_="left") for one in rest),
    )
