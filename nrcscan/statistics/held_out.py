"""Linear fits that leave out blocks of samples, from sums alone: no sample is seen again.

All is about the total's mean, and beside a constant 1: z = [1, h]. A fit solves A w = K, where
A = Σ z zᵀ and K = Σ z yᵀ; without a block, its own sums are taken off both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from nrcscan.statistics.blocks import Fits, Targets
from nrcscan.statistics.conjugate_fits import WideFits
from nrcscan.statistics.moments import Array, Moments, Statistics
from nrcscan.statistics.pairs_left_out import PairsLeftOut

CUTOFF = 1e-6
"""Share of the largest eigenvalue from which on a direction counts, as in the linear MSE."""

NEAR = 4
"""Directions within this factor of the cut-off may lie on the other side without a block."""

MOST_FITTED = 0.5
"""Directions per sample from which on a fit says little: over half of it would be chance."""

FACTORISED = 160
"""Directions up to which a fit without a block is factorised; of more, it is found by iteration."""


_FIRST = 8
"""Of the total's directions, so many hold the first one of any share of the samples."""


class _FitSums(NamedTuple):
    """Sums over samples: A (r+1, r+1), K (r+1, t), Σ y² (t,), and how many samples."""

    a: Array
    k: Array
    y: Array
    n: float

    def less(self, other: _FitSums) -> _FitSums:
        """Return those of the samples that are not among the others."""
        return _FitSums(self.a - other.a, self.k - other.k, self.y - other.y, self.n - other.n)

    def errors(self, fit: Array) -> Array:
        """Return a fit's squared errors, summed over these samples, per target."""
        found: Array = self.y + (fit * (self.a @ fit - 2 * self.k)).sum(axis=0)
        return np.maximum(found, 0.0)


@dataclass(frozen=True)
class _Directions:
    """What is fitted along: orthonormal columns (d, r), those near the cut-off last.

    Attributes:
        columns: None where they are all, and none is near.
        near: how many are near the cut-off.
        cutoff: the eigenvalue itself.
    """

    columns: Array | None
    near: int
    cutoff: float

    @classmethod
    def of(cls, covariance: Array, basis: Array) -> _Directions:
        """Return those of a covariance, whose first direction the basis (d, m) holds."""
        cutoff = CUTOFF * float(np.linalg.eigvalsh(basis.T @ covariance @ basis)[-1])
        shifted = covariance.copy()
        shifted.flat[:: len(covariance) + 1] -= NEAR * cutoff
        _, failed = lapack.dpotrf(shifted.T, lower=1, overwrite_a=1, clean=0)
        if not failed:
            return cls(None, 0, cutoff)
        values, vectors = np.linalg.eigh(covariance)
        counted = np.flatnonzero(values > cutoff / NEAR)[::-1]
        near = int((values[counted] < NEAR * cutoff).sum())
        return cls(np.ascontiguousarray(vectors[:, counted]), near, cutoff)

    def fit(self, sums: _FitSums) -> Array:
        """Return the least-squares fit to samples, shape (r + 1, t).

        Of the directions near the cut-off, those under it are left out. They are told by the
        Schur complement: what of their variance the other directions do not explain.
        """
        factor, failed = lapack.dpotrf(sums.a.T, lower=1, clean=0)  # symmetric: nothing is copied
        size, floor = len(sums.a), self._floor(sums)
        sure = size - self.near
        lost = failed or (np.diagonal(factor)[1:sure] ** 2 < floor / NEAR).any()
        if lost and self.near < size - 1:
            return _Directions(self.columns, size - 1, self.cutoff).fit(sums)
        if lost:
            rest = sums.a[1:, 1:] - np.outer(sums.a[1:, 0], sums.a[0, 1:]) / sums.n
            sides = sums.k[1:] - np.outer(sums.a[1:, 0], sums.k[0]) / sums.n
            slopes = _above(rest, sides, floor)
            return np.vstack([(sums.k[0] - sums.a[0, 1:] @ slopes) / sums.n, slopes])
        z = scipy.linalg.solve_triangular(factor, sums.k, lower=True, check_finite=False)
        if self.near:
            last = np.tril(factor[sure:, sure:])
            z[sure:] = last.T @ _above(last @ last.T, last @ z[sure:], floor)
        found: Array = scipy.linalg.solve_triangular(
            factor, z, lower=True, trans="T", check_finite=False
        )
        return found

    def _floor(self, sums: _FitSums) -> float:
        """Return the cut-off for these samples, as an eigenvalue of their sums."""
        if not self.near or self.columns is None:
            return sums.n * self.cutoff
        top = sums.a[: _FIRST + 1, : _FIRST + 1]
        centred = top[1:, 1:] - np.outer(top[1:, 0], top[0, 1:]) / sums.n
        return CUTOFF * float(np.linalg.eigvalsh(centred)[-1])


