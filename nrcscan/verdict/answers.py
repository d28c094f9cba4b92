"""Whether a condition is met somewhere: four answers, of which two say that it is not known.

"Cannot be judged" is no "not met", and "undecided" neither: who needs a condition to be met has to
ask for `Answer.MET`, who needs it to fail for `Answer.NOT_MET`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import reduce
from math import exp, inf
from operator import add
from sys import float_info
from typing import TYPE_CHECKING, Any

from nrcscan.metrics.quantities import CATALOGUE, ENTRIES, JUDGED, Condition, Need, Values
from nrcscan.options.report_options import Thresholds

if TYPE_CHECKING:  # rules name conditions, and start without NumPy
    from nrcscan.metrics.layer_values import LayerMetrics

BAR = 3.0
"""Standard errors on either side of a value that its error bar reaches.

Of 10,822 answers on parts of the shipped fixtures' samples, at 1.64 two were other than on all of
them, beside those where directions trade places; from 2.6 on none was.
"""

APART = 6.0
"""Standard errors by which two neighbouring directions have to differ in strength, or they may
trade places with other samples: then what compares them with the weight is undecided. All 15
alignments that read otherwise on all samples were of directions less than 5.5 apart: near such an
exchange error bars are too short, because directions turn by the inverse of what is between them.
"""


class Answer(Enum):
    """What can be said of a condition at a layer, or at a step in depth."""

    MET = "met"
    NOT_MET = "not met"
    UNDECIDED = "undecided"
    NOT_JUDGED = "cannot be judged"

    @property
    def met(self) -> bool | None:
        """True if it is met, False if it is not; None where that is not known."""
        return {Answer.MET: True, Answer.NOT_MET: False}.get(self)


@dataclass(frozen=True)
class Reach:
    """What the answer for a condition depends on beside the threshold.

    Attributes:
        lower: of the thresholds between which it is undecided the least, where the error bar ends.
        upper: the greatest.
        at_most: whether it is met up to the threshold, not from there on.
        always: the answer, whatever the threshold; None where that decides.
        open: whether it cannot be more than undecided.
    """

    lower: float
    upper: float
    at_most: bool
    always: Answer | None = None
    open: bool = False

    def answer(self, threshold: float) -> Answer:
        """Return the answer at a threshold."""
        if self.always is not None:
            return self.always
        if threshold < self.lower if self.at_most else threshold > self.upper:
            return Answer.NOT_MET
        met = threshold >= self.upper if self.at_most else threshold <= self.lower
        return Answer.MET if met and not self.open else Answer.UNDECIDED

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "undecided_between": [self.lower, self.upper],
            "always": None if self.always is None else self.always.value,
            "open": self.open,
        }


def answers(metrics: LayerMetrics, thresholds: Thresholds, *, learned: Answer) -> dict[str, Answer]:
    """Return the answer for every condition.

    Args:
        metrics: of a layer, or of a step in depth; see `at_position`.
        thresholds: what counts as met.
        learned: whether the network predicts anything; NRC4 is met only if it does.
    """
    found = reaches(metrics, learned=learned)
    return {c.name: found[c.name].answer(float(getattr(thresholds, c.option))) for c in JUDGED}


def reaches(metrics: LayerMetrics, *, learned: Answer) -> dict[str, Reach]:
    """Return how far every condition reaches; see `answers`."""
    return {condition.name: _reach(condition, metrics, learned) for condition in JUDGED}


def _reach(condition: Condition, metrics: LayerMetrics, learned: Answer) -> Reach:
    quantity = condition.quantity
    value = metrics.get(quantity)
    if value is None:
        return Reach(0.0, 0.0, condition.at_most, Answer.NOT_JUDGED)
    spread = BAR * metrics.standard_errors.get(quantity, 0.0)
    unsure = (spread + metrics.bounds.get(quantity, 0.0)) * condition.slope(value)
    ends = metrics.between.get(quantity, (value, value))
    lower, upper = _two_sided(ends, unsure) if condition.both_sides else _one_sided(ends, unsure)
    always = Answer.UNDECIDED if trade_places(quantity, metrics) else None
    if condition.of_learned and learned is Answer.NOT_MET:
        always = Answer.NOT_MET
    open_ = within_chance(quantity, value, metrics)
    open_ = open_ or (condition.of_learned and learned is Answer.UNDECIDED)
    return Reach(lower, upper, condition.at_most, always, bool(open_))


def _one_sided(ends: tuple[float, float], unsure: float) -> tuple[float, float]:
    """Return the thresholds between which some of what is between two values is met."""
    return min(ends) - unsure, max(ends) + unsure


def _two_sided(ends: tuple[float, float], unsure: float) -> tuple[float, float]:
    """Return the same for ratios of which 1/ρ to ρ is met; `unsure` is that of their logarithm."""
    away = [max(end, 1 / end) if end > 0 else inf for end in ends]
    nearest = 1.0 if min(ends) <= 1 <= max(ends) else min(away)
    factor = exp(min(unsure, 700.0))  # which a float still holds
    return min(nearest / factor, float_info.max), min(max(away) * factor, float_info.max)


def sure_side(margin: float, standard_error: float) -> Answer:
    """Say whether a margin is positive, as far as its standard error lets it be known."""
    unsure = BAR * standard_error
    if margin < -unsure:
        return Answer.NOT_MET
    return Answer.MET if margin >= unsure else Answer.UNDECIDED


def within_chance(quantity: str, value: Values, metrics: LayerMetrics) -> Values:
    """Say whether a value, or each of an array, is no closer to collapse than chance may be."""
    chance = metrics.chance.get(quantity)
    if chance is None:
        return False
    if ENTRIES[quantity].worse == "higher":
        return value >= chance.quantile
    return value <= chance.quantile


def trade_places(quantity: str, metrics: LayerMetrics) -> bool:
    """Say whether other samples may have other directions compared with the weight."""
    if not {Need.FEATURES_APART, Need.WEIGHT} <= ENTRIES[quantity].needs:
        return False
    if metrics.gap is None or metrics.gap_error is None:
        return False
    return metrics.gap < APART * metrics.gap_error


def together(several: Iterable[Answer]) -> Answer:
    """Return the answer to whether all are met.

    >>> together([Answer.MET, Answer.UNDECIDED]), together([Answer.UNDECIDED, Answer.NOT_MET])
    (<Answer.UNDECIDED: 'undecided'>, <Answer.NOT_MET: 'not met'>)
    """
    found = set(several)
    for answer in (Answer.NOT_MET, Answer.NOT_JUDGED, Answer.UNDECIDED):
        if answer in found:
            return answer
    return Answer.MET


def at_position(layers: Sequence[LayerMetrics]) -> LayerMetrics:
    """Return the metrics of a step in depth: what depends on a weight as the layers' mean.

    Its standard error is the mean of theirs: their samples, and so their errors, are the same.

    Args:
        layers: that read the same features.
    """
    values, errors = dict(layers[0].values), dict(layers[0].standard_errors)
    without = dict(layers[0].without_block)
    for quantity in CATALOGUE:
        if Need.WEIGHT not in quantity.needs:
            continue
        name = quantity.name
        own = [layer for layer in layers if name in layer.values]
        if own:
            values[name] = sum(layer.values[name] for layer in own) / len(own)
        if own and all(name in layer.standard_errors for layer in own):
            errors[name] = sum(layer.standard_errors[name] for layer in own) / len(own)
        if own and all(name in layer.without_block for layer in own):
            several = [layer.without_block[name] for layer in own]
            without[name] = reduce(add, several) / len(own)
    return replace(layers[0], values=values, standard_errors=errors, without_block=without)
