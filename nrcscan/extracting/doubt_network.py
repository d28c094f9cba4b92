"""Whether an inferred network's last layer fits its features, as a report will say of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nrcscan.acts_file.kept_in_memory import KeptInMemory
from nrcscan.acts_file.schema import OutputStatistics
from nrcscan.extracting.accumulate import Accumulated
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.predictions import to_numpy
from nrcscan.reporting.make_report import report_of
from nrcscan.statistics.sketch import Sketch

WIDE_HEAD = 2048
"""Of a wider head only a report says it, which takes the eigenvectors of its features anyway."""


def doubts_of(
    plan: CallPlan,
    accumulated: Accumulated,
    outcome: OutputStatistics,
    provenance: dict[str, Any],
    epsilon: float,
    product_epsilon: float,
) -> tuple[str, ...]:
    """Return why an inferred network may be another than was trained, as its report will.

    Args:
        plan: what was watched.
        accumulated: what the last pass has added up.
        outcome: the network's predictions, beside the targets.
        provenance: of the file.
        epsilon: machine epsilon of the arithmetic that made the features.
        product_epsilon: machine epsilon of the products in the covariances.
    """
    record = replace(plan.records[-1], position=0)
    at = plan.records[-1].position
    moments = accumulated.positions.get(at)
    if moments is None or plan.widths[at] > WIDE_HEAD:
        return ()
    head = KeptInMemory(Path())
    head.add_layer(record, to_numpy(plan.weights[-1]))
    found = moments.sketched() if isinstance(moments, Sketch) else moments.statistics()
    head.add_statistics(0, found)
    head.finish(outcome, provenance, epsilon, product_epsilon)
    return report_of(head, signal_dim="t", convention="default", thresholds=None).doubts
