"""How far float64 may be off an exact layer, and which of its quantities there are.

**Statistics.** A row is shifted by something between the least and the largest value of its column,
or by their rounding beyond that: what is squared is no larger than ρ_i, the range of column i and
n roundings of its largest value. A product is rounded as it is shifted (twice) and multiplied, a
sum of n of them n times, a merge moves them at six operations: with γ = (n + 8 + 6·merges) u,
u = 2⁻⁵³, every entry of a covariance is off by γ ρ_i ρ_j at most, in any order of adding (Higham,
"Accuracy and Stability of Numerical Algorithms", section 3.1), and a mean by u|μ_i| + γ ρ_i.
Statistics that were taken apart and put together again have lost the rounding u|μ_i| of a mean.
What is subnormal is off by 2⁻¹⁰⁷⁴ besides, beside whatever it is multiplied with.

**Quantities.** Let E be the error of Σ_H with that of its decomposition, 10 d u λ₁, τ = ‖E‖, and
e the error of Σ_HY. Eigenvalues are off by τ (Weyl), the top c directions turn by s = τ/(gap − 2τ)
(Davis and Kahan), those of a weight by the error of its own SVD, 20 (out + d) u σ₁, over its gap
(Wedin). What follows from that is written at each quantity, to first order and times `SECOND` for
what is beyond. Where a bound is over `OPEN` nothing is said: such a layer has no digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from exactly import ExactLayer, Matrix, norm, rounded

U = 2.0**-53

SECOND = 2.0
"""Room for the second order, of terms that are under a tenth of what they are beside."""

TINY = 2.0**-1074
"""What a product loses that is subnormal."""

EIGEN, SINGULAR = 10, 20
"""Backward errors of LAPACK's decompositions, per dimension, in roundings of the largest value."""


