"""Which of the four conditions a layer meets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.options.report_options import Thresholds

if TYPE_CHECKING:  # the thresholds' defaults are part of --help, which imports nothing heavy
    from nrcscan.metrics.layer_metrics import LayerMetrics


Answer = bool | None
"""Whether a condition holds somewhere; None where it cannot be judged."""


def conditions(
    metrics: LayerMetrics, thresholds: Thresholds, *, learned: bool, alignment: float | None
) -> dict[str, Answer]:
    """Return which conditions hold at a layer.

    Args:
        metrics: of the layer.
        thresholds: what counts as met.
        learned: whether the network predicts anything (R² ≥ 0.1); NRC4 is not met otherwise.
        alignment: the alignment to judge NRC3 by: the layer's own, or its position's mean.
    """
    if not metrics.varies:
        return dict.fromkeys(CONDITIONS, False)
    noise, cka, excess = (metrics.get(q) for q in ("noise_component", "cka", "excess"))
    return {
        "nrc1": None if noise is None else noise <= thresholds.noise_max,
        "nrc2": None if cka is None else cka >= thresholds.cka_min,
        "nrc3": None if alignment is None else alignment >= thresholds.alignment_min,
        "nrc4": None if excess is None else learned and excess <= thresholds.excess_max,
    }
