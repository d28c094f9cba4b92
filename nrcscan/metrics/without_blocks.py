"""A layer's features and targets without each block of samples, from the digest of the blocks.

Σ_H without a block is known along the digest's basis Q, which holds the top k directions of the
total. Its eigenvectors are found within Q exactly (an eigenproblem of m×m), and in the directions
outside to first order (Löwdin): O(d·m) per block where a decomposition takes O(d³).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from nrcscan.metrics.directions import Spectrum
from nrcscan.statistics.blocks import Blocks
from nrcscan.statistics.moments import Array, Statistics


@dataclass(frozen=True)
class WithoutBlocks:
    """What is left of a position without each of B blocks.

    Attributes:
        top: the k largest eigenvalues of Σ_H, descending, shape (B, k).
        vectors: their eigenvectors as columns, in coordinates of the total's, shape (B, d, k).
        following: the next eigenvalue, shape (B,); None where Q has no more directions.
        trace: of Σ_H, shape (B,).
        square: ‖Σ_H‖_F², shape (B,).
        cross: Σ_HY, in coordinates of the total's eigenvectors, shape (B, d, t).
        target_covariance: Σ_Y, shape (B, t, t).
    """

    top: Array
    vectors: Array
    following: Array | None
    trace: Array
    square: Array
    cross: Array
    target_covariance: Array

    @classmethod
    def of(cls, blocks: Blocks, statistics: Statistics, features: Spectrum, k: int) -> Self:
        """Return what is left of a position without each block.

        Args:
            blocks: the digest.
            statistics: of the whole.
            features: all eigenvalues and eigenvectors of its Σ_H.
            k: how many top directions are wanted, no more than Q has.
        """
        values, u = features.values, features.vectors
        n, rest = blocks.n_samples, blocks.targets.rest
        share = (n / rest)[:, None]
        basis = u.T @ blocks.basis
        at = (blocks.feature_mean - statistics.feature_mean) @ u
        y_at = blocks.targets.mean - statistics.target_mean
        h_rest, y_rest = -share * at, -share * y_at
        # Second moments about the mean of the total, of blocks; then covariances of the others.
        along = u.T @ blocks.along + at[:, :, None] * (at @ basis)[:, None, :]
        whole = values[:, None] * basis
        change = share[:, :, None] * (whole - along)
        change -= h_rest[:, :, None] * (h_rest @ basis)[:, None, :]
        more = min(k + 1, basis.shape[1])
        top, vectors = _top(values, basis, whole + change, more)
        following = top[:, k] if more > k else None
        crosses = u.T @ (blocks.cross_covariance - statistics.cross_covariance)
        crosses = crosses + at[:, :, None] * y_at[:, None, :]
        cross = u.T @ statistics.cross_covariance - share[:, :, None] * crosses
        cross -= h_rest[:, :, None] * y_rest[:, None, :]
        inner = blocks.inner + (at**2 * values).sum(axis=1)
        known = float(values @ values)
        within = basis.T @ change
        square = known + 2 * (share[:, 0] * (known - inner) - (h_rest**2 * values).sum(axis=1))
        square += 2 * (change**2).sum(axis=(1, 2)) - (within**2).sum(axis=(1, 2))
        trace = features.total + share[:, 0] * (features.total - blocks.trace - (at**2).sum(axis=1))
        trace -= (h_rest**2).sum(axis=1)
        return cls(
            top=top[:, :k],
            vectors=vectors[:, :, :k],
            following=following,
            trace=trace,
            square=square,
            cross=cross,
            target_covariance=target_covariances(blocks, statistics),
        )

    def of_first(self, k: int) -> WithoutBlocks:
        """Return the same for fewer directions, or as many."""
        if k == self.top.shape[1]:
            return self
        return replace(
            self, top=self.top[:, :k], vectors=self.vectors[:, :, :k], following=self.top[:, k]
        )

    def gap(self, counted: int) -> Array | None:
        """Return (λ_c − λ_{c+1})/λ_1 of the c directions that count, shape (B,); None if unknown.

        Args:
            counted: c, from 1 to k.
        """
        last = self.top[:, counted - 1]
        following = self.following if counted == self.top.shape[1] else self.top[:, counted]
        return None if following is None else (last - following) / self.top[:, 0]


def target_covariances(blocks: Blocks, statistics: Statistics) -> Array:
    """Return Σ_Y without each block, shape (B, t, t)."""
    at = blocks.targets.mean - statistics.target_mean
    second = blocks.targets.covariance + at[:, :, None] * at[:, None, :]
    mean = blocks.targets.left_out(at)
    left: Array = blocks.targets.left_out(second) - mean[:, :, None] * mean[:, None, :]
    return left


def _top(values: Array, basis: Array, acted: Array, k: int) -> tuple[Array, Array]:
    """Return the top k eigenvalues and eigenvectors of each of B matrices that act on Q so.

    Args:
        values: eigenvalues of the total, in whose eigenvectors' coordinates all is, shape (d,).
        basis: Q, shape (d, m).
        acted: each matrix times Q, shape (B, d, m).
        k: no more than m.
    """
    m = basis.shape[1]
    found, turns = np.linalg.eigh(basis.T @ acted)
    found, turns = found[:, ::-1][:, :k], turns[:, :, ::-1][:, :, :k]
    inside = basis @ turns
    residual = acted @ turns - inside * found[:, None, :]
    outside = np.zeros_like(residual)
    np.divide(
        residual[:, m:],
        found[:, None, :] - values[None, m:, None],
        out=outside[:, m:],
        where=found[:, None, :] > values[None, m:, None],
    )
    outside -= basis @ (basis.T @ outside)
    vectors, _ = np.linalg.qr(inside + outside)
    return found + (residual * outside).sum(axis=1), vectors
