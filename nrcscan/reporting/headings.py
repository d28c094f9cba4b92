"""What stands above the numbers that a condition judges: its name, theirs, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping

from nrcscan.metrics.quantities import COLUMNS, Condition
from nrcscan.options.report_options import Thresholds


def title(condition: Condition) -> str:
    """Return the condition and its quantity, such as "NRC1 noise"."""
    return f"{condition.name.upper()} {COLUMNS[condition.quantity]}"


def range_met(condition: Condition, thresholds: Thresholds) -> str:
    """Return where it is met, such as "≤ 0.2"."""
    return condition.met_at(float(getattr(thresholds, condition.option)))


def heading(condition: Condition, thresholds: Mapping[str, float]) -> str:
    """Return both on a line, such as "NRC1 noise ≤ 0.2"; of a threshold not known, nothing."""
    threshold = thresholds.get(condition.option)
    return title(condition) + ("" if threshold is None else f" {condition.met_at(threshold)}")
