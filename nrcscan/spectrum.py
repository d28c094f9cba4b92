"""Directions of features and of weights: eigenvectors and singular vectors, all or the top ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from nrcscan.moments import Array

DIRECTION_CUTOFF = 1e-3
"""A direction counts when its singular value exceeds this share of the largest one."""

CLOSE = 1e-8
"""Residual of a partial decomposition, relative to the largest singular value."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues λ (m,), descending and clamped at 0, and eigenvectors U (d, m) as columns.

    Attributes:
        residual: variance in the directions that are not among them, where m < d.
    """

    values: Array
    vectors: Array
    residual: float = 0.0

    @property
    def rank(self) -> int:
        """Numerical rank: how many directions count (0 … m)."""
        return int(np.count_nonzero(self.values > DIRECTION_CUTOFF**2 * self.values[0]))

    @property
    def total(self) -> float:
        """The trace of the covariance."""
        return float(self.values.sum()) + self.residual


@dataclass(frozen=True)
class WeightDirections:
    """Input directions of a weight: singular values (r,), descending; vectors V (d, r) as columns.

    Attributes:
        energy: ‖W‖², which exceeds the sum of their squares where only the top ones are here.
        whole: whether every direction is here.
    """

    values: Array
    vectors: Array
    energy: float
    whole: bool = True

    @property
    def rank(self) -> int:
        """Numerical rank: how many of the directions count."""
        return int(np.count_nonzero(self.values > DIRECTION_CUTOFF * self.values[0]))

    @property
    def stable_rank(self) -> float:
        """‖W‖²/‖W‖₂² (1 … r)."""
        return float(self.energy / self.values[0] ** 2)


def spectrum(covariance: Array) -> Spectrum:
    """Return the eigendecomposition of a covariance (d, d)."""
    values, vectors = scipy.linalg.eigh(covariance, check_finite=False)
    return Spectrum(np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def triangle(matrix: Array) -> Array:
    """Return R of a QR decomposition: at most d rows, with the same right singular vectors."""
    (r,) = scipy.linalg.qr(matrix, mode="r", check_finite=False)
    return np.asarray(r[: matrix.shape[1]])


def weight_directions(matrix: Array) -> WeightDirections:
    """Return the singular values and right singular vectors of a weight matrix (rows, d)."""
    if matrix.shape[0] > matrix.shape[1]:
        matrix = triangle(matrix)
    _, values, vectors = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    return WeightDirections(values, vectors.T, float(values @ values))


def top_weight_directions(matrix: Array, k: int) -> WeightDirections | None:
    """Return the top k directions of a weight matrix (rows, d), without the others.

    Returns None where they cannot be told from the others to a residual of 1e-8.
    """
    if min(matrix.shape) <= 4 * k + 32:
        return weight_directions(matrix)
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    try:
        left, values, right = scipy.sparse.linalg.svds(matrix, k, v0=start, maxiter=20 * k + 200)
    except scipy.sparse.linalg.ArpackNoConvergence:
        return None
    order = np.argsort(values)[::-1]
    left, values, right = left[:, order], values[order], right[order]
    residual = np.linalg.norm(matrix @ right.T - left * values, axis=0)
    if not (residual <= CLOSE * values[0]).all():
        return None
    energy = float(np.vdot(matrix, matrix))
    return WeightDirections(np.asarray(values, np.float64), right.T, energy, whole=False)
