"""From the answers at every step to the verdict: what every table, file and page shows."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.metrics.quantities import JUDGED
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, sure_side
from nrcscan.verdict.depth import Step
from nrcscan.verdict.reasons import falls_short
from nrcscan.verdict.sentence import in_words
from nrcscan.verdict.state import State
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
    """Return what the numbers say beside the verdict."""
    return [*_why_not_earlier(found), *_better_probe(found)]


def _why_not_earlier(found: Grounds) -> list[str]:
    """Say what keeps collapse from beginning a step earlier, where it is known to be kept."""
    if found.state is not State.COLLAPSED or found.stretch is None or found.stretch[0] == 0:
        return []
    before = found.steps[found.stretch[0] - 1]
    if before.together is not Answer.NOT_MET:  # which the verdict says itself
        return []
    return [f"Not earlier: {before.name} {falls_short(before, found.thresholds)}."]


def _better_probe(found: Grounds) -> list[str]:
    """Say where a linear probe beats the network."""
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
    why = "Layers after this lose information"
    if step is found.steps[-1]:
        why = "The network's last layer is not the best linear map of what it reads"
    return [
        f"A linear probe does better: from {step.name} ({ordinal(step.number)} of"
        f" {found.measured}) it predicts the targets with {ratio:.2g} times the network's error."
        f" {why}: see nrcscan cut."
    ]
