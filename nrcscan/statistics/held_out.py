"""Linear fits that leave out blocks of samples, from sums alone: no sample is seen again.

All is about the total's mean, and beside a constant 1: z = [1, h]. A fit solves A w = K, where
A = Σ z zᵀ and K = Σ z yᵀ; without a block, its own sums are taken off both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from nrcscan.statistics.blocks import Fits, Targets
from nrcscan.statistics.centred_blocks import CentredBlocks, moved
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
    """Sums over samples: A (…, r+1, r+1), K (…, r+1, t), Σ y² (…, t), and how many samples (…)."""

    a: Array
    k: Array
    y: Array
    n: Array

    def less(self, other: _FitSums) -> _FitSums:
        """Return those of the samples that are not among the others."""
        return _FitSums(self.a - other.a, self.k - other.k, self.y - other.y, self.n - other.n)

    def errors(self, fit: Array) -> Array:
        """Return squared errors of fits (…, r+1, t), summed over these samples, per target."""
        found: Array = self.y + (fit * (self.a @ fit - 2 * self.k)).sum(axis=-2)
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
        z, _ = lapack.dtrtrs(factor, sums.k, lower=1)
        if self.near:
            last = np.tril(factor[sure:, sure:])
            z[sure:] = last.T @ _above(last @ last.T, last @ z[sure:], floor)
        return np.asarray(lapack.dtrtrs(factor, z, lower=1, trans=1)[0])

    def _floor(self, sums: _FitSums) -> Array:
        """Return the cut-off for these samples, as an eigenvalue of their sums."""
        if not self.near or self.columns is None:
            return sums.n * self.cutoff
        top = sums.a[: _FIRST + 1, : _FIRST + 1]
        centred = top[1:, 1:] - np.outer(top[1:, 0], top[0, 1:]) / sums.n
        return CUTOFF * np.linalg.eigvalsh(centred)[-1]


def _above(matrix: Array, sides: Array, floor: Array) -> Array:
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
    centred = CentredBlocks.of(parts, total, targets)
    if rank > FACTORISED:
        columns = along.columns
        if columns is not None:
            columns = columns[:, : rank + _counted(total, columns[:, rank:], along.cutoff)]
        return WideFits(centred, total, targets, columns).errors()
    whole, blocks = _whole(total, along), _of_blocks(centred, along)
    left = whole.less(blocks)
    fits = np.array([along.fit(_FitSums(*sums)) for sums in zip(*left, strict=True)])
    held_out = blocks.errors(fits)
    of_others = PairsLeftOut(
        whole=whole.a,
        blocks=blocks.a,
        moved=fits - along.fit(whole),
        slopes=blocks.a @ fits - blocks.k,
        held_out=held_out,
        n_samples=targets.n_samples,
    ).errors()
    n, rest = targets.n_samples[:, None], targets.rest[:, None]
    return Fits(held_out / n, left.errors(fits) / rest, of_others / rest)


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
    squares = n * np.diagonal(total.target_covariance)
    return _FitSums(a, n * np.pad(beside, ((1, 0), (0, 0))), squares, np.asarray(float(n)))


def _of_blocks(blocks: CentredBlocks, along: _Directions) -> _FitSums:
    """Return the sums of each block, along a first axis (B, …)."""
    n, sums, at, beside, squares = blocks.n, blocks.raw_sums, blocks.mean, blocks.beside, blocks.raw
    if along.columns is not None:
        columns = along.columns
        squares = [columns.T @ (square @ columns) for square in squares]
        beside, sums, at = columns.T @ beside, sums @ columns, at @ columns
    a = np.empty((len(n), at.shape[1] + 1, at.shape[1] + 1))
    a[:, 0, 0], a[:, 0, 1:], a[:, 1:, 0] = n[:, 0], n * at, n * at
    a[:, 1:, 1:] = moved(n, sums, at, sums, at)
    a[:, 1:, 1:] += squares
    k = np.concatenate([(n * blocks.y_mean)[:, None], beside], axis=1)
    return _FitSums(a, k, blocks.y_squares, n[:, 0])
