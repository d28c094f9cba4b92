"""Why a step does not meet all four conditions, in words: with values and what explains them."""

from __future__ import annotations

from nrcscan.metrics.quantities import ENTRIES, JUDGED, Condition
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, trade_places, within_chance
from nrcscan.verdict.depth import Step
from nrcscan.wording import listed

MOST_OF_IT = 0.5
"""A weight acts mostly on the signal from this share of its energy on."""


def lacks(step: Step, thresholds: Thresholds, *, alone: bool = False) -> str:
    """Say what a step does not meet, with its values; and whether it is that alone."""
    if step.unmeasured is not None:
        return f"was not measured ({step.unmeasured.reason})"
    failed = [c for c in JUDGED if step.answers[c.name] is Answer.NOT_MET]
    if failed:
        told = [f"{c.name.upper()} ({_value(c, step, thresholds)})" for c in failed]
        return f"does not meet {listed(told)}" + (" alone" if alone and len(told) == 1 else "")
    open_ = [c for c in JUDGED if step.answers[c.name] is not Answer.MET]
    return "is open: " + listed(f"{c.name.upper()} {why_open(c, step, thresholds)}" for c in open_)


def falls_short(step: Step, thresholds: Thresholds) -> str:
    """Say in one line what a step surely does not meet: the values, and the thresholds alone."""
    failed = [c for c in JUDGED if step.answers[c.name] is Answer.NOT_MET]
    told = [f"{c.name.upper()} ({_told(c, step)}, {_limits(c, thresholds)})" for c in failed]
    return f"does not meet {listed(told)}"


def why_open(condition: Condition, step: Step, thresholds: Thresholds) -> str:
    """Say why a condition is undecided at a step, or cannot be judged."""
    if step.answers[condition.name] is Answer.NOT_JUDGED:
        why = step.metrics.undefined.get(condition.quantity, "no reason is recorded")
        return f"cannot be judged ({why})"
    return f"is undecided ({_value(condition, step, thresholds)})"


def with_error(value: float | None, error: float | None) -> str:
    """Return a value with its standard error, if there is one."""
    if value is None:
        return "unknown"
    return f"{value:.3g}" if not error else f"{value:.3g} ± {error:.1g}"


def _value(condition: Condition, step: Step, thresholds: Thresholds) -> str:
    """Return a value as it is judged: with its error, its threshold, and what explains it."""
    quantity = condition.quantity
    value = step.metrics.get(quantity)
    assert value is not None
    told = _told(condition, step)
    if trade_places(quantity, step.metrics):
        return f"{told}, of directions that other samples may have trade places"
    if within_chance(quantity, value, step.metrics):
        return f"{told}, and by chance up to {step.metrics.chance[quantity].quantile:.3g}"
    threshold = float(getattr(thresholds, condition.option))
    if condition.both_sides:
        if value < 1 / threshold and step.answers[condition.name] is Answer.NOT_MET:
            return f"{told}: a linear probe does better"
        low, high = step.metrics.between.get(quantity, (value, value))
        if low < threshold < high:
            told += f", on the samples fitted to {low:.3g}"
        return f"{told}, {_limits(condition, thresholds)}"
    energy = step.metrics.get("weight_signal_energy")
    failed = step.answers[condition.name] is Answer.NOT_MET
    if failed and quantity == "alignment" and energy is not None and energy > MOST_OF_IT:
        return f"{told}, though {energy:.1%} of the weight's energy acts on the signal"
    return f"{told}, {_limits(condition, thresholds)}"


def _told(condition: Condition, step: Step) -> str:
    """Return what a condition judges, with its error."""
    quantity = condition.quantity
    shown = with_error(step.metrics.get(quantity), step.metrics.standard_errors.get(quantity))
    if bound := step.metrics.bounds.get(quantity):
        shown += f", known to {bound:.1g}"
    return f"{quantity.replace('_', ' ')} {shown}"


def _limits(condition: Condition, thresholds: Thresholds) -> str:
    """Return where a condition is met."""
    threshold = float(getattr(thresholds, condition.option))
    if condition.both_sides:
        return condition.met_at(threshold)
    side = "at most" if ENTRIES[condition.quantity].worse == "higher" else "at least"
    return f"{threshold:g} {side}"
