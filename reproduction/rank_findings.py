"""Findings on targets of few directions: section 4.3 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nrcscan.verdict.answers import Answer, sure_side, together
from reproduction.agreement import OF_ANSWER, Agreement, Finding, Row, Sensitivity, of_networks
from reproduction.collapse_findings import begun, decayed
from reproduction.estimates import Estimate, over_seeds, told
from reproduction.onsets import DEFAULTS, USUAL, at_rank, begins, begins_at_rank, steps_from, within
from reproduction.results import Result, Results, Step

MATCHES = 1.25
"""How many times the targets' stable rank the features' may be, or the targets' the features'."""

ORTHOGONAL = 0.5
"""The sine up to which a subspace is called orthogonal to the noise: 30 degrees off the signal."""

NOISES = (0.01, 0.05, 0.1, 0.2, 0.3)
FACTORS = (1.1, 1.25, 1.5, 2.0)
SINES = (0.2, 0.3, 0.5, 0.7)

WHERE = (
    "from where NRC1 is met at the targets' rank r to the output, in networks with weight decay"
    " that fit and meet it so from below the last layer"
)
RULE = (
    "at every such layer surely, and disagrees if it surely is not at one of them; a data set"
    " agrees if all its networks do, and disagrees if fewer than half could"
)

Judge = Callable[[Result, Step], Answer]
Value = Callable[[Result, Step], Estimate | None]


FEW = ("low-rank", "gemm")
"""Data sets whose targets are meant to have few directions: those of section 4.3."""

FULL = "full, as nrcscan finds it"


def low_rank(one: Result) -> bool:
    """Say whether the targets have fewer directions than there are targets."""
    return one.at_rank is not None


def _of_few(results: Results) -> dict[str, list[Result]]:
    """Return the data sets that have few directions, or are meant to."""
    return {
        group: own
        for group, own in results.groups.items()
        if low_rank(own[0]) or own[0].run["data"] in FEW
    }


def _rank(one: Result) -> str:
    """Return the targets' rank beside their number."""
    rank = one.last["signal_dim"] if one.at_rank is None else one.at_rank["signal_dim"]
    return f"{rank} of {one.last['n_targets']}"


def _at_rank(one: Result) -> list[Step]:
    return steps_from(one.last, begins_at_rank(one))


def _at_k(one: Result) -> list[Step]:
    return steps_from(one.last, begins(one.last, "nrc1"))


def _by_all_four(one: Result) -> list[Step]:
    return steps_from(one.last, begins(one.last, None))


def _the_last(one: Result) -> list[Step]:
    steps = _at_rank(one)
    return steps[-1:] if len(steps) > 1 else []


AT_RANK, LAST = "NRC1 at r", "NRC1 at r, of them the last"

COLLAPSED: dict[str, Callable[[Result], list[Step]]] = {
    AT_RANK: _at_rank,
    "NRC1 at k": _at_k,
    "all four conditions at k": _by_all_four,
    LAST: _the_last,
}
"""What may be called collapsed layers; section 4.3 looks at noise with r for k."""


def _collapsed(own: Sequence[Result], called: str) -> Iterator[tuple[Result, list[Step]]]:
    """Yield networks with their collapsed layers, where those begin below the last one."""
    for one in decayed(own):
        steps = COLLAPSED[called](one)
        if len(steps) > 1 or (steps and called == LAST):
            yield one, steps


def _judged(own: Sequence[Result], judge: Judge, called: str = AT_RANK) -> Agreement:
    return of_networks(
        OF_ANSWER[together(judge(one, step) for step in steps)]
        for one, steps in _collapsed(own, called)
    )


def _worst(own: Sequence[Result], of: Value) -> list[tuple[int, Estimate]]:
    """Return, of every network, the greatest value among its collapsed layers."""
    found = []
    for one, steps in _collapsed(own, AT_RANK):
        values = [value for step in steps if (value := of(one, step)) is not None]
        found += [(one.seed, max(values, key=lambda value: value.value))] if values else []
    return found


def _row(
    group: str,
    own: Sequence[Result],
    quantities: Sequence[Value],
    judge: Judge,
    claimed: bool = True,
) -> Row:
    return Row(
        group,
        (
            _rank(own[0]),
            str(len(list(_collapsed(own, AT_RANK)))),
            *(told(over_seeds(_worst(own, of))) for of in quantities),
        ),
        _judged(own, judge),
        claimed,
    )


def _sensitivity(
    tested: Sequence[Sequence[Result]],
    threshold: str,
    judge_at: Callable[[float], Judge],
    values: Sequence[float],
    default: float,
) -> list[Sensitivity]:
    """Return how the answers change with a limit, and with what is called a collapsed layer."""
    return [
        Sensitivity(
            threshold,
            {value: [_judged(own, judge_at(value)) for own in tested] for value in values},
            default,
        ),
        Sensitivity(
            "collapsed by",
            {name: [_judged(own, judge_at(default), name) for own in tested] for name in COLLAPSED},
            AT_RANK,
        ),
    ]


