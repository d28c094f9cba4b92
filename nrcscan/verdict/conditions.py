"""Which of the four conditions a layer meets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nrcscan.metrics.quantities import CATALOGUE, CONDITIONS, JUDGED, Need
from nrcscan.options.report_options import Thresholds

if TYPE_CHECKING:  # rules name conditions, and start without NumPy
    from nrcscan.metrics.layer_values import LayerMetrics


Answer = bool | None
"""Whether a condition holds somewhere; None where it cannot be judged."""


def conditions(
    metrics: LayerMetrics, thresholds: Thresholds, *, learned: bool
) -> dict[str, Answer]:
    """Return which conditions hold at a layer, or at a position in depth.

    Args:
        metrics: of the layer, or of the position; see `at_position`.
        thresholds: what counts as met.
        learned: whether the network predicts anything; NRC4 is not met otherwise.
    """
    if not metrics.varies:
        return dict.fromkeys(CONDITIONS, False)
    return {
        condition.name: condition.met(metrics.get(condition.quantity), thresholds, learned=learned)
        for condition in JUDGED
    }


def at_position(layers: Sequence[LayerMetrics]) -> LayerMetrics:
    """Return the metrics of a position in depth: what depends on a weight as the layers' mean.

    Args:
        layers: that read the same features.
    """
    values = dict(layers[0].values)
    for quantity in CATALOGUE:
        if Need.WEIGHT in quantity.needs:
            own = [layer.values[quantity.name] for layer in layers if quantity.name in layer.values]
            if own:
                values[quantity.name] = sum(own) / len(own)
    return replace(layers[0], values=values)
