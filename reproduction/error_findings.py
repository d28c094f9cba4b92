"""Findings on collapse and test error: arXiv 2510.01105."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scipy.stats import spearmanr

from nrcscan.verdict.answers import Answer
from reproduction.agreement import Agreement, Finding, Row, of_networks
from reproduction.collapse_findings import collapse_of
from reproduction.decay_findings import CLEAR
from reproduction.estimates import Estimate, over_seeds, told
from reproduction.onsets import USUAL
from reproduction.results import Result, Results

MANY = 8
"""Networks of fewer tell nothing of a correlation."""


def collapse_and_test_error(results: Results) -> Finding:
    """Return whether networks that collapsed more predict held-out samples worse."""
    rows = []
    for group, own in results.groups.items():
        pairs = _noise_and_error(own)
        rank = _correlation(pairs)
        rows.append(Row(group, (str(len(pairs)), told(rank)), _negative(rank)))
    return Finding(
        title="Collapse and test error",
        source="arXiv 2510.01105, section 1 and figure 1",
        claim="the more the last layer's features have collapsed, the higher the test error, over"
        " weight decays and data sets",
        statistic="Spearman's rank correlation, over all networks of a data set, of the last"
        " layer's noise component with the held-out MSE; its standard error is that of Fisher's"
        " z, 1.03/√(n − 3), on the scale of z",
        rule=f"a data set agrees if z is below 0 by {CLEAR:g} standard errors (less noise, more"
        " error), disagrees if it is above 0 by as much, and is undecided between; it is not"
        f" tested with fewer than {MANY} networks. Networks whose features do not vary have no"
        " noise component, and are left out",
        head=("networks", "z of the rank correlation"),
        rows=rows,
        remarks=(
            "A rank correlation over a sweep of one hyper-parameter is no cause: what weight"
            " decay does to both is not told apart here.",
        ),
    )


def _noise_and_error(own: Iterable[Result]) -> list[tuple[float, float]]:
    found = []
    for one in own:
        steps, mse = one.last.steps, one.held_out.mse
        noise = steps[-1].get("noise_component") if steps else None
        if noise is not None and mse is not None:
            found.append((noise.value, mse.value))
    return found


def _correlation(pairs: Sequence[tuple[float, float]]) -> Estimate | None:
    """Return Fisher's z of the rank correlation; None where there is too little to tell."""
    noise, errors = {x for x, _ in pairs}, {y for _, y in pairs}
    if len(pairs) < MANY or min(len(noise), len(errors)) < 2:
        return None
    rank = float(spearmanr([x for x, _ in pairs], [y for _, y in pairs]).statistic)
    z = math.atanh(max(-0.999, min(0.999, rank)))
    return Estimate(z, 1.03 / math.sqrt(len(pairs) - 3), len(pairs))


def _negative(rank: Estimate | None) -> Agreement:
    if rank is None or rank.error is None:
        return Agreement.NOT_TESTED
    if rank.value < -CLEAR * rank.error:
        return Agreement.AGREES
    return Agreement.DISAGREES if rank.value > CLEAR * rank.error else Agreement.UNDECIDED


def fewer_dimensions(results: Results) -> Finding:
    """Return whether collapsed features have fewer intrinsic dimensions than the targets."""
    rows = []
    for group, own in results.groups.items():
        collapsed, others = _by_collapse(own)
        known = own[0].last.document.get("target_intrinsic_dimension")
        rows.append(
            Row(
                group,
                (
                    "—" if known is None else f"{known:.3g}",
                    f"{told(over_seeds(_dimensions(collapsed)))} ({len(collapsed)})",
                    f"{told(over_seeds(_dimensions(others)))} ({len(others)})",
                ),
                of_networks(_fewer(one) for one in collapsed),
            )
        )
    return Finding(
        title="Collapsed features have fewer dimensions than the targets",
        source="arXiv 2510.01105, abstract",
        claim="in collapsed networks the last layer's features have a lower intrinsic dimension"
        " than the targets, in others typically a higher one",
        statistic="the intrinsic dimension of what reaches the last layer and of the targets,"
        " both by TwoNN; collapsed are networks that fit and surely collapse below the last layer",
        rule="a collapsed network agrees if the features' dimension is below the targets', and"
        " disagrees if not; data sets as above. TwoNN has no error bar here, and of other"
        " networks the paper says what is typical alone: they are shown, and not judged",
        head=("targets", "features, collapsed (networks)", "features, others (networks)"),
        rows=rows,
    )


def _by_collapse(own: Iterable[Result]) -> tuple[list[Result], list[Result]]:
    """Return the networks that fit and surely collapse, and those that fit and surely do not."""
    fitting = [one for one in own if one.fits]
    of = {one.name: collapse_of(one, USUAL) for one in fitting}
    return (
        [one for one in fitting if of[one.name] is Answer.MET],
        [one for one in fitting if of[one.name] is Answer.NOT_MET],
    )


def _dimensions(own: Iterable[Result]) -> list[tuple[int, Estimate]]:
    found = ((one.seed, one.last.steps[-1].get("intrinsic_dimension")) for one in own)
    return [(seed, one) for seed, one in found if one is not None]


def _fewer(one: Result) -> Agreement:
    features = one.last.steps[-1].get("intrinsic_dimension")
    targets = one.last.document.get("target_intrinsic_dimension")
    if features is None or targets is None:
        return Agreement.UNDECIDED
    return Agreement.AGREES if features.value < targets else Agreement.DISAGREES
