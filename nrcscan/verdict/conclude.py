"""From the answers at every step to the verdict: what every table, file and page shows."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.metrics.quantities import JUDGED
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, sure_side
from nrcscan.verdict.depth import Step
from nrcscan.verdict.sentence import in_words
from nrcscan.verdict.verdict import (
    Grounds,
    NetworkFit,
    Verdict,
    broken,
    confidence_of,
    first_and_last,
    grounds,
    unmeasured,
)
from nrcscan.wording import ordinal


def conclude(fit: NetworkFit, steps: Sequence[Step], thresholds: Thresholds) -> Verdict:
    """Return the verdict on a network.

    Args:
        fit: of the network.
        steps: in depth.
        thresholds: what counts as met.
    """
    found = grounds(fit, steps, thresholds)
    onset, last = first_and_last(found)
    sure = confidence_of(found)
    against = None if found.broken_by is None else broken(found.broken_by)
    return Verdict(
        state=found.state,
        onset=onset,
        last=last,
        broken_by=against,
        unmeasured=unmeasured(steps),
        confidence=sure,
        findings=tuple(findings(found)),
        text=in_words(found, sure),
    )


def findings(found: Grounds) -> list[str]:
    """Return what the numbers say beside the verdict: where a linear probe beats the network."""
    nrc4 = next(c for c in JUDGED if c.both_sides)
    least = 1 / float(getattr(found.thresholds, nrc4.option))
    better = []
    for step in found.steps:
        ratio = step.metrics.get(nrc4.quantity)
        if ratio is None:
            continue
        if sure_side(least - ratio, step.metrics.standard_errors.get(nrc4.quantity, 0.0)) is (
            Answer.MET
        ):
            better.append((ratio, step))
    if not better:
        return []
    ratio, step = min(better, key=lambda one: one[0])
    why = "Layers after this lose information."
    if step is found.steps[-1]:
        why = "The network's last layer is not the best linear map of what it reads."
    return [
        f"A linear probe does better: from {step.name} ({ordinal(step.number)} of"
        f" {found.measured}) it predicts the targets with {ratio:.2g} times the network's error."
        f" {why}"
    ]
