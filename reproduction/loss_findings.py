"""The finding on when collapse begins: appendix B.1 of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nrcscan.verdict.answers import Answer
from reproduction.agreement import Agreement, Finding, Row, Sensitivity, of_networks
from reproduction.collapse_findings import decayed
from reproduction.estimates import Estimate, over_seeds, told
from reproduction.onsets import begins
from reproduction.results import Measurement, Result, Results

SETTLED = 0.95
"""The share of the way from its first value to its last after which an error has settled."""

SHARES = (0.9, 0.95, 0.99)


def after_the_loss(results: Results) -> Finding:
    """Return whether collapse appears after the errors have settled."""
    rows = []
    for group, own in results.groups.items():
        ended = list(ended_collapsed(own))
        settled = [
            _mean([(one, settles(one, SETTLED, side)) for one, *_ in ended]) for side in (1, 2)
        ]
        before = _mean([(one, early) for one, early, _ in ended])
        at = _mean([(one, late) for one, _, late in ended])
        gap = _mean([(one, ratio) for one, *_ in ended if (ratio := _gap(one))])
        cells = (str(len(ended)), *map(told, (*settled, before, at, gap)))
        rows.append(Row(group, cells, _after(own, SETTLED)))
    share = Sensitivity(
        "share of the way that is settled",
        {value: [_after(own, value) for own in results.groups.values()] for value in SHARES},
        SETTLED,
    )
    return Finding(
        title="Collapse appears after the loss has settled",
        source="appendix B.1, figure 5",
        claim="models that collapse do so after both the training and the test loss have become"
        " stable, and their test loss is close to the training loss",
        statistic="the epoch of the first checkpoint from which on every one surely collapses"
        " below its last layer, and the epochs from which on both errors stay within"
        f" {1 - SETTLED:.0%} of the way from their first value to their last",
        rule="a network that ends collapsed agrees if its last checkpoint before collapse comes"
        " no sooner than both errors have settled; it disagrees if its first collapsed one comes"
        " before one of them has; between the two it is undecided, as collapse may have come at"
        " either time. Data sets as above. The ratio of the errors is shown and not judged: the"
        " paper says of no number that it is small",
        head=(
            "networks",
            "training error settles",
            "held-out error settles",
            "not collapsed yet",
            "collapsed",
            "held-out / training MSE",
        ),
        rows=rows,
        sensitivity=[share],
    )


def _mean(found: Sequence[tuple[Result, float]]) -> Estimate | None:
    return over_seeds([(one.seed, Estimate(float(value))) for one, value in found])


def ended_collapsed(own: Iterable[Result]) -> Iterator[tuple[Result, int, int]]:
    """Yield networks that end collapsed, with the epochs between which that came.

    The first is of the last checkpoint that is not surely collapsed, 0 where there is none.
    """
    for one in decayed(own):
        early, late = 0, 0
        for checkpoint in one.document["checkpoints"]:
            measured = Measurement(checkpoint["train"])
            if begins(measured, None).before(len(measured.steps)) is not Answer.MET:
                early, late = checkpoint["epoch"], 0
            elif not late:
                late = checkpoint["epoch"]
        if late:
            yield one, early, late


def settles(one: Result, share: float, side: int) -> int:
    """Return the epoch from which on an error stays close to its last value.

    Args:
        one: the network.
        share: of the way from the first value to the last.
        side: 1 for the training samples, 2 for the held-out ones.
    """
    curve = one.document["curve"]
    first, last = curve[0][side], curve[-1][side]
    near = (1 - share) * abs(first - last)
    found = curve[-1][0]
    for point in reversed(curve):
        if abs(point[side] - last) > near:
            break
        found = point[0]
    return int(found)


def _after(own: Sequence[Result], share: float) -> Agreement:
    found = []
    for one, early, late in ended_collapsed(own):
        stable = max(settles(one, share, side) for side in (1, 2))
        if early >= stable:
            found.append(Agreement.AGREES)
        else:
            found.append(Agreement.DISAGREES if late < stable else Agreement.UNDECIDED)
    return of_networks(found)


def _gap(one: Result) -> float | None:
    train, test = one.last.mse, one.held_out.mse
    return None if train is None or test is None or not train.value else test.value / train.value