def _above(matrix: Array, sides: Array, floor: float) -> Array:
    """Return the solution of a symmetric system along its eigenvalues above the floor."""
    values, vectors = np.linalg.eigh(matrix)
    vectors = vectors[:, values > floor]
    return np.asarray(vectors @ ((vectors.T @ sides) / values[values > floor, None]))


def fits_without_blocks(
    parts: list[Moments], total: Statistics, targets: Targets, basis: Array
) -> Fits | None:
    """Return the errors of least-squares fits, each without a block of samples.

    Args:
        parts: the sums of each block.
        total: what they come to together.
        targets: of the blocks.
        basis: orthonormal columns that hold the total's first direction, shape (d, m).

    Returns:
        None where there are more directions than half of the samples.
    """
    along = _Directions.of(total.feature_covariance, basis)
    d = len(total.feature_mean)
    rank = (d if along.columns is None else along.columns.shape[1]) - along.near
    if rank > MOST_FITTED * total.n_samples:
        return None
    if rank > FACTORISED:
        columns = along.columns
        if columns is not None:
            columns = columns[:, : rank + _counted(total, columns[:, rank:], along.cutoff)]
        return WideFits(parts, total, targets, columns).errors()
    whole = _whole(total, along)
    n, rest = targets.n_samples[:, None], targets.rest[:, None]
    blocks = list(_of_blocks(parts, total, targets, along))
    left = [whole.less(block) for block in blocks]
    fits = [along.fit(sums) for sums in left]
    held_out = np.array([block.errors(fit) for block, fit in zip(blocks, fits, strict=True)])
    others = np.array([sums.errors(fit) for sums, fit in zip(left, fits, strict=True)])
    of_others = PairsLeftOut(
        whole=whole.a,
        blocks=np.array([block.a for block in blocks]),
        moved=np.array(fits) - along.fit(whole),
        slopes=np.array([block.a @ fit - block.k for block, fit in zip(blocks, fits, strict=True)]),
        held_out=held_out,
        n_samples=targets.n_samples,
    ).errors()
    return Fits(held_out / n, others / rest, of_others / rest)


def _counted(total: Statistics, near: Array, cutoff: float) -> int:
    """Return how many of some eigenvectors (d, m), in order, are above the cut-off."""
    values = np.einsum("dm,dm->m", near, total.feature_covariance @ near)
    return int((values > cutoff).sum())


def _whole(total: Statistics, along: _Directions) -> _FitSums:
    """Return the sums of all samples."""
    n, square, beside = total.n_samples, total.feature_covariance, total.cross_covariance
    if along.columns is not None:
        square = along.columns.T @ square @ along.columns
        beside = along.columns.T @ beside
    a = n * np.pad(square, ((1, 0), (1, 0)))
    a[0, 0] = n
    return _FitSums(
        a, n * np.pad(beside, ((1, 0), (0, 0))), n * np.diagonal(total.target_covariance), n
    )


def _of_blocks(
    parts: list[Moments], total: Statistics, targets: Targets, along: _Directions
) -> Iterator[_FitSums]:
    """Yield the sums of each block."""
    d = len(total.feature_mean)
    for b, part in enumerate(parts):
        n, shift, products = part.sums
        sums, y_sums = products[:d, -1], products[d:-1, -1]
        at = shift[:d] + sums / n - total.feature_mean
        y_at = targets.mean[b] - total.target_mean
        square = products[:d, :d]
        beside = products[:d, d:-1] - np.outer(sums, y_sums / n) + n * np.outer(at, y_at)
        if along.columns is not None:
            square = along.columns.T @ (square @ along.columns)
            beside, sums, at = along.columns.T @ beside, sums @ along.columns, at @ along.columns
        a = np.empty((len(at) + 1, len(at) + 1))
        a[0, 0], a[0, 1:], a[1:, 0] = n, n * at, n * at
        np.matmul(np.stack([-sums / n, n * at]).T, np.stack([sums, at]), out=a[1:, 1:])
        a[1:, 1:] += square
        squares = n * (np.diagonal(targets.covariance[b]) + y_at**2)
        yield _FitSums(a, np.vstack([n * y_at, beside]), squares, n)
