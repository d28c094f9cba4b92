"""A layer as cells of a CSV: what reports and comparisons write alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES

HEAD = (*QUANTITIES, *(f"met_{condition}" for condition in CONDITIONS), "undefined")
"""Of the cells that `cells` returns."""


def cells(layer: Mapping[str, Any]) -> list[object]:
    """Return a layer's numbers, conditions and reasons; what is undefined is empty.

    Args:
        layer: of the JSON report.
    """
    values = [layer[quantity] for quantity in QUANTITIES]
    met = [layer["met"][condition] for condition in CONDITIONS]
    reasons = "; ".join(f"{quantity}: {why}" for quantity, why in layer["undefined"].items())
    return [
        *values,
        *("" if holds is None else str(holds).lower() for holds in met),
        reasons,
    ]