@dataclass
class Rounding:
    """Bounds on what is computed of a layer.

    Attributes:
        layer: exactly.
        merges: how many accumulators were put together.
        apart: how many times statistics were taken apart and put together again.
    """

    layer: ExactLayer
    merges: int = 0
    apart: int = 0

    @cached_property
    def gamma(self) -> float:
        return (self.layer.n + 8 + 6 * self.merges + 8 * self.apart) * U

    @cached_property
    def largest(self) -> Matrix:
        """Of each column of [H, Y], in size."""
        return np.abs(np.hstack([self.layer.features, self.layer.targets])).max(axis=0)

    @cached_property
    def ranges(self) -> Matrix:
        """ρ, of each column of [H, Y]."""
        both = np.hstack([self.layer.features, self.layer.targets])
        constant = both.min(axis=0) == both.max(axis=0)
        found = both.max(axis=0) - both.min(axis=0) + self.layer.n * U * self.largest
        return np.where(constant, 0.0, found)

    @cached_property
    def of_means(self) -> Matrix:
        return (1 + self.apart) * U * self.largest + self.gamma * self.ranges + TINY

    @cached_property
    def of_covariances(self) -> Matrix:
        """Of the entries of the covariance of [H, Y]."""
        r = self.ranges
        lost = 4 * self.apart * U * self.largest + 4 * (1 + self.merges) * TINY
        found = self.gamma * np.outer(r, r) + np.outer(r, lost) + np.outer(lost, r)
        return found + 4 * self.layer.n * TINY

    # --- of quantities ------------------------------------------------------------------------

    @property
    def width(self) -> int:
        return self.layer.features.shape[1]

    @cached_property
    def values(self) -> Matrix:
        return rounded(self.layer.spectrum[0])

    @cached_property
    def singular(self) -> Matrix:
        return rounded(self.layer.of_weight[0])

    @cached_property
    def tau(self) -> float:
        own = np.linalg.norm(self.of_covariances[: self.width, : self.width])
        return float(own) + EIGEN * self.width * U * self.values[0]

    @cached_property
    def e(self) -> float:
        return float(np.linalg.norm(self.of_covariances[: self.width, self.width :]))

    @cached_property
    def e_targets(self) -> float:
        return float(np.linalg.norm(self.of_covariances[self.width :, self.width :]))

    @cached_property
    def across(self) -> float:
        return float(norm(self.layer.across))

    @cached_property
    def targets(self) -> float:
        return float(norm(self.layer.of_targets))

    @cached_property
    def last(self) -> float:
        """Roundings of the formulas themselves, which are sums of d·t terms or fewer."""
        return (20 + 10 * self.width + self.layer.targets.shape[1]) * U

    def turned(self, k: int) -> float:
        """The sine of how far the features' top directions turn, those that count, k at most."""
        count = min(k, self.layer.rank)
        if count >= self.width:
            return 0.0
        return _sine(self.values[count - 1] - self.values[count], self.tau)

    def weight_turned(self, k: int) -> float:
        """Likewise of the weight."""
        count = min(k, self.layer.weight_rank)
        if count >= self.width:
            return 0.0
        own = SINGULAR * sum(self.layer.weight.shape) * U * self.singular[0]
        return _sine(self.singular[count - 1] - self.singular[count], own)

    def noise_component(self, k: int) -> float:
        """Each of d − k eigenvalues is off by τ, and their sum, which divides, by d τ."""
        trace = float(self.values.sum())
        return self._second(self.width * self.tau / trace) * 2

    def cka(self, k: int) -> float:
        """‖U_kᵀΣ_HY‖ is off by e and what turns of Σ_HY, norms of eigenvalues by √k τ.

        Directions of the top k that do not count may be any: as |uᵀΣ_HY|² ≤ λ tr Σ_Y of any
        direction u, they and what they may be instead move the square by so much.
        """
        arbitrary = 0.0
        count = min(k, self.layer.rank)
        if count < k:
            trace = float(self.layer.target_variance) * len(self.layer.of_targets)
            arbitrary = 2 * (float(self.values[count:].sum()) + k * self.tau) * trace
        turned = self.turned(k) * self.across
        return self._cka(norm(self.layer.spectrum[1][:, :k].T @ self.layer.across), k, turned) + (
            arbitrary / (float(np.linalg.norm(self.values[:k])) * self.targets)
        )

    def cka_full(self, k: int) -> float:
        """As `cka` of all directions, of which none turns."""
        return self._cka(self.across, self.width, 0.0)

    def _cka(self, across: float, k: int, turned: float) -> float:
        across, own = float(across), float(np.linalg.norm(self.values[:k]))
        moved = self.e + turned
        top = (2 * across * moved + moved**2) / (own * self.targets)
        value = across**2 / (own * self.targets)
        below = self._second(math.sqrt(k) * self.tau / own + self.e_targets / self.targets)
        return SECOND * top + value * below + self.last

    def cka_debiased(self, k: int) -> float:
        """Fourth moments round as often as squares do twice; norms that debiasing leaves are less.

        By Cauchy and Schwarz the mean of ‖h‖²‖y‖² is no more than the root of those of ‖h‖⁴ and
        ‖y‖⁴, which here are no more than the fourth power of the ranges.
        """
        both, h, y = (float(v) for v in self.layer.debiased())
        d, n = self.width, self.layer.n
        sizes = [float(r @ r) for r in (self.ranges[:d], self.ranges[d:])]
        moved = [2 * self.values.sum() * self.tau, 2 * self.targets * self.e_targets]
        gamma = 4 * (n + d + len(sizes) + 20 + 12 * self.merges + 16 * self.apart) * U
        if self.apart:  # means have lost a rounding each
            gamma += 16 * U * float((self.largest / np.where(self.ranges, self.ranges, 1)).max())
        off = [SECOND * m + gamma * s**2 + TINY for m, s in zip(moved, sizes, strict=True)]
        cross = SECOND * 2 * self.across * self.e + self.e**2 + gamma * sizes[0] * sizes[1]
        if not (h > 0 and y > 0):
            return math.inf
        shrunk = self._second(off[0] / h + off[1] / y)
        return (
            cross / math.sqrt(h) / math.sqrt(y)
            + abs(both) / math.sqrt(h) / math.sqrt(y) * shrunk
            + self.last
        )

    def alignment(self, k: int) -> float:
        """A cosine is off by no more than its angle, which is under π/2 times the sines."""
        return math.pi / 2 * (self.turned(k) + self.weight_turned(k)) + self.last

    noise_alignment = alignment

    def weight_signal_energy(self, k: int) -> float:
        """‖P − P̂‖ = s, and the trace of WᵀW/‖W‖² is 1; P is applied twice."""
        return SECOND * self.turned(k) + self.last

    def linear_mse(self, k: int) -> float:
        """tr Σ_Y − ⟨β, Σ_HY⟩: by 2‖β‖e + ‖β‖²τ, and what turns over the cut-off into the fit."""
        slopes = float(norm(self.layer.slopes))
        turned = _cut(self.values, self.layer.rank, self.tau) * self.across
        trace = float(self.layer.target_variance) * len(self.layer.of_targets)
        found = SECOND * (2 * slopes * (self.e + turned) + slopes**2 * self.tau)
        t = len(self.layer.of_targets)
        return (found + math.sqrt(t) * self.e_targets + self.last * trace) / t

    def linear_mse_held_out(self, k: int) -> float:
        """As often as the mean squared error is multiplied."""
        free = 1 - (self.layer.rank + 1) / self.layer.n
        return self.linear_mse(k) / free**2 + self.last * float(
            self.layer.quantity("linear_mse_held_out", k)
        )

    def error_ratio(self, k: int) -> float:
        """In units of the network's error."""
        value = float(self.layer.quantity("error_ratio", k))
        return self.linear_mse_held_out(k) / self.layer.mse + self.last * value

    def excess(self, k: int) -> float:
        """In units of the targets' variance, which is off by its own error."""
        variance = float(self.layer.target_variance)
        value = abs(float(self.layer.quantity("excess", k)))
        below = self._second(self.e_targets / variance)
        apart = float(self.layer.linear_mse) + self.layer.mse
        return self.linear_mse(k) / variance + value * below + self.last * apart / variance

    def feature_stable_rank(self, k: int) -> float:
        """Norms by √d τ, and the largest eigenvalue by τ."""
        own = float(np.linalg.norm(self.values))
        value = (own / self.values[0]) ** 2
        below = math.sqrt(self.width) * self.tau / own + self.tau / self.values[0]
        return float(value * (2 * self._second(below) + self.last))

    def weight_stable_rank(self, k: int) -> float:
        """The largest singular value by the error of an SVD."""
        value = float(self.layer.quantity("weight_stable_rank", k))
        return value * 2 * (SINGULAR * sum(self.layer.weight.shape) * U + self.last)

    def feature_rank(self, k: int) -> float:
        """Whole, unless an eigenvalue is on the cut-off."""
        apart = np.abs(self.values - 1e-6 * self.values[0]).min()
        return 0.0 if apart > 2 * self.tau else math.inf

    def weight_rank(self, k: int) -> float:
        """Likewise."""
        apart = np.abs(self.singular - 1e-3 * self.singular[0]).min()
        off = SINGULAR * sum(self.layer.weight.shape) * U * self.singular[0]
        return 0.0 if apart > 2 * off else math.inf

    @staticmethod
    def _second(relative: float) -> float:
        """A relative error with what is beyond the first order; nothing is known of a large one."""
        return SECOND * relative if relative < 0.1 else math.inf

    def of(self, quantity: str, k: int) -> float:
        """Return the bound of a quantity, in its own unit; infinite where nothing is said."""
        needs_rank = quantity not in ("noise_component", "cka_full", "cka_debiased", "weight_rank")
        if needs_rank and not quantity.startswith("weight_s") and self.feature_rank(k):
            return math.inf
        if quantity in ("alignment", "noise_alignment") and self.weight_rank(k):
            return math.inf
        return float(getattr(self, quantity)(k))


def _sine(gap: float, off: float) -> float:
    return min(1.0, off / (gap - 2 * off)) if gap > 4 * off else 1.0


def _cut(values: Matrix, rank: int, off: float) -> float:
    """What turns between directions that are fitted along and those that are left out."""
    return 0.0 if rank >= len(values) else off / max(values[rank - 1] - values[rank], off)
