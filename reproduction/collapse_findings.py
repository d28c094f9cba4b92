"""Findings on where collapse begins: section 4.2 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from nrcscan.verdict.answers import Answer
from reproduction.agreement import (
    OF_ANSWER,
    Agreement,
    Finding,
    Row,
    Sensitivity,
    of_networks,
)
from reproduction.estimates import Estimate, over_seeds, told
from reproduction.onsets import DEFAULTS, USUAL, Begins, Reading, begins
from reproduction.results import Measurement, Result, Results, by_decay

RANGES = {
    "noise_max": (0.05, 0.1, 0.2, 0.3),
    "cka_min": (0.5, 0.65, 0.8, 0.9),
    "alignment_min": (0.6, 0.7, 0.8, 0.9),
    "error_ratio_max": (1.25, 1.5, 2.0, 4.0),
}
"""Threshold of nrcscan → the values at which findings are judged beside the default."""

OTHERS = ("nrc2", "nrc3", "nrc4")

TOGETHER = 1
"""Steps in depth by which conditions that begin together may differ."""

TOLERANCES = (0, 1, 2)


def decayed(results: Iterable[Result]) -> list[Result]:
    """Return the networks with weight decay that fit."""
    return [one for one in results if one.weight_decay > 0 and one.fits]


def over_readings(
    results: Results, judge: Callable[[list[Result], Reading], Agreement], *options: str
) -> list[Sensitivity]:
    """Return how the answers on data sets change with thresholds, and with what is left open."""

    def judged(reading: Reading) -> list[Agreement]:
        return [judge(own, reading) for own in results.groups.values()]

    of_thresholds = [
        Sensitivity(
            f"`{option}`",
            {
                value: judged(Reading(replace(DEFAULTS, **{option: value})))
                for value in RANGES[option]
            },
            float(getattr(DEFAULTS, option)),
        )
        for option in options or RANGES
    ]
    usual, by_bar = "nrcscan leaves them open", "by value and error bar"
    left = {usual: judged(USUAL), by_bar: judged(Reading(open=False))}
    named = "chance, and directions that may trade places"
    return [*of_thresholds, Sensitivity(named, left, usual)]


def over_ranks(
    results: Results, judge: Callable[[list[Result], Reading], Agreement]
) -> Sensitivity:
    """Return how the answers change where targets of few directions are read at their rank."""
    readings = {"t": USUAL, "r": Reading(at_rank=True)}
    answers = {
        name: [judge(own, reading) for own in results.groups.values()]
        for name, reading in readings.items()
    }
    return Sensitivity("k, where targets have r < t directions", answers, "t")


# --- collapse below the last layer ------------------------------------------------------------


def below_the_last_layer(results: Results) -> Finding:
    """Return whether networks collapse below their last layer."""
    rows = []
    for group, own in results.groups.items():
        decay = most_collapsed(own)
        chosen = [one for one in decayed(own) if one.weight_decay == decay]
        places = [(one.seed, begins(one.last, None).surely) for one in chosen]
        found = over_seeds([(seed, Estimate(float(at))) for seed, at in places if at is not None])
        depth = f" of {len(chosen[0].last.steps)}" if chosen else ""
        rows.append(
            Row(
                group,
                (
                    _by_decay(own),
                    "—" if decay is None else f"{decay:g}",
                    told(found) + depth * (found is not None),
                ),
                collapses(own, USUAL),
            )
        )
    return Finding(
        title="Collapse below the last layer",
        source="section 4.2, figures 1, 2, 6, 7 and 8",
        claim="trained with a fitting weight decay, MLPs and ResNets meet all four conditions not"
        " at the output layer alone but in layers before it, on every data set",
        statistic="the share of networks with weight decay that meet all four conditions from a"
        " step before the last to the output, and the step at which that begins",
        rule="a data set agrees if there is a λ > 0 at which every seed's network fits (R² ≥ 0.5)"
        " and surely collapses below its last layer, and disagrees if at no λ > 0 half of them"
        " could. The λ is chosen by the outcome: the statement is that there is one",
        head=("collapsed / fitting / trained, by λ", "λ", "begins at step"),
        rows=rows,
        sensitivity=[*over_readings(results, collapses), over_ranks(results, collapses)],
        remarks=[
            f"On {group} one λ > 0 was tried: that networks do not collapse there does not say that"
            " they would at none."
            for group, own in results.groups.items()
            if len({one.weight_decay for one in own if one.weight_decay > 0}) == 1
            and collapses(own, USUAL) is Agreement.DISAGREES
        ],
    )


def collapse_of(one: Result, reading: Reading) -> Answer:
    """Say whether a network collapses below its last layer."""
    measured = reading.of(one)
    return begins(measured, None, reading).before(len(measured.steps))


def collapses(own: Sequence[Result], reading: Reading) -> Agreement:
    """Say whether the networks of a data set collapse, at one weight decay at least."""
    found = []
    for many in by_decay(one for one in own if one.weight_decay > 0).values():
        fitting = [OF_ANSWER[collapse_of(one, reading)] for one in many if one.fits]
        if fitting:
            answer = of_networks(fitting)
            complete = len(fitting) == len(many)
            short = answer is Agreement.AGREES and not complete
            found.append(Agreement.UNDECIDED if short else answer)
    for answer in (Agreement.AGREES, Agreement.UNDECIDED, Agreement.DISAGREES):
        if answer in found:
            return answer
    return Agreement.NOT_TESTED


def most_collapsed(own: Sequence[Result]) -> float | None:
    """Return the weight decay at which most networks collapse; of several the lowest error's."""
    best: tuple[float, float, float] | None = None
    for decay, many in by_decay(decayed(own)).items():
        share = sum(collapse_of(one, USUAL) is Answer.MET for one in many) / len(many)
        errors = [one.held_out.mse.value for one in many if one.held_out.mse is not None]
        key = (share, -sum(errors) / max(len(errors), 1), decay)
        best = key if best is None or key > best else best
    return None if best is None else best[2]


