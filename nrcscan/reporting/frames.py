"""Layers as a pandas DataFrame: a row each, and a column for each quantity, answer and error.

Columns, besides what the rows say of their checkpoint or run: `kind` and `width` of the layer,
`step`, its place in depth as the verdict counts it (<NA> for what it leaves out); every quantity by
its name, and its standard error over samples as `…_se`, NaN where it is undefined; every condition,
such as `nrc1`, with its answer in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.metrics.quantities import CATALOGUE, CONDITIONS

if TYPE_CHECKING:
    import pandas

ERROR = "_se"
"""What ends the name of a standard error's column."""

_WHOLE = ("epoch", "training_step", "step", "width")


def frame(
    layers: Iterable[Mapping[str, Any]], index: Sequence[str], beside: Iterable[str] = ()
) -> pandas.DataFrame:
    """Return layers as a table.

    Args:
        layers: of the JSON report, with whatever else is told of each.
        index: what tells them from each other.
        beside: what else is told of each, in order.

    Raises:
        UsageError: pandas is not installed.
    """
    pandas = pandas_itself()
    rows = [_row(layer, (*index, *beside)) for layer in layers]
    columns = list(rows[0]) if rows else [*index, *beside]
    found = pandas.DataFrame(rows, columns=columns)
    whole = {name: "Int64" for name in _WHOLE if name in found}
    numbers = {name: "float64" for name in _numbers() if name in found}
    return found.astype({**whole, **numbers}).set_index(list(index))


def pandas_itself() -> Any:
    """Return pandas.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError(f"a DataFrame needs pandas; {to_install('pandas')}") from error
    return pandas


def _numbers() -> Iterable[str]:
    for quantity in CATALOGUE:
        yield quantity.name
        yield f"{quantity.name}{ERROR}"


def _row(layer: Mapping[str, Any], told: Iterable[str]) -> dict[str, Any]:
    errors = layer.get("standard_error", {})
    row = {name: layer[name] for name in (*told, "kind", "width", "step")}
    for quantity in CATALOGUE:
        row[quantity.name] = layer[quantity.name]
    for quantity in CATALOGUE:
        if quantity.sampled:
            row[f"{quantity.name}{ERROR}"] = errors.get(quantity.name)
    return row | {condition: layer["answers"][condition] for condition in CONDITIONS}
