"""Which quantities an exact layer has, by docs/metrics.md: yes, no, or a matter of rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from exactly import ExactLayer, exact, many, rounded, total
from rounding import Rounding

EQUAL = 1e-4
"""Directions are equally strong that differ by less, relative to the weaker of those that count."""

SHARP = 10.0
"""Directions differ by more than rounding that differ by so many roundings of features, ε of their
size, against the first; ones between that and `EQUAL` may count as either."""

RANGE = 1e-150, 1e150
"""Of variances, beyond which their squares are none of float64."""

OF_RANK = {
    "noise_component_r": "noise_component",
    "alignment_r": "alignment",
    "noise_alignment_r": "noise_alignment",
}

_WEIGHT = {"alignment", "noise_alignment", "weight_signal_energy"}
_FITS = {"linear_mse", "linear_mse_held_out", "error_ratio", "excess"}
_FEATURES = {"noise_component", "cka", "cka_full", "cka_debiased", "feature_stable_rank"}


@dataclass
class Defined:
    """What there is of a layer.

    Attributes:
        layer: exactly.
        rounding: of what is computed of it.
        epsilon: machine epsilon of what made the features.
    """

    layer: ExactLayer
    rounding: Rounding
    epsilon: float

    def of(self, quantity: str, k: int) -> bool | None:
        """Whether there is a quantity; None where rounding decides."""
        return every(*self.needs(quantity, k))

    def needs(self, quantity: str, k: int) -> list[bool | None]:
        """Return whether what a quantity needs is there."""
        n, (_, d) = self.layer.n, self.layer.features.shape
        weight: bool | None = bool(self.layer.weight.any())
        if quantity in ("weight_stable_rank", "weight_rank"):
            return [weight]
        varies = self.varies()
        needs = [varies]
        if varies is False:
            return needs
        if quantity in _WEIGHT:
            needs.append(weight)
        if quantity in _WEIGHT | _FITS | {"noise_component", "cka"}:
            needs.append(n > k + 1)
        if quantity in _WEIGHT | {"noise_component"}:
            needs.append(d > k)
        if False in needs:
            return needs
        if quantity in _WEIGHT | {"cka"}:
            needs.append(self.apart(k))
        if quantity in ("alignment", "noise_alignment"):
            needs.append(self.weight_apart(k))
        if quantity in _FITS | {"cka", "cka_full", "cka_debiased"}:
            needs.append(self.targets_vary())
        if quantity == "cka_debiased" and False not in needs:
            needs.append(n >= 4 and self.debiases())
        if quantity in _FITS:
            needs += self.fits(quantity)
        return needs

    def fits(self, quantity: str) -> list[bool | None]:
        n, rank = self.layer.n, self.layer.rank
        if self.rounding.feature_rank(0):
            return [None]
        needs: list[bool | None] = [rank < n - 1]
        if quantity in ("linear_mse_held_out", "error_ratio"):
            needs.append(2 * rank <= n)
        if quantity == "error_ratio":
            means = rounded(self.layer.means[1])
            size = math.hypot(*means) / math.sqrt(len(means))
            size = float(self.layer.target_variance) + (size**2 if size < 1e150 else math.inf)
            needs.append(_above(self.layer.mse, (4 * self.epsilon) ** 2 * size, 1e-6))
        return needs

    def varies(self) -> bool | None:
        """Whether a unit spreads by more than four roundings of its own values."""
        means = self.layer.means[0]
        variances = np.diagonal(self.layer.of_features)
        off = np.diagonal(self.rounding.of_covariances)
        found: list[bool | None] = []
        for variance, mean, error in zip(variances, means, off, strict=False):
            least = (4 * many.mpf(self.epsilon) * mean) ** 2
            found.append(_above(float(variance - least), 0.0, 0.0, 2 * error))
        top = float(max(variances))
        some = True if True in found else None if None in found else False
        return every(some, _inside(top))

    def targets_vary(self) -> bool | None:
        """Whether any does, by no matter how little."""
        variances = rounded(np.diagonal(self.layer.of_targets))
        return _inside(float(variances.max()))

    def debiases(self) -> bool | None:
        """Whether debiasing leaves more than a billionth of either square."""
        _, h, y = self.layer.debiased()
        plain = [total(np.ravel(c) ** 2) for c in (self.layer.of_features, self.layer.of_targets)]
        return every(*(_above(float(a / b), 1e-9, 0.5) for a, b in zip((h, y), plain, strict=True)))

    def apart(self, k: int) -> bool | None:
        """Whether the top directions that count can be told from the next."""
        count = min(k, self.layer.rank)
        values = self.rounding.values / self.rounding.values[0]
        size = float(total(np.ravel(exact(self.layer.features)) ** 2) / self.layer.n)
        rounding = self.epsilon * np.sqrt(size / self.rounding.values[0])
        return self._told(values, count, self.rounding.tau / self.rounding.values[0], rounding)

    def weight_apart(self, k: int) -> bool | None:
        """Likewise of the weight."""
        values = self.rounding.singular / self.rounding.singular[0]
        count = min(k, self.layer.weight_rank)
        if self.rounding.weight_rank(k):
            return None
        return self._told(values, count, 1e-13, self.epsilon * len(values))

    def _told(
        self, values: np.ndarray, count: int, computed: float, rounding: float
    ) -> bool | None:
        if not 0 < count < len(values):
            return True
        last, gap = values[count - 1], values[count - 1] - values[count]
        if gap > max(2 * EQUAL * last, SHARP * rounding, 1e8 * computed):
            return True
        return False if gap + 4 * computed < EQUAL * last else None


def every(*needs: bool | None) -> bool | None:
    """Return whether all hold; None where none fails and rounding decides of one."""
    return False if False in needs else None if None in needs else True


def _above(value: float, least: float, share: float, off: float = 0.0) -> bool | None:
    near = abs(value - least) <= max(share * abs(least), off)
    if near and not (value == least == off == 0):
        return None
    return value > least


def _inside(variance: float) -> bool | None:
    """Whether squares of a variance are in float64's range."""
    low, high = RANGE
    if variance == 0:
        return False
    if low / 2 < variance < low * 2 or high / 2 < variance < high * 2:
        return None
    return low < variance < high
