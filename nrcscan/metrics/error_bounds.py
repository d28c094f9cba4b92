"""How far each quantity of a layer can be off, where its covariance is known to a resolution only.

What a sketch misses is known by its trace, and the rounding of float32 products is estimated
from their machine epsilon: together they bound the error of Σ_H. Bounds on eigenvalues follow
from Weyl's inequality, those on subspaces from the sin Θ theorem of Davis and Kahan. A quantity
whose bound is too wide to read anything from is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from nrcscan.metrics.directions import Spectrum
from nrcscan.metrics.fit_bounds import (
    cutoff,
    explained_error,
    fits_moved,
    held_out_errors,
    left_out_error,
    scaled_error,
    unseen,
)
from nrcscan.metrics.quantities import ENTRIES, OF_RANK, Need
from nrcscan.statistics.moments import Array
from nrcscan.statistics.sketch import Sketched, nystrom

ROUNDINGS = 4
"""Rounding of any eigenvalue, as a multiple of the products' machine epsilon times the trace.

A value is rounded when it is shifted and each product when it is added, by ε/2 each. An eigenvalue
sees the sum of n·d such errors, of either sign, which is below ε of the trace; 4 is room for
blocks whose shift is not their mean. The same holds of Σ_HY, a column at a time.
"""

ROUNDINGS_OF_SUMS = 64
"""Likewise of the trace: long sums of squares round with a bias, twice √rows of a block."""

WIDEST = 0.05
"""A wider bound, absolute for a share and relative for a number of directions or a ratio, is
refused: it is as wide as what lies between collapsed layers and the thresholds of the paper's
figures."""

WIDEST_MSE = 0.01
"""A wider bound on the linear MSE, as a share of the targets' variance, is refused: a fifth of the
excess up to which NRC4 holds."""


@dataclass(frozen=True)
class Resolution:
    """How well a layer's covariance is known.

    Attributes:
        tau: bound on the error of Σ_H in spectral norm; 0 where it is exact to float64.
        total: bound on the error of its trace, or of a part of it.
        cross: bound on the error of Σ_HY, a column at a time, as a share of √(tr Σ_H · σ_Y²).
        sketched: whether it comes from a sketch.
        fits: how many blocks of samples had a linear fit without them; 0 where errors on held-out
            samples are a multiple of the linear MSE.
    """

    tau: float = 0.0
    total: float = 0.0
    cross: float = 0.0
    sketched: bool = False
    fits: int = 0

    def refusal(self, bound: float) -> str:
        """Say why a quantity is not shown."""
        remedy = (
            "a higher --sketch, or --sketch-passes 2, narrows it"
            if self.sketched
            else "--precision float64 resolves it"
        )
        what = "the sketch" if self.sketched else "float32 products"
        known = f"to {bound:.1g} only" if bound < 1 else "not at all"
        return f"known {known} from {what}; {remedy}"


def resolution(features: Spectrum, epsilon: float, *, sketched: bool) -> Resolution:
    """Return how well features are known from products of this machine epsilon, or a sketch."""
    if not sketched and epsilon <= 2.0**-52:
        return Resolution()
    rounding = epsilon * features.total
    unseen = features.residual + features.moved
    return Resolution(
        unseen + ROUNDINGS * rounding,
        unseen + ROUNDINGS_OF_SUMS * rounding,
        ROUNDINGS * epsilon,
        sketched,
    )


def bounds(
    features: Spectrum,
    cross_covariance: Array,
    target_covariance: Array,
    values: dict[str, float],
    k: int,
    known: Resolution,
    inflation: float = 1.0,
    rank: int | None = None,
) -> dict[str, float]:
    """Return quantity → the most that its value can be off, in its own unit.

    Args:
        features: the spectrum as it is known.
        cross_covariance: Σ_HY, as it is known.
        target_covariance: Σ_Y, exact.
        values: what was computed from them.
        k: signal dimension.
        known: how well the covariance is known.
        inflation: how much wider debiasing makes an error of the CKA.
        rank: r, of the targets; None stands for k.
    """
    tau, largest = known.tau, features.values[0]
    norm = float(np.linalg.norm(features.values))
    of_rank = _of_directions(features, k if rank is None else rank, known)
    found = {
        **_of_directions(features, k, known),
        **{name: of_rank[of_k] for name, of_k in OF_RANK.items()},
        "feature_stable_rank": _ratio_error(
            values.get("feature_stable_rank", 0.0), known.total, norm, largest
        ),
        "feature_rank": 0.0 if _rank_resolved(features, tau) else np.inf,
    }
    if "cka_full" in values:  # there are targets that vary
        top = float(np.linalg.norm(features.values[:k]))
        targets = float(np.linalg.norm(target_covariance))
        cross = float((cross_covariance**2).sum())
        off = known.cross * np.sqrt(features.total * np.diagonal(target_covariance))
        signal = _sine(features, k, tau)
        rounded = 2 * sqrt(cross) * float(np.linalg.norm(off)) + float(off @ off)
        for quantity, own, turn in (("cka_full", norm, 0.0), ("cka", top, signal * cross)):
            scaled = values.get(quantity, 0.0) * known.total / (own + known.total)
            found[quantity] = (turn + rounded) / (own * targets) + scaled
        found["cka_debiased"] = found["cka_full"] * inflation
        mse = explained_error(features, cross_covariance, off, tau) / len(target_covariance)
        variance = float(np.trace(target_covariance)) / len(target_covariance)
        found.update(linear_mse=mse, excess=mse / variance)
        if known.fits:
            moved = fits_moved(features, cross_covariance, off, tau)
            error = left_out_error(mse, values, moved, min(known.fits, features.rank))
        else:
            error = scaled_error(mse, values, features, tau)
        found.update(held_out_errors(error, values))
    for quantity in values:
        if Need.FEATURES in ENTRIES[quantity].needs:
            found.setdefault(quantity, np.inf)  # nothing is known of its error
    return {quantity: float(bound) for quantity, bound in found.items() if quantity in values}


def _of_directions(features: Spectrum, k: int, known: Resolution) -> dict[str, float]:
    """Return the bounds of what rests on the top k directions, or on those that count."""
    resolved = _count_resolved(features, k, known.tau)
    turned = _sine(features, min(k, features.rank), known.tau) if resolved else 1.0
    return {
        "noise_component": known.total / features.total,
        "alignment": min(1.0, sqrt(2) * turned),
        "noise_alignment": turned,
        "weight_signal_energy": turned,
    }


def refused(bounds: dict[str, float], values: dict[str, float], variance: float) -> list[str]:
    """Return the quantities whose bounds are too wide.

    Args:
        bounds: quantity → bound.
        values: quantity → value.
        variance: of the targets, mean over them.
    """

    def widest(quantity: str) -> float:
        match ENTRIES[quantity].unit:
            case "share":
                return WIDEST
            case "directions":
                return WIDEST * values[quantity]
            case "Y²":
                return WIDEST_MSE * variance
            case "var Y":
                return WIDEST_MSE
            case "ratio":
                return WIDEST * values[quantity]

    return [quantity for quantity, bound in bounds.items() if not bound <= widest(quantity)]


def _sine(features: Spectrum, k: int, tau: float) -> float:
    """Return a bound on the sine of the angle by which the top k directions can be off."""
    below = features.values[k] if k < len(features.values) else 0.0
    gap = features.values[k - 1] - below - tau if k <= len(features.values) else 0.0
    return min(1.0, tau / gap) if gap > 0 else 1.0


def _ratio_error(value: float, tau: float, norm: float, largest: float) -> float:
    """Return how far Σλ²/λ₁² can be off when each norm can be off by τ."""
    if tau >= largest:
        return np.inf
    upper = ((norm + tau) / (largest - tau)) ** 2
    lower = ((norm - tau) / (largest + tau)) ** 2
    return float(max(upper - value, value - lower))


def _rank_resolved(features: Spectrum, tau: float) -> bool:
    """Say whether no eigenvalue can be on the other side of the cut-off of directions.

    By Weyl each is off by τ, and the cut-off, with the largest, by a millionth of it; 2τ is room.
    """
    apart = np.abs(features.values - cutoff(features)) > 2 * tau
    return bool(apart.all()) and not unseen(features, tau)


def _count_resolved(features: Spectrum, k: int, tau: float) -> bool:
    """Say whether it is known how many of the top k directions count."""
    if k <= len(features.values) and features.values[k - 1] - 2 * tau > cutoff(features):
        return True
    return _rank_resolved(features, tau)


def spectrum_of(sketched: Sketched, epsilon: float) -> Spectrum:
    """Return the part of a spectrum that a sketch holds, and the variance of the rest."""
    return Spectrum(*nystrom(sketched, epsilon))
