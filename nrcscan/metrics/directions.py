"""Directions of features and of weights: eigenvectors and singular vectors, all or the top ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from scipy.linalg import lapack

from nrcscan.statistics.moments import Array

DIRECTION_CUTOFF = 1e-3
"""A direction counts when its singular value exceeds this share of the largest one.

That of the authors' pseudo-inverse. Its square, 1e-6 of the largest eigenvalue, is 4·10⁹ roundings
of float64 and eight of float32: what float32 leaves open is told by bounds.
"""

SMALL = 64
"""An SVD of up to so many rows or columns costs nothing."""

APART = 1e-4
"""Distance of the k-th from the next squared singular value, relative to the largest, from which
on the top k directions are as sharp from the squares as from an SVD: to about 1e-12."""

_BLOCK = 32
"""Columns that LAPACK reduces at a time; it is given less workspace than that by default."""

_TINY = 1e-300

CLOSE = 1e-8
"""Residual of a partial decomposition, relative to the largest singular value.

A singular value is then off by 1e-8 of the largest at most, a vector by 1e-8 over its gap.
"""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues λ (m,), descending and clamped at 0, and eigenvectors U (d, m) as columns.

    Attributes:
        residual: variance in the directions that are not among them, where m < d.
        moved: how far rounding can have moved the values of a sketch, beside that of its sums.
    """

    values: Array
    vectors: Array
    residual: float = 0.0
    moved: float = 0.0

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
    """Input directions of a weight.

    Attributes:
        vectors: right singular vectors V (d, …) as columns, at least the top k.
        values: singular values as shares of the first, descending, at least the top k + 1 where
            there are so many.
        rank: numerical rank: how many directions count (0 … r), or of the top k only.
        stable_rank: ‖W‖²/‖W‖₂² (1 … r).
        whole: whether `rank` is of all directions.
    """

    vectors: Array
    values: Array
    rank: int
    stable_rank: float
    whole: bool = True


def spectrum(covariance: Array) -> Spectrum:
    """Return the eigendecomposition of a covariance (d, d)."""
    values, vectors = np.linalg.eigh(covariance)  # unlike SciPy's, side by side in threads
    return Spectrum(np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def triangle(matrix: Array) -> Array:
    """Return R of a QR decomposition: at most d rows, with the same right singular vectors."""
    (r,) = scipy.linalg.qr(matrix, mode="r", check_finite=False)
    return np.asarray(r[: matrix.shape[1]])


def weight_directions(matrix: Array, k: int) -> WeightDirections:
    """Return the rank and the top k right singular vectors of a weight (rows, d).

    They come from the smaller of WᵀW and WWᵀ, at a quarter of the cost of an SVD, unless
    squaring would lose digits of the top directions.
    """
    found = _by_squares(matrix, k) if min(matrix.shape) > max(k, SMALL) else None
    if found is not None:
        return found
    if matrix.shape[0] > matrix.shape[1]:
        matrix = triangle(matrix)
    _, values, vectors = np.linalg.svd(matrix, full_matrices=False)
    relative = values / values[0]
    return WeightDirections(vectors.T, relative, _count(relative), float(relative @ relative))


def _by_squares(matrix: Array, k: int) -> WeightDirections | None:
    """Return the rank and the top k vectors, or None where these need an SVD."""
    scaled = matrix / max(matrix.max(), -matrix.min())  # its squares neither overflow nor vanish
    wide = matrix.shape[0] < matrix.shape[1]
    reduced = _tridiagonal(scaled @ scaled.T if wide else scaled.T @ scaled)
    squares, vectors = reduced.top(k + 1)
    if not squares[k - 1] - squares[k] >= APART * squares[0]:
        return None
    values, vectors = np.sqrt(np.maximum(squares, 0.0)), vectors[:, :k]
    return WeightDirections(
        vectors=(scaled.T @ vectors) / values[:k] if wide else vectors,
        values=values / values[0],
        rank=reduced.count_above(DIRECTION_CUTOFF**2 * squares[0]),
        stable_rank=_stable_rank(scaled, values[0]),
    )


@dataclass(frozen=True)
class _Tridiagonal:
    """A symmetric matrix Q T Qᵀ by the two diagonals of T and the reflectors that make up Q."""

    diagonal: Array
    beside: Array
    reflectors: Array
    factors: Array

    def top(self, k: int) -> tuple[Array, Array]:
        """Return the top k eigenvalues, descending, and their eigenvectors."""
        n = len(self.diagonal)
        values, vectors = scipy.linalg.eigh_tridiagonal(
            self.diagonal,
            self.beside,
            select="i",
            select_range=(n - k, n - 1),
            check_finite=False,
        )
        # The reflectors act on all rows but the first, and lie as those of a QR decomposition do.
        vectors[1:], _, _ = lapack.dormqr(
            "L", "N", self.reflectors[1:, :-1], self.factors, vectors[1:], lwork=_BLOCK * n
        )
        return np.asarray(values[::-1], np.float64), np.asarray(vectors[:, ::-1], np.float64)

    def count_above(self, cutoff: float) -> int:
        """Return how many eigenvalues exceed a cut-off: as many as there are positive pivots."""
        count, pivot, cutoff = 0, 1.0, float(cutoff)
        squares = [0.0, *(self.beside**2).tolist()]
        for entry, square in zip(self.diagonal.tolist(), squares, strict=True):
            pivot = entry - cutoff - square / (pivot or _TINY)
            count += pivot > 0
        return count


def _tridiagonal(matrix: Array) -> _Tridiagonal:
    """Return a symmetric matrix, reduced."""
    reflectors, diagonal, beside, factors, _ = lapack.dsytrd(
        matrix, lower=1, lwork=_BLOCK * len(matrix)
    )
    return _Tridiagonal(diagonal, beside, reflectors, factors)


def _count(relative: Array) -> int:
    """Return how many singular values count, each relative to the largest."""
    return int(np.count_nonzero(relative > DIRECTION_CUTOFF))


def _stable_rank(matrix: Array, largest: float) -> float:
    """Return ‖W‖²/‖W‖₂²."""
    return float((np.linalg.norm(matrix) / largest) ** 2)


def top_weight_directions(matrix: Array, k: int) -> WeightDirections | None:
    """Return the top k directions of a weight matrix (rows, d), without the others.

    Returns None where they cannot be told from the others to a residual of 1e-8.
    """
    if min(matrix.shape) <= 4 * k + 32:
        return weight_directions(matrix, k)
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    try:
        left, values, right = scipy.sparse.linalg.svds(
            matrix, k + 1, v0=start, maxiter=20 * k + 220
        )
    except scipy.sparse.linalg.ArpackNoConvergence:
        return None
    order = np.argsort(values)[::-1]
    left, values, right = left[:, order], values[order], right[order]
    residual = np.linalg.norm(matrix @ right.T - left * values, axis=0)
    if not (residual[:k] <= CLOSE * values[0]).all():
        return None
    relative, stable = values / values[0], _stable_rank(matrix, values[0])
    return WeightDirections(right[:k].T, relative, _count(relative[:k]), stable, whole=False)
