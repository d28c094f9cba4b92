"""The verdict on a network: one state, from where to where, how sure, and what stands against it.

See docs/verdict.md. Nothing else concludes anything from the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nrcscan.metrics.quantities import JUDGED, LEARNED_R2
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, sure_side
from nrcscan.verdict.confidence import Confidence, confidence, reading
from nrcscan.verdict.depth import Step
from nrcscan.verdict.onset import Shape, longest, onset, runs, shape, supposed_met
from nrcscan.verdict.state import State

_OF_SHAPE = {
    Shape.TO_THE_OUTPUT: State.COLLAPSED,
    Shape.LAST_ALONE: State.LAST_LAYER_ONLY,
    Shape.STRETCH: State.PARTLY,
    Shape.NOWHERE: State.NOT_COLLAPSED,
}


@dataclass(frozen=True)
class NetworkFit:
    """How well a network predicts its targets.

    Attributes:
        n_samples: N.
        mse: of the network, in units of the targets squared; None without predictions.
        r2: of the network; None then too, or when the targets do not vary.
        target_variance: in the mean over targets.
        mse_error: standard error of the MSE; None where it is not known.
        r2_error: likewise of R².
        doubtful: whether the network was inferred, and may be another than was trained.
    """

    n_samples: int
    mse: float | None
    r2: float | None
    target_variance: float
    mse_error: float | None = None
    r2_error: float | None = None
    doubtful: bool = False

    @property
    def learned(self) -> Answer:
        """Whether the network predicts anything: R² of a tenth or more."""
        if self.r2 is None:
            return Answer.NOT_JUDGED
        return sure_side(self.r2 - LEARNED_R2, self.r2_error or 0.0)


@dataclass(frozen=True)
class Broken:
    """What ends a stretch, or keeps one from beginning.

    Attributes:
        layer: its name.
        conditions: those that are not known to be met there → the value that each judges, or None.
    """

    layer: str
    conditions: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"layer": self.layer, "conditions": self.conditions}


@dataclass(frozen=True)
class Verdict:
    """A verdict.

    Attributes:
        state: what it is.
        onset: the first layer of the stretch that it speaks of; None if of none.
        last: the last layer of that stretch.
        broken_by: what ends that stretch, or comes closest to beginning one; None where nothing
            does.
        unmeasured: name → why, of every weight layer that runs and was not measured.
        confidence: how often it is the same on samples drawn anew; None without error bars.
        findings: what else the numbers say.
        text: the verdict in words.
    """

    state: State
    onset: str | None = None
    last: str | None = None
    broken_by: Broken | None = None
    unmeasured: dict[str, str] = field(default_factory=dict)
    confidence: Confidence | None = None
    findings: tuple[str, ...] = ()
    text: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON has it."""
        return {
            "state": self.state.value,
            "onset": self.onset,
            "last": self.last,
            "broken_by": None if self.broken_by is None else self.broken_by.to_dict(),
            "unmeasured": self.unmeasured,
            "confidence": None if self.confidence is None else self.confidence.to_dict(),
            "findings": list(self.findings),
            "text": self.text,
        }


@dataclass(frozen=True)
class Grounds:
    """What a verdict is made from, and the stretch that it speaks of.

    Attributes:
        fit: of the network.
        steps: in depth.
        thresholds: what counts as met.
        state: of the verdict.
        stretch: first and last of the steps that it speaks of; None if of none.
        broken_by: the step that ends it, or comes closest to beginning one.
    """

    fit: NetworkFit
    steps: Sequence[Step]
    thresholds: Thresholds
    state: State
    stretch: tuple[int, int] | None = None
    broken_by: Step | None = None

    @property
    def measured(self) -> int:
        """How many steps were measured."""
        return sum(step.unmeasured is None for step in self.steps)


