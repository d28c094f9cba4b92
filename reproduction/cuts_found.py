"""What cutting gives: the smallest prefix with a linear head that does as well as its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reproduction.estimates import Estimate, from_pair, over_seeds
from reproduction.results import Result, Results, by_decay

AGREES_TO = 1e-9
"""How far a predicted error may be from the direct one, as a share of it, in float64."""


@dataclass(frozen=True)
class CutsOf:
    """What cutting gives for the networks of a weight decay.

    Attributes:
        group: the data set.
        decay: λ.
        networks: how many there are.
        own: the network's held-out MSE.
        cut: for how many networks there is a cut that surely does as well, within the tolerance.
        place: the step in depth before which the smallest of them ends, the mean over networks.
        kept: the share of the weights that it keeps, likewise; None where it is not known.
        change: its held-out MSE less the network's, as a share of that.
        best: the least held-out MSE of any cut, less the network's, as a share of that.
        refitted: likewise of the last cut, which fits the last layer alone anew.
    """

    group: str
    decay: float
    networks: int
    own: Estimate | None
    cut: int
    place: Estimate | None
    kept: Estimate | None
    change: Estimate | None
    best: Estimate | None
    refitted: Estimate | None


def cuts_of(results: Results) -> list[CutsOf]:
    """Return what cutting gives, for every data set and weight decay."""
    return [
        _of(group, decay, many)
        for group, own in results.groups.items()
        for decay, many in by_decay(own).items()
    ]


def farthest(results: Results) -> tuple[float, str]:
    """Return the largest relative difference of a predicted and a direct error, and its run."""
    return max((float(one.document["agreement"]), one.name) for one in results)


def _of(group: str, decay: float, many: Sequence[Result]) -> CutsOf:
    own, place, kept, change, best, refitted = [], [], [], [], [], []
    for one in many:
        cuts = one.document["cuts"]
        own.append((one.seed, from_pair(cuts["own_held_out"])))
        known = [from_pair(c["change"]) for c in cuts["cuts"] if c["change"] is not None]
        if known:
            best.append((one.seed, min(known, key=lambda change: change.value)))
            refitted.append((one.seed, known[-1]))
        smallest = next((c for c in cuts["cuts"] if c["layer"] == cuts["smallest"]), None)
        if smallest is None:
            continue
        place.append((one.seed, Estimate(float(smallest["position"]))))
        change.append((one.seed, from_pair(smallest["change"])))
        if smallest["weights"] is not None and cuts["weights"]:
            kept.append((one.seed, Estimate(smallest["weights"] / cuts["weights"])))
    return CutsOf(
        group,
        decay,
        len(many),
        over_seeds(own),
        len(place),
        over_seeds(place),
        over_seeds(kept),
        over_seeds(change),
        over_seeds(best),
        over_seeds(refitted),
    )
