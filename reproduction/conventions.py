"""The authors' conventions against nrcscan's, on the same networks and samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from nrcscan.metrics.quantities import CATALOGUE, ENTRIES
from reproduction.results import Results

SAME = 1e-3
"""Relative differences up to this are rounding: results have four digits."""

WHY = {
    "cka": "theirs is of the first t feature columns as they come, ours of the projection on the"
    " top k directions; it is 0 where those columns are dead",
    "alignment": "theirs takes the k-th direction of feature and weight whether it carries anything"
    " or not, ours those that do",
    "noise_alignment": "as for `alignment`",
    "alignment_r": "as for `alignment`",
    "noise_alignment_r": "as for `alignment`",
    "linear_mse": "theirs is a linear fit of uncentred features, without intercept; ours affine",
    "excess": "as for `linear_mse`",
    "linear_mse_held_out": "as for `error_ratio`",
    "error_ratio": "theirs is a linear fit of uncentred features, without intercept, its own error"
    " scaled up; ours an affine one, each block of samples predicted by the fit on the others",
}
"""Quantity → why the conventions differ in it."""


@dataclass(frozen=True)
class Difference:
    """How far two conventions are apart in a quantity.

    Attributes:
        quantity: its name.
        layers: in how many layers both have a value.
        differ: in how many of them it is another.
        only_theirs: in how many layers theirs alone has one.
        only_ours: in how many ours alone.
        middle: the median of the differences of those that differ; 0 where none does. They are
            absolute; of errors and their ratios they are shares of the larger value.
        most: the greatest.
        ours: its value there.
        theirs: theirs.
        where: the run and the layer that it is at.
    """

    quantity: str
    layers: int
    differ: int
    only_theirs: int
    only_ours: int
    middle: float = 0.0
    most: float = 0.0
    ours: float = 0.0
    theirs: float = 0.0
    where: str = ""


def differences(results: Results) -> list[Difference]:
    """Return how far the conventions are apart, for every quantity that is kept in both."""
    kept = {
        name
        for one in results
        for layer in one.document["published"]["layers"]
        for name in layer["values"]
    }
    return [_difference(one.name, results) for one in CATALOGUE if one.name in kept]


def _difference(quantity: str, results: Results) -> Difference:
    pairs = list(_pairs(quantity, results))
    both = [(a, b, where) for a, b, where in pairs if a is not None and b is not None]
    shares = ENTRIES[quantity].unit in ("ratio", "Y²")
    apart = []
    for a, b, where in both:
        larger = max(abs(a), abs(b))
        if abs(a - b) > SAME * larger:
            apart.append((abs(a - b) / (larger if shares else 1.0), a, b, where))
    only_theirs = sum(a is None and b is not None for a, b, _ in pairs)
    only_ours = sum(a is not None and b is None for a, b, _ in pairs)
    counts = (quantity, len(both), len(apart), only_theirs, only_ours)
    if not apart:
        return Difference(*counts)
    most, ours, theirs, where = max(apart)
    return Difference(*counts, median(one[0] for one in apart), most, ours, theirs, where)


def _pairs(quantity: str, results: Results) -> Iterator[tuple[float | None, float | None, str]]:
    """Yield the values of a quantity in both conventions, and where."""
    for one in results:
        theirs = {layer["name"]: layer for layer in one.document["published"]["layers"]}
        for layer in one.last["layers"]:
            values = (
                of["values"].get(quantity)
                for of in (layer, theirs.get(layer["name"], {"values": {}}))
            )
            ours, published = (None if pair is None else float(pair[0]) for pair in values)
            yield ours, published, f"{one.name}, {layer['name']}"


def other_verdicts(results: Results) -> list[str]:
    """Return the runs on which the verdict is another, or begins elsewhere."""
    found = []
    for one in results:
        ours, theirs = (side["verdict"] for side in (one.last, one.document["published"]))
        if (ours["state"], ours["onset"]) != (theirs["state"], theirs["onset"]):
            found.append(one.name)
    return found
