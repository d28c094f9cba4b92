"""The tables of the pages that list quantities and conditions, made from the catalogue.

`python -m nrcscan.metrics.quantity_tables README.md docs/metrics.md docs/quantities.md` writes
them anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from nrcscan.metrics.neighbouring import MEASURES
from nrcscan.metrics.quantities import CATALOGUE, JUDGED, LEARNED_R2, Need
from nrcscan.options.report_options import Thresholds
from nrcscan.wording import with_tables

_MARKED = {condition.quantity: condition.name.upper() for condition in JUDGED}


def tables() -> dict[str, str]:
    """Return every table by the name in the comment that stands before it on a page."""
    return {
        "columns": columns(),
        "quantities": quantities(),
        "conditions": conditions(),
        "needs": needs(),
        "errors": errors(),
        "measures": measures(),
        **facts(),
    }


def columns() -> str:
    """Return what the columns of a report show."""
    rows = []
    for quantity in CATALOGUE:
        if quantity.column is not None:
            mark = f"{_MARKED[quantity.name]}: " if quantity.name in _MARKED else ""
            end = f"→ {quantity.collapsed}" if quantity.collapsed and mark else ""
            rows.append((quantity.column, f"{mark}{quantity.words}", end))
    return _table(("column", "what it measures", "collapsed"), rows)


def quantities() -> str:
    """Return the definition of every quantity."""
    rows = []
    for quantity in CATALOGUE:
        mark = f" ({_MARKED[quantity.name]})" if quantity.name in _MARKED else ""
        rows.append(
            (f"`{quantity.name}`{mark}", quantity.formula, quantity.range, quantity.collapsed)
        )
    return _table(("name", "formula", "range", "collapsed"), rows)


def conditions() -> str:
    """Return when each condition is met."""
    rows = []
    for condition in JUDGED:
        threshold = getattr(Thresholds(), condition.option)
        if condition.both_sides:
            within = f"1/{threshold:g} … {threshold:g}"
        else:
            within = f"{'≤' if condition.at_most else '≥'} {threshold:g}"
        met = f"`{condition.quantity}` {within}"
        if condition.of_learned:
            met += f", and the network's R² ≥ {LEARNED_R2:g}"
        option = f"`--{condition.option.replace('_', '-')}`"
        rows.append((condition.name.upper(), met, option))
    return _table(("condition", "met when", "option"), rows)


def needs() -> str:
    """Return which quantities are undefined, and when."""
    rows = [(need.value, _names(q.name for q in CATALOGUE if need in q.needs)) for need in Need]
    return _table(("when", "undefined are"), rows)


def errors() -> str:
    """Return how far quantities can be off, those of one bound together."""
    bounds = dict.fromkeys(quantity.error for quantity in CATALOGUE if quantity.error)
    rows = [(_names(q.name for q in CATALOGUE if q.error == bound), bound) for bound in bounds]
    return _table(("quantity", "off by at most"), rows)


def measures() -> str:
    """Return the definition of every measure beside those of Deep NRC."""
    rows = [(f"`{one.name}`", one.formula, one.range, one.collapsed) for one in MEASURES]
    return _table(("name", "formula", "range", "collapsed"), rows)


def facts() -> dict[str, str]:
    """Return what the catalogues say of each quantity alone, by `quantity NAME`."""
    found = {}
    for one in CATALOGUE:
        lacking = "; ".join(n.value.removesuffix(", as above") for n in Need if n in one.needs)
        found[one.name] = {
            "formula": one.formula,
            "range": one.range,
            "collapsed": one.collapsed,
            "undefined": lacking,
            "bound": one.error,
        }
    for measure in MEASURES:
        found[measure.name] = {
            "formula": measure.formula,
            "range": measure.range,
            "collapsed": measure.collapsed,
            "undefined": measure.undefined,
            "source": measure.source,
        }
    return {
        f"quantity {name}": _table(("", ""), [(what, text) for what, text in told.items() if text])
        for name, told in found.items()
    }


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, *rows]
    shown = ["".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines]
    return "\n".join([shown[0], "|---" * len(head) + "|", *shown[1:]])


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(with_tables(page.read_text(encoding="utf-8"), tables()), encoding="utf-8")
