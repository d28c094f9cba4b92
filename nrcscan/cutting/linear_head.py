"""A linear head in place of the layers from one on, and its exact errors: no sample is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrcscan.metrics.directions import Spectrum
from nrcscan.statistics.moments import Array, Statistics

SMALLEST = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
"""Largest eigenvalue up to which features do not vary: of less, float64 holds few digits."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Predicts targets y from features h: y ≈ W (h − μ_H) + μ_Y.

    Attributes:
        weight: W, shape (t, d).
        centre: μ_H of the samples that it was fitted to, shape (d,).
        target_centre: μ_Y of them, shape (t,).
        ridge: λ by which the features' covariance was raised, as a share of its largest
            eigenvalue; 0 is least squares, along the directions that count (see `NRC4`).
    """

    weight: Array
    centre: Array
    target_centre: Array
    ridge: float

    @classmethod
    def fitted(cls, statistics: Statistics, features: Spectrum, ridge: float) -> LinearHead:
        """Return the ridge regression of the targets on the features.

        Args:
            statistics: of the samples that it is fitted to.
            features: all eigenvalues and eigenvectors of their Σ_H.
            ridge: as a share of the largest eigenvalue, 0 … 1.
        """
        slopes = ridge_slopes(features, statistics.cross_covariance, ridge * features.values[0])
        return cls(slopes.T, statistics.feature_mean, statistics.target_mean, ridge)

    @property
    def bias(self) -> Array:
        """What is added to W h, shape (t,)."""
        return np.asarray(self.target_centre - self.weight @ self.centre)

    @property
    def n_weights(self) -> int:
        """Numbers in W."""
        return int(self.weight.size)

    def predictions(self, features: Array) -> Array:
        """Return what it says of features (n, d), shape (n, t)."""
        return np.asarray((features - self.centre) @ self.weight.T + self.target_centre)

    def squared_error(self, statistics: Statistics) -> Array:
        """Return its mean squared error on any samples, from their statistics, shape (t,).

        E(y − ŷ)² = (Σ_Y − 2 W Σ_HY + W Σ_H Wᵀ)ᵢᵢ + (difference of the means)ᵢ².
        """
        s, w = statistics, self.weight
        off = (s.target_mean - self.target_centre) - w @ (s.feature_mean - self.centre)
        spread = np.diagonal(s.target_covariance) + np.einsum(
            "td,td->t", w @ s.feature_covariance - 2 * s.cross_covariance.T, w
        )
        return np.asarray(np.maximum(spread, 0.0) + off**2)


def ridge_slopes(features: Spectrum, cross: Array, raised: float) -> Array:
    """Return (Σ_H + λ)⁻¹ Σ_HY, shape (d, t); for λ = 0 the pseudo-inverse, cut off as in NRC4.

    Args:
        features: all eigenvalues and eigenvectors of Σ_H.
        cross: Σ_HY, shape (d, t).
        raised: λ, an eigenvalue.
    """
    if not features.values[0] > SMALLEST:
        return np.zeros_like(cross)
    count = features.rank if raised == 0 else len(features.values)
    u = features.vectors[:, :count]
    along = u.T @ cross
    return np.asarray(u @ (along / (features.values[:count] + raised)[:, None]))
