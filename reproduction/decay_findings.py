"""Findings on weight decay: section 4.4 of the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean

from nrcscan.metrics.quantities import LEARNED_R2
from nrcscan.verdict.answers import Answer, together
from reproduction.agreement import OF_ANSWER, Agreement, Finding, Row, of_networks
from reproduction.collapse_findings import decayed, over_readings
from reproduction.estimates import Estimate, over_seeds, told
from reproduction.onsets import USUAL, Reading, begins
from reproduction.results import Measurement, Result, Results, by_decay

CLEAR = 2.0
"""Standard errors over seeds by which a difference between weight decays has to be clear of 0."""


# --- no NRC3 without weight decay -------------------------------------------------------------


def no_nrc3_without_decay(results: Results) -> Finding:
    """Return whether NRC3 needs weight decay."""
    rows = []
    for group, own in results.groups.items():
        without = _without(own)
        by_share = {
            decay: sum(_nrc3(one, USUAL) is Answer.MET for one in many) / len(many)
            for decay, many in by_decay(decayed(own)).items()
        }
        best = max(by_share, key=lambda decay: (by_share[decay], decay), default=None)
        beside = [one for one in decayed(own) if one.weight_decay == best]
        rows.append(
            Row(
                group,
                (
                    _share(_nrc3(one, USUAL) for one in without),
                    told(over_seeds(_mean_alignments(without))),
                    _share(_nrc1(one) for one in without),
                    "—" if best is None else f"{best:g}",
                    _share(_nrc3(one, USUAL) for one in beside),
                    told(over_seeds(_mean_alignments(beside))),
                ),
                lacks_nrc3(own, USUAL),
            )
        )
    return Finding(
        title="No NRC3 without weight decay",
        source="section 4.4, figures 4 and 9",
        claim="features and weights align with weight decay alone: without it, or with too little,"
        " networks may fit, and even meet NRC1, and their weights do not follow the features",
        statistic="whether networks with λ = 0 that fit meet NRC3 from a step before the last to"
        " the output; beside it the mean alignment of all steps but the last, and the λ > 0 at"
        " which most networks meet it",
        rule="a network with λ = 0 agrees if it surely does not meet NRC3 so, and disagrees if it"
        " surely does; a data set agrees if all do and some λ > 0 has NRC3 in at least half of its"
        " networks, is undecided if none has (there is nothing to tell weight decay by), and"
        " disagrees if fewer than half of the networks with λ = 0 could agree",
        head=(
            "λ = 0: NRC3",
            "alignment",
            "NRC1",
            "λ > 0",
            "NRC3",
            "alignment",
        ),
        rows=rows,
        sensitivity=over_readings(results, lacks_nrc3, "alignment_min"),
    )


def _without(own: Iterable[Result]) -> list[Result]:
    return [one for one in own if one.weight_decay == 0 and one.fits]


def _nrc3(one: Result, reading: Reading) -> Answer:
    return begins(one.last, "nrc3", reading).before(len(one.last.steps))


def _nrc1(one: Result) -> Answer:
    return begins(one.last, "nrc1").before(len(one.last.steps))


def lacks_nrc3(own: Sequence[Result], reading: Reading) -> Agreement:
    """Say whether the networks of a data set meet NRC3 with weight decay alone."""
    opposite = {Answer.MET: Agreement.DISAGREES, Answer.NOT_MET: Agreement.AGREES}
    answer = of_networks(
        opposite.get(_nrc3(one, reading), Agreement.UNDECIDED) for one in _without(own)
    )
    induced = any(
        2 * sum(_nrc3(one, reading) is Answer.MET for one in many) >= len(many)
        for many in by_decay(decayed(own)).values()
    )
    if answer is Agreement.AGREES and not induced:
        return Agreement.UNDECIDED
    return answer


def _share(answers: Iterable[Answer]) -> str:
    """Return how many are met, and how many are undecided."""
    every = list(answers)
    unsure = sum(one.met is None for one in every)
    told_unsure = f", {unsure} undecided" if unsure else ""
    return f"{every.count(Answer.MET)} of {len(every)}{told_unsure}" if every else "—"


def _mean_alignments(own: Iterable[Result]) -> list[tuple[int, Estimate]]:
    """Return, of every network, the mean alignment of its steps but the last."""
    found = []
    for one in own:
        values = [step.get("alignment") for step in one.last.steps[:-1]]
        known = [value.value for value in values if value is not None]
        found += [(one.seed, Estimate(mean(known)))] if known else []
    return found


# --- too much weight decay --------------------------------------------------------------------


def too_much_decay(results: Results) -> Finding:
    """Return whether too much weight decay collapses a network and costs accuracy."""
    rows = []
    for group, own in results.groups.items():
        best, most, dead = _best_and_most(own)
        shown = [one for one in own if one.weight_decay == most]
        rows.append(
            Row(
                group,
                (
                    "—" if best is None else f"{best:g}",
                    "—" if most is None else f"{most:g}",
                    told(_log_ratio(own, best, most, _training)),
                    told(_log_ratio(own, best, most, _held_out)),
                    _share(_nrc1(one) for one in shown),
                    _share(_nrc3(one, USUAL) for one in shown),
                    ", ".join(f"{decay:g}" for decay in dead) or "—",
                ),
                _costs(own),
            )
        )
    return Finding(
        title="Too much weight decay collapses and predicts badly",
        source="section 4.4, figure 4",
        claim="a large weight decay still makes for collapsed layers, by noise and by alignment,"
        " and both training and test loss are higher; beyond some size all weights are 0",
        statistic="the natural logarithm of the MSE at the greatest λ at which every network still"
        f" predicts something (R² ≥ {LEARNED_R2:g}), over that at the λ of the lowest held-out MSE;"
        " and how many networks meet NRC1 and NRC3 there from below the last layer",
        rule=f"a data set agrees if both logarithms are above 0 by {CLEAR:g} standard errors over"
        " seeds and all networks at the greater λ surely meet NRC1 and NRC3 so; it disagrees if"
        " one of the logarithms is below 0 by as much, or fewer than half of the networks could"
        " meet both; it is not tested if no greater λ leaves a network that predicts something",
        head=(
            "best λ",
            "greatest λ",
            "ln training MSE ratio",
            "ln held-out MSE ratio",
            "NRC1",
            "NRC3",
            "predicts nothing at",
        ),
        rows=rows,
        remarks=(
            "Where a network predicts nothing its features do not vary: nothing is measured"
            " there, and nothing counted.",
        ),
    )


def _training(one: Result) -> Measurement:
    return one.last


def _held_out(one: Result) -> Measurement:
    return one.held_out


def _best_and_most(
    own: Sequence[Result],
) -> tuple[float | None, float | None, list[float]]:
    """Return the best λ, the greatest above it that leaves networks predicting, and the others."""
    errors: dict[float, float] = {}
    dead: list[float] = []
    for decay, many in by_decay(own).items():
        if all(one.last.r2 is not None and one.last.r2 >= LEARNED_R2 for one in many):
            known = [one.held_out.mse.value for one in many if one.held_out.mse is not None]
            errors[decay] = mean(known)
        else:
            dead.append(decay)
    if not errors:
        return None, None, dead
    best = min(errors, key=lambda decay: errors[decay])
    most = max(errors)
    return best, most if most > best else None, dead


def _log_ratio(
    own: Sequence[Result], best: float | None, most: float | None, side: object
) -> Estimate | None:
    """Return ln of the ratio of mean errors at two weight decays; seeds are independent."""
    assert callable(side)
    logs = {}
    for decay in (best, most):
        found = [
            (one.seed, Estimate(math.log(mse.value)))
            for one in own
            if one.weight_decay == decay and (mse := side(one).mse) is not None and mse.value > 0
        ]
        logs[decay] = over_seeds(found)
    low, high = logs.get(best), logs.get(most)
    if best is None or most is None or low is None or high is None:
        return None
    known = low.error is not None and high.error is not None
    error = math.hypot(low.error or 0.0, high.error or 0.0) if known else None
    return Estimate(high.value - low.value, error, min(low.networks, high.networks))


def _costs(own: Sequence[Result]) -> Agreement:
    best, most, _ = _best_and_most(own)
    ratios = [_log_ratio(own, best, most, side) for side in (_training, _held_out)]
    if most is None or any(one is None for one in ratios):
        return Agreement.NOT_TESTED
    known = [one for one in ratios if one is not None]
    if any(one.error is not None and one.value < -CLEAR * one.error for one in known):
        return Agreement.DISAGREES
    collapsed = of_networks(
        OF_ANSWER[together([_nrc1(one), _nrc3(one, USUAL)])]
        for one in own
        if one.weight_decay == most
    )
    worse = all(one.error is not None and one.value > CLEAR * one.error for one in known)
    return Agreement.UNDECIDED if collapsed is Agreement.AGREES and not worse else collapsed
