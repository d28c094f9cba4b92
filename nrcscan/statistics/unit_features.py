"""Features scaled to norm 1: what the last-layer measures of Andriopoulos et al. are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nrcscan.statistics.moments import Array, Moments, Statistics


@dataclass(frozen=True)
class UnitFeatures:
    """Moments of h̃ = h/‖h‖, normalised by the number of features that have a direction.

    Attributes:
        n_samples: how many have one, that is, a norm other than 0.
        n_zero: how many have none, and are left out.
        mean: of h̃, shape (width,); zeros where `n_samples` is 0.
        covariance: of h̃, centred, shape (width, width); likewise.
    """

    n_samples: int
    n_zero: int
    mean: Array
    covariance: Array

    def residual(self, basis: Array) -> float:
        """Return the mean of ‖h̃ − P h̃‖² (0 … 1), P onto the columns of a basis.

        It is the trace of (I − P) E[h̃h̃ᵀ] (I − P), with E[h̃h̃ᵀ] the covariance of h̃ plus the
        outer product of its mean: h̃ itself is projected, not h̃ less its mean.

        Args:
            basis: orthonormal columns, shape (width, k).
        """
        left = self.covariance - basis @ (basis.T @ self.covariance)
        spread = float(np.trace(left - (left @ basis) @ basis.T))
        away = self.mean - basis @ (basis.T @ self.mean)
        return max(spread, 0.0) + float(away @ away)


class UnitMoments:
    """Accumulates the moments of h/‖h‖, always in float64: one pass, any batch size, mergeable.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.n_zero = 0
        self.moments = Moments(width, 1)  # beside a target that never varies

    def take(self, rows: NDArray[np.floating]) -> None:
        """Take in features (n, width); those that are not finite spoil the moments."""
        units = unit_rows(rows)
        self.n_zero += len(rows) - len(units)
        self.moments.take(units, np.zeros((len(units), 1)))

    def merge(self, other: UnitMoments) -> None:
        """Take in everything that another accumulator has seen."""
        self.n_zero += other.n_zero
        self.moments.merge(other.moments)

    def result(self) -> UnitFeatures:
        """Return the moments of all features so far."""
        if self.moments.n_samples == 0:
            nothing = np.zeros((self.width, self.width))
            return UnitFeatures(0, self.n_zero, nothing[:, 0], nothing)
        found = self.moments.statistics()
        return UnitFeatures(
            found.n_samples, self.n_zero, found.feature_mean, found.feature_covariance
        )

    @classmethod
    def from_unit_features(cls, found: UnitFeatures) -> UnitMoments:
        """Return an accumulator that has seen what these moments were made from."""
        units = cls(len(found.mean))
        units.n_zero = found.n_zero
        if found.n_samples:
            zeros = np.zeros((units.width, 1))
            units.moments = Moments.from_statistics(
                Statistics(
                    found.n_samples, found.mean, zeros[0], found.covariance, zeros, zeros[:1]
                )
            )
        return units


def together(parts: Sequence[UnitFeatures | None]) -> UnitFeatures | None:
    """Return the moments of all parts' features; None where a part has none."""
    known = [UnitMoments.from_unit_features(part) for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    for other in known[1:]:
        known[0].merge(other)
    return known[0].result()


def unit_rows(rows: NDArray[np.floating]) -> Array:
    """Return rows (n, width) scaled to norm 1 in float64, without those of norm 0.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1e-200]]))
    array([[0.6, 0.8],
           [0. , 1. ]])
    """
    wide = rows.astype(np.float64)
    largest = np.abs(wide).max(axis=1, keepdims=True)
    there = largest[:, 0] != 0
    with np.errstate(invalid="ignore"):  # what is not finite is told by the pass itself
        scaled = wide[there] / largest[there]  # whose squares neither overflow nor vanish
        return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))
