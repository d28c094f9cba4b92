"""Whether a condition is met somewhere: four answers, of which two say that it is not known.

"Cannot be judged" is no "not met", and "undecided" neither: who needs a condition to be met has to
ask for `Answer.MET`, who needs it to fail for `Answer.NOT_MET`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

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


def answers(metrics: LayerMetrics, thresholds: Thresholds, *, learned: Answer) -> dict[str, Answer]:
    """Return the answer for every condition.

    Args:
        metrics: of a layer, or of a step in depth; see `at_position`.
        thresholds: what counts as met.
        learned: whether the network predicts anything; NRC4 is met only if it does.
    """
    return {c.name: _answer(c, metrics, thresholds, learned=learned) for c in JUDGED}


def _answer(
    condition: Condition, metrics: LayerMetrics, thresholds: Thresholds, *, learned: Answer
) -> Answer:
    quantity = condition.quantity
    value = metrics.get(quantity)
    if value is None:
        return Answer.NOT_JUDGED
    if condition.of_learned and learned is Answer.NOT_MET:
        return Answer.NOT_MET
    spread = BAR * metrics.standard_errors.get(quantity, 0.0)
    unsure = (spread + metrics.bounds.get(quantity, 0.0)) * condition.slope(value)
    side = _side(condition, metrics.between.get(quantity, (value, value)), thresholds, unsure)
    open_ = within_chance(quantity, value, metrics)
    open_ = open_ or (condition.of_learned and learned is Answer.UNDECIDED)
    if trade_places(quantity, metrics) or (side is Answer.MET and open_):
        return Answer.UNDECIDED
    return side


def _side(
    condition: Condition, ends: tuple[float, float], thresholds: Thresholds, unsure: float
) -> Answer:
    """Say on which side of the threshold all between two values is, and the bar around them."""
    margins = [condition.margin(end, thresholds) for end in ends]
    best = max(margins)
    if condition.both_sides and min(ends) <= 1 <= max(ends):
        best = condition.margin(1.0, thresholds)
    if best < -unsure:
        return Answer.NOT_MET
    return Answer.MET if min(margins) >= unsure else Answer.UNDECIDED


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
