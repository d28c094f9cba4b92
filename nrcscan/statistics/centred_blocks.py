"""Sums of blocks of samples about the means of all, as linear fits take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrcscan.statistics.blocks import Targets, sums_of
from nrcscan.statistics.moments import Array, Moments, Statistics


@dataclass(frozen=True, eq=False)
class CentredBlocks:
    """Sums over each of B blocks, of features h and targets y less the means of all.

    Attributes:
        n: how many samples, shape (B, 1).
        mean: of h, shape (B, d).
        y_mean: of y, shape (B, t).
        beside: Σ h yᵀ, shape (B, d, t).
        y_squares: Σ y², shape (B, t).
        raw: Σ h hᵀ about the block's own shift, of each (d, d): not moved, to copy none.
        raw_sums: Σ h about it, shape (B, d).
    """

    n: Array
    mean: Array
    y_mean: Array
    beside: Array
    y_squares: Array
    raw: list[Array]
    raw_sums: Array

    @classmethod
    def of(cls, parts: list[Moments], total: Statistics, targets: Targets) -> CentredBlocks:
        """Return those of blocks whose sums are the parts, and whose targets are these."""
        d, n = len(total.feature_mean), targets.n_samples[:, None]
        shifts, sums, products = sums_of(parts)
        mean = shifts[:, :d] + sums[:, :d] / n - total.feature_mean
        y_mean = targets.mean - total.target_mean
        beside = np.array([product[:d, d:-1] for product in products])
        beside += moved(n, sums[:, :d], mean, sums[:, d:], y_mean)
        y_squares = n * (np.diagonal(targets.covariance, axis1=1, axis2=2) + y_mean**2)
        raw = [product[:d, :d] for product in products]
        return cls(n, mean, y_mean, beside, y_squares, raw, sums[:, :d])


def moved(n: Array, sums: Array, mean: Array, other_sums: Array, other_mean: Array) -> Array:
    """Return by how much products (B, …, …) of two sums grow that are taken about other means.

    Args:
        n: of each block, shape (B, 1).
        sums: about its shift, shape (B, …).
        mean: about the other mean, shape (B, …).
        other_sums: of what is multiplied with it, likewise.
        other_mean: of the same.
    """
    left = np.stack([-sums / n, n * mean], axis=2)
    return np.asarray(left @ np.stack([other_sums, other_mean], axis=1))