def intrinsic_rank(results: Results) -> Finding:
    """Return whether collapsed networks have layers of as few directions as the targets."""

    def judge(own: Sequence[Result], noise_max: float) -> Agreement:
        return of_networks(
            OF_ANSWER[begins_at_rank(one, noise_max).before(len(one.last.steps))]
            for one, _ in begun(own, USUAL)
            if low_rank(one)
        )

    ranked = _of_few(results)
    rows = []
    for group, own in ranked.items():
        networks = [(one, first) for one, first in begun(own, USUAL) if low_rank(one)]
        later = [
            (one.seed, Estimate(float(later_at - first.surely)))
            for one, first in networks
            if first.surely is not None and (later_at := begins_at_rank(one).surely) is not None
        ]
        noise = [
            (one.seed, value)
            for one, _ in networks
            if (value := at_rank(one, one.last.steps[-1], "noise_component")) is not None
        ]
        cells = (
            _rank(own[0]) if low_rank(own[0]) else FULL,
            str(len(networks)),
            f"{told(over_seeds(later))} (in {len(later)})",
            told(over_seeds(noise)),
        )
        rows.append(Row(group, cells, judge(own, DEFAULTS.noise_max)))
    return Finding(
        title="Collapsed layers learn the targets' intrinsic rank",
        source="section 4.3, figure 3",
        claim="where t targets have only r < t directions, the features of collapsed layers come to"
        " lie in r directions, not in t alone",
        statistic="the share of the features' variance outside their top r directions, r the"
        " targets' rank, in networks with weight decay that fit and meet NRC1"
        " (at k = t) from below the last layer: how many steps later than at k it is small at r,"
        " and its value at the last layer",
        rule=f"a network agrees if it is surely ≤ {DEFAULTS.noise_max:g} from a step before the"
        " last to the output, and disagrees if it surely is not; a data set agrees if all its"
        " networks do, and disagrees if fewer than half could. That it begins later at r than at"
        " k is no disagreement: so it does in the paper's figures 3 and 7",
        head=("rank r of t", "networks", "steps later at r", "noise at r, last layer"),
        rows=rows,
        remarks=(
            "By their correlations, which noise keeps below 1, nrcscan finds the four timings of"
            " gemm to be of rank 4. They are measured at r = 1, as the paper does with SGEMM,"
            " since the first results: at r = 4 there was nothing to test.",
        ),
        sensitivity=[
            Sensitivity(
                "noise at r at most",
                {value: [judge(own, value) for own in ranked.values()] for value in NOISES},
                DEFAULTS.noise_max,
            )
        ],
    )


def stable_ranks(results: Results) -> Finding:
    """Return whether the stable ranks of features and targets match."""

    def ratio(one: Result, step: Step) -> Estimate | None:
        found, of_targets = step.get("feature_stable_rank"), one.last["target_stable_rank"]
        if found is None or not of_targets:
            return None
        error = None if found.error is None else found.error / of_targets
        return Estimate(found.value / of_targets, error)

    def inverse(one: Result, step: Step) -> Estimate | None:
        found = ratio(one, step)
        return None if found is None else Estimate(1 / found.value)

    def judge(factor: float) -> Judge:
        def answer(one: Result, step: Step) -> Answer:
            found = ratio(one, step)
            if found is None:
                return Answer.NOT_JUDGED
            margin = min(factor - found.value, found.value - 1 / factor)
            return sure_side(margin, found.error or 0.0)

        return answer

    rows = []
    for group, own in results.groups.items():
        row = _row(group, own, [ratio, inverse], judge(MATCHES), claimed=_shown(own[0]))
        rows.append(row)
    tested = [own for own in results.groups.values() if _shown(own[0])]
    return Finding(
        title="Stable ranks of features and targets match",
        source="section 4.3, figure 3; figure 8 for targets of full rank",
        claim="in collapsed layers the stable rank of the features is that of the targets",
        statistic=f"SR(H) / SR(Y) {WHERE}; the largest, and the largest of its inverse",
        rule=f"a network agrees if both are ≤ {MATCHES:g} {RULE}. The paper shows it on targets of"
        " low rank and on synthetic ones; other data sets are beyond what it says, and count for"
        " nothing",
        head=("rank r of t", "networks", "largest SR(H) / SR(Y)", "largest SR(Y) / SR(H)"),
        rows=rows,
        sensitivity=_sensitivity(tested, "factor at most", judge, FACTORS, MATCHES),
    )


def _shown(one: Result) -> bool:
    """Say whether the paper shows stable ranks on such data."""
    return low_rank(one) or one.run["data"] in (*FEW, "synthetic")


def orthogonal_to_noise(results: Results) -> Finding:
    """Return whether the weight's top directions are orthogonal to the features' noise."""

    def sine(one: Result, step: Step) -> Estimate | None:
        return at_rank(one, step, "noise_alignment")

    def cosine_lost(one: Result, step: Step) -> Estimate | None:
        found = at_rank(one, step, "alignment")
        return None if found is None else Estimate(1 - found.value, found.error)

    def judge(limit: float) -> Judge:
        return lambda one, step: within(sine(one, step), limit, "noise_alignment")

    ranked = {
        group: [one for one in own if low_rank(one)] for group, own in _of_few(results).items()
    }
    rows = [
        _row(group, own, [sine, cosine_lost], judge(ORTHOGONAL))
        if own
        else Row(group, (FULL, "0", "—", "—"), Agreement.NOT_TESTED)
        for group, own in ranked.items()
    ]
    return Finding(
        title="The weight's top subspace is orthogonal to the noise",
        source="section 4.3, figure 3",
        claim="in collapsed layers the weight's top r input directions agree with the features'"
        " top r and are orthogonal to all the others: no noise is passed on",
        statistic="the mean sine between the weight's top r directions and the features' top r,"
        f" that is their alignment with the noise, {WHERE}; the largest, and the largest 1 −"
        " alignment at r",
        rule=f"a network agrees if the sine is ≤ {ORTHOGONAL:g} {RULE}. The paper gives no number;"
        " the collapsed layers of its figure 3 read up to about 0.4",
        head=("rank r of t", "networks", "largest sine", "largest 1 − alignment"),
        rows=rows,
        sensitivity=_sensitivity([*ranked.values()], "sine at most", judge, SINES, ORTHOGONAL),
    )