def grounds(fit: NetworkFit, steps: Sequence[Step], thresholds: Thresholds) -> Grounds:
    """Decide which state a network is in, and which stretch shows it."""
    if fit.n_samples == 1 or (fit.mse is not None and fit.r2 is None):
        return Grounds(fit, steps, thresholds, State.NOT_JUDGED)
    if fit.learned is Answer.NOT_MET:
        return Grounds(fit, steps, thresholds, State.LEARNED_NOTHING)
    together = [step.together for step in steps]
    possible = supposed_met(together)
    if not any(step.unmeasured is None for step in steps):
        return Grounds(fit, steps, thresholds, State.NOT_JUDGED)
    state = _OF_SHAPE[shape(together)]
    if shape(together) is not shape(possible):
        state = State.UNDECIDED if _samples_decide(together) else State.NOT_JUDGED
    elif fit.learned is Answer.UNDECIDED:
        state = State.UNDECIDED
    stretch = _stretch(state, together, possible)
    return Grounds(
        fit, steps, thresholds, state, stretch, _breaks(state, steps, stretch, thresholds)
    )


def _samples_decide(together: Sequence[Answer]) -> bool:
    """Say whether what is undecided leaves the shape open, whatever cannot be judged is."""
    known = [Answer.NOT_MET if a is Answer.NOT_JUDGED else a for a in together]
    return shape(known) is not shape(supposed_met(known))


def _stretch(
    state: State, together: Sequence[Answer], possible: Sequence[Answer]
) -> tuple[int, int] | None:
    """Return the stretch that a verdict speaks of: to the last step, else the longest."""
    taken = possible if state is State.UNDECIDED else together
    if state is State.NOT_JUDGED:  # what is met for sure, through to what cannot be judged
        taken = [Answer.MET if answer is Answer.NOT_JUDGED else answer for answer in together]
        taken = taken if Answer.MET in taken else possible
    start = onset(taken)
    if start is not None:
        return start, len(taken) - 1
    stretches = runs(taken)
    return longest(stretches) if stretches else None


def _breaks(
    state: State,
    steps: Sequence[Step],
    stretch: tuple[int, int] | None,
    thresholds: Thresholds,
) -> Step | None:
    """Return the step that surely ends a stretch; where there is no stretch, the closest to one."""
    if stretch is None:
        measured = [step for step in steps if step.unmeasured is None]
        return min(reversed(measured), key=lambda step: _distance(step, thresholds))
    if state is State.LAST_LAYER_ONLY:
        return steps[stretch[0] - 1] if stretch[0] else None
    if state is State.PARTLY:
        return next(s for s in steps[stretch[1] + 1 :] if s.together is Answer.NOT_MET)
    return None


def _distance(step: Step, thresholds: Thresholds) -> tuple[int, float]:
    """Return how far a step is from meeting all: conditions that it lacks, and the worst miss."""
    missed = [c for c in JUDGED if step.answers[c.name] is not Answer.MET]
    values = [(c, step.metrics.get(c.quantity)) for c in missed]
    margins = [0.0 if value is None else c.margin(value, thresholds) for c, value in values]
    return len(missed), -min(margins, default=0.0)


def broken(step: Step) -> Broken:
    """Return what is not known to be met at a step; that of what is surely not, if any is."""
    failed = [c for c in JUDGED if step.answers[c.name] is Answer.NOT_MET]
    failed = failed or [c for c in JUDGED if step.answers[c.name] is not Answer.MET]
    return Broken(step.name, {c.name: step.metrics.get(c.quantity) for c in failed})


def first_and_last(found: Grounds) -> tuple[str | None, str | None]:
    """Return the first and the last layer of the stretch that a verdict speaks of."""
    if found.stretch is None:
        return None, None
    measured = [s for s in found.steps[found.stretch[0] : found.stretch[1] + 1] if s.number]
    if not measured:
        return None, None
    return measured[0].name, measured[-1].names[-1]


def unmeasured(steps: Sequence[Step]) -> dict[str, str]:
    """Return name → why of every step that was not measured."""
    return {s.name: s.unmeasured.reason for s in steps if s.unmeasured is not None}


def confidence_of(found: Grounds) -> Confidence | None:
    """Return how often a verdict is the same on samples drawn anew."""
    if found.state in (State.LEARNED_NOTHING, State.NOT_JUDGED):
        return None
    together = [step.together for step in found.steps]
    if found.state is State.UNDECIDED and Answer.NOT_JUDGED in together:
        return None
    taken = supposed_met(together) if found.state is State.UNDECIDED else together
    return confidence(found.steps, found.thresholds, reading(found.steps, taken))
