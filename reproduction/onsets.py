"""Where conditions begin, at thresholds of one's choice, as surely as error bars allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nrcscan.metrics.quantities import ENTRIES, JUDGED, Condition
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, sure_side, together
from nrcscan.verdict.onset import onset, supposed_met
from reproduction.estimates import Estimate
from reproduction.results import Measurement, Result, Step

DEFAULTS = Thresholds()


@dataclass(frozen=True)
class Reading:
    """How results are read.

    Attributes:
        thresholds: what counts as met.
        open: whether what nrcscan leaves open beside its error bars is open: values that chance may
            reach, and directions that may trade places with other samples.
        at_rank: whether targets of few directions are read at their rank r, in place of k = t.
    """

    thresholds: Thresholds = DEFAULTS
    open: bool = True
    at_rank: bool = False

    def of(self, one: Result) -> Measurement:
        """Return the measurement of a network that is read."""
        return one.at_rank if self.at_rank and one.at_rank is not None else one.last


USUAL = Reading()

CONDITION = {condition.name: condition for condition in JUDGED}


@dataclass(frozen=True)
class Begins:
    """From which step on a condition is met to the output, counted from 1; None for from none.

    Attributes:
        surely: counting only what is met.
        possibly: counting what is undecided, or cannot be judged, too.
    """

    surely: int | None
    possibly: int | None

    def before(self, last: int) -> Answer:
        """Say whether it begins before the last step."""
        if self.surely is not None and self.surely < last:
            return Answer.MET
        if self.possibly is not None and self.possibly < last:
            return Answer.UNDECIDED
        return Answer.NOT_MET


def begins(measured: Measurement, condition: str | None, reading: Reading = USUAL) -> Begins:
    """Return from where on a condition is met, or all four for None."""
    names = [condition] if condition else [*CONDITION]
    return begins_where(
        together(answer_at(step, CONDITION[name], reading) for name in names)
        for step in measured.steps
    )


def at_rank(one: Result, step: Step, quantity: str) -> Estimate | None:
    """Return a quantity of a step with the targets' rank r for k; at full rank that is k itself."""
    if one.at_rank is None:
        return step.get(quantity)
    found = one.at_rank.steps[step.place - 1].get(quantity)
    return step.get(f"{quantity}_r") if found is None else found


def begins_at_rank(one: Result, noise_max: float = DEFAULTS.noise_max) -> Begins:
    """Return from where on NRC1 is met with the targets' rank r for k, as in section 4.3."""
    quantity = "noise_component"
    return begins_where(
        within(at_rank(one, step, quantity), noise_max, quantity) for step in one.last.steps
    )


def begins_where(answers: Iterable[Answer]) -> Begins:
    """Return from where on answers are "met", by those at every step in depth."""
    every = list(answers)
    surely, possibly = onset(every), onset(supposed_met(every))
    return Begins(*(None if at is None else at + 1 for at in (surely, possibly)))


def answer_at(step: Step, condition: Condition, reading: Reading) -> Answer:
    """Return the answer for a condition as it is read.

    Usually it is nrcscan's. At another threshold it is by value and error bar alone, but for what
    nrcscan leaves open at its own where these two do not.
    """
    kept, thresholds = step.answer(condition.name), reading.thresholds
    own = getattr(thresholds, condition.option) == getattr(DEFAULTS, condition.option)
    if own and reading.open:
        return kept
    found = step.get(condition.quantity)
    if found is None or kept is Answer.NOT_JUDGED:
        return Answer.NOT_JUDGED
    usual, other = (_by_bar(found, condition, one) for one in (DEFAULTS, thresholds))
    if not reading.open:
        return other
    if usual is Answer.MET and kept is not Answer.MET:
        return kept if other is Answer.MET else other
    if usual is Answer.NOT_MET and kept is Answer.UNDECIDED:
        return kept
    return other


def _by_bar(found: Estimate, condition: Condition, thresholds: Thresholds) -> Answer:
    spread = (found.error or 0.0) * condition.slope(found.value)
    return sure_side(condition.margin(found.value, thresholds), spread)


def within(found: Estimate | None, limit: float, quantity: str) -> Answer:
    """Say whether a quantity is on the better side of a limit, as surely as its error allows."""
    if found is None:
        return Answer.NOT_JUDGED
    better = limit - found.value if ENTRIES[quantity].worse == "higher" else found.value - limit
    return sure_side(better, found.error or 0.0)


def steps_from(measured: Measurement, first: Begins) -> list[Step]:
    """Return the steps at which something is surely met, from where it begins to the last."""
    return [] if first.surely is None else measured.steps[first.surely - 1 :]
