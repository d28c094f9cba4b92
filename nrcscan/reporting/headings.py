"""What stands above the numbers that a condition judges: its name, theirs, and the threshold."""

from __future__ import annotations

from nrcscan.metrics.quantities import COLUMNS, Condition
from nrcscan.options.report_options import Thresholds


def title(condition: Condition) -> str:
    """Return the condition and its quantity, such as "NRC1 noise"."""
    return f"{condition.name.upper()} {COLUMNS[condition.beside]}"


def range_met(condition: Condition, thresholds: Thresholds) -> str:
    """Return where it is met, such as "≤ 0.2"."""
    threshold = float(getattr(thresholds, condition.option))
    if condition.both_sides:
        return f"{1 / threshold:.3g} to {threshold:g}"
    return f"{'≤' if condition.at_most else '≥'} {threshold:g}"