def _by_decay(own: Sequence[Result]) -> str:
    """Return how many networks collapse, fit and were trained, at every weight decay."""
    return ", ".join(
        f"{decay:g}: {sum(collapse_of(one, USUAL) is Answer.MET for one in many if one.fits)}"
        f"/{sum(one.fits for one in many)}/{len(many)}"
        for decay, many in by_decay(own).items()
    )


# --- the four conditions begin together -------------------------------------------------------


def begin_together(results: Results) -> Finding:
    """Return whether the other conditions hold from where NRC1 does."""
    rows = [
        Row(
            group,
            (
                str(len(_both(own, USUAL))),
                *(_difference(own, condition) for condition in OTHERS),
                _within(own, USUAL, two_sided=True).value,
            ),
            _within(own, USUAL),
        )
        for group, own in results.groups.items()
    ]
    groups = results.groups.values()
    tolerance = Sensitivity(
        "steps later at most",
        {steps: [_within(own, USUAL, steps) for own in groups] for steps in TOLERANCES},
        TOGETHER,
    )
    networks = Sensitivity(
        "networks",
        {
            "that collapse": [_within(own, USUAL) for own in groups],
            "that meet NRC1": [_within(own, USUAL, every=True) for own in groups],
        },
        "that collapse",
    )
    return Finding(
        title="The four conditions begin together",
        source="section 4.2",
        claim="NRC1 tells the first collapsed layer; from there to the output the other three"
        " conditions hold too",
        statistic="by how many steps in depth NRC2, NRC3 and NRC4 begin later than NRC1 (earlier:"
        " below 0), in networks with weight decay that fit and surely collapse below the last"
        " layer",
        rule=f"a network agrees if each of the three begins no more than {TOGETHER} step later,"
        " and disagrees if one surely begins later; a data set agrees if all its networks do, and"
        " disagrees if fewer than half could. Whether they begin within that distance on either"
        " side is shown beside it: the paper says that they hold from there on, and its figures"
        " have NRC4 begin earlier. Of networks that meet NRC1 and do not collapse the paper says"
        " itself (section 4.5) that too little weight decay gives NRC1 without NRC3: how the"
        " answers are with them is shown below",
        head=("networks", *(f"{name.upper()} − NRC1" for name in OTHERS), "on either side"),
        rows=rows,
        sensitivity=[
            networks,
            tolerance,
            *over_readings(results, _within),
            over_ranks(results, _within),
        ],
        remarks=(
            "The first rule took all networks that meet NRC1. It was narrowed to those that"
            " collapse after the results of one seed, for the reason that it gives.",
        ),
    )


def begun(own: Iterable[Result], reading: Reading) -> list[tuple[Result, Begins]]:
    """Return the networks that surely meet NRC1 from below the last layer, and where."""
    found = [(one, reading.of(one)) for one in decayed(own)]
    firsts = [(one, of, begins(of, "nrc1", reading)) for one, of in found]
    return [(one, first) for one, of, first in firsts if first.before(len(of.steps)) is Answer.MET]


def _both(
    own: Iterable[Result], reading: Reading, *, every: bool = False
) -> list[tuple[Result, Begins]]:
    """Return of the networks that meet NRC1 those that surely collapse, or all of them."""
    return [
        (one, first)
        for one, first in begun(own, reading)
        if every or collapse_of(one, reading) is Answer.MET
    ]


def _difference(own: Sequence[Result], condition: str) -> str:
    """Return by how many steps a condition begins later than NRC1."""
    found = [(one.seed, first, begins(one.last, condition)) for one, first in _both(own, USUAL)]
    steps = [
        (seed, Estimate(float(other.surely - first.surely)))
        for seed, first, other in found
        if other.surely is not None and first.surely is not None
    ]
    return told(over_seeds(steps))


def _within(
    own: Sequence[Result],
    reading: Reading,
    steps: int = TOGETHER,
    *,
    two_sided: bool = False,
    every: bool = False,
) -> Agreement:
    """Say whether the other conditions begin no more than so many steps later than NRC1."""
    return of_networks(
        _no_later(reading.of(one), first, reading, steps, two_sided)
        for one, first in _both(own, reading, every=every)
    )


def _no_later(
    measured: Measurement, first: Begins, reading: Reading, steps: int, two_sided: bool
) -> Agreement:
    """Say of one network whether the three others begin by then, as surely as is known."""
    never = len(measured.steps) + steps + 1
    assert first.surely is not None
    assert first.possibly is not None
    sure = True
    for condition in OTHERS:
        other = begins(measured, condition, reading)
        latest = (other.surely or never) - first.possibly
        earliest = (other.possibly or never) - first.surely
        if earliest > steps or (two_sided and latest < -steps):
            return Agreement.DISAGREES
        sure = sure and latest <= steps and (not two_sided or earliest >= -steps)
    return Agreement.AGREES if sure else Agreement.UNDECIDED
