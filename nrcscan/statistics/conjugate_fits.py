"""Fits of wide features without each block of samples, by conjugate gradients from the total's fit.

A factorisation per block would cost more than the sums themselves. Preconditioned by the total,
without a block of B the system is the identity less about 1/B: a few products with the block are
enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from nrcscan.statistics.blocks import Fits, Targets
from nrcscan.statistics.centred_blocks import CentredBlocks
from nrcscan.statistics.moments import Array, Statistics

SMALL_ENOUGH = 1e-2
"""Of a residual, beside that of the total's fit: as gradients leave errors to second order, what a
fit changes is then known to about the square of it."""

_MOST_STEPS = 50


@dataclass(frozen=True, eq=False)
class WideFits:
    """Fits along directions of the total, of shape (B, 1 + r, t): an intercept, then slopes.

    Attributes:
        blocks: their sums.
        total: what they come to together.
        targets: of the blocks.
        columns: orthonormal directions (d, r); None for all.
    """

    blocks: CentredBlocks
    total: Statistics
    targets: Targets
    columns: Array | None

    def errors(self) -> Fits:
        """Return the errors of fits that leave out a block."""
        n, rest, y = self.blocks.n, self.targets.rest[:, None], self.blocks.y_squares
        whole, beside = self._whole_beside(), self._beside()
        first = self._undone(whole)
        acted = self._acted(np.broadcast_to(first, beside.shape))
        pull = acted - beside
        moved, moved_acted = self._moved(pull)
        on_block = y + (first * (acted - 2 * beside)).sum(axis=1)
        on_all = y.sum(axis=0) + (first * (self._times(first) - 2 * whole)).sum(axis=0)
        held_out = np.maximum(on_block + (moved * (2 * pull + moved_acted)).sum(axis=1), 0.0)
        left = (moved * (self._times(moved) - moved_acted)).sum(axis=1)
        others = np.maximum(on_all - on_block + left - 2 * (moved * pull).sum(axis=1), 0.0)
        of_others = held_out.sum(axis=0) - held_out + left
        of_others += self._of_pairs(moved, pull + moved_acted, moved_acted, left)
        return Fits(held_out / n, others / rest, of_others / rest)

    def _of_pairs(self, moved: Array, slope: Array, acted: Array, left: Array) -> Array:
        """Return by how much errors on other blocks grow that have been left out too, (B, t).

        To second order in what leaving out a block moves, which acts on all others alike.

        Args:
            moved: δ, by how much each fit differs from the total's.
            slope: half the gradient of each block's error at its own fit.
            acted: each block's sums times its δ.
            left: δᵀ (those of all others) δ, shape (B, t).
        """
        n = self.targets.n_samples
        own, every = np.arange(len(n)), moved.transpose(2, 0, 1)
        grown = every @ slope.transpose(2, 1, 0)  # target, left out, beside it
        both = every @ acted.transpose(2, 1, 0)
        both += n[:, None] * (left / self.targets.rest[:, None]).T[:, None, :]
        found = 2 * (grown + both / (1 - (n[:, None] + n) / n.sum()))
        found[:, own, own] = 0.0
        return np.asarray(found.sum(axis=2).T)

    def _moved(self, residual: Array) -> tuple[Array, Array]:
        """Return by how much fits without each block differ from the total's, and S_b times it."""
        fits, acted = np.zeros_like(residual), np.zeros_like(residual)
        step = self._undone(residual)
        size = (residual * step).sum(axis=1, keepdims=True)
        enough = SMALL_ENOUGH**2 * size
        for _ in range(_MOST_STEPS):
            if (size <= enough).all():
                break
            own = self._acted(step)
            along = self._times(step) - own
            length = size / np.maximum((step * along).sum(axis=1, keepdims=True), _TINY)
            fits, acted = fits + length * step, acted + length * own
            residual = residual - length * along
            undone = self._undone(residual)
            before, size = size, (residual * undone).sum(axis=1, keepdims=True)
            step = undone + size / np.maximum(before, _TINY) * step
        return fits, acted

    @cached_property
    def _spread(self) -> Array:
        """Return N Σ_H along the directions: a matrix, or its diagonal where it is one."""
        s = self.total
        if self.columns is None:
            return s.n_samples * s.feature_covariance
        return s.n_samples * np.einsum(
            "dr,dr->r", self.columns, s.feature_covariance @ self.columns
        )

    @cached_property
    def _factor(self) -> tuple[Array, bool]:
        found, lower = scipy.linalg.cho_factor(self._spread.T, lower=True, check_finite=False)
        return found, bool(lower)

    def _times(self, fits: Array) -> Array:
        """Return the total's sums times fits, shape (…, 1 + r, t)."""
        spread = self._spread
        slopes = fits[..., 1:, :]
        acted = spread[:, None] * slopes if spread.ndim == 1 else spread @ slopes
        return np.concatenate([self.total.n_samples * fits[..., :1, :], acted], axis=-2)

    def _undone(self, sides: Array) -> Array:
        """Return what the total's sums times is this."""
        spread = self._spread
        slopes = sides[..., 1:, :]
        if spread.ndim == 1:
            solved = slopes / spread[:, None]
        else:
            columns = np.moveaxis(slopes, -2, 0)
            flat = scipy.linalg.cho_solve(
                self._factor, columns.reshape(len(spread), -1), check_finite=False
            )
            solved = np.moveaxis(flat.reshape(columns.shape), 0, -2)
        return np.concatenate([sides[..., :1, :] / self.total.n_samples, solved], axis=-2)

    def _whole_beside(self) -> Array:
        cross = self.total.n_samples * self.total.cross_covariance
        own = cross if self.columns is None else self.columns.T @ cross
        return np.vstack([np.zeros((1, own.shape[1])), own])

    def _beside(self) -> Array:
        """Return each block's Σ z yᵀ, shape (B, 1 + r, t)."""
        every = self.blocks.beside
        if self.columns is not None:
            every = self.columns.T @ every
        ones = (self.blocks.n * self.blocks.y_mean)[:, None]
        return np.concatenate([ones, every], axis=1)

    def _acted(self, fits: Array) -> Array:
        """Return each block's Σ z zᵀ times its fit, shape (B, 1 + r, t)."""
        slopes = fits[:, 1:] if self.columns is None else self.columns @ fits[:, 1:]
        n, sums, mean = self.blocks.n[:, None], self.blocks.raw_sums, self.blocks.mean
        along = mean[:, None] @ slopes + fits[:, :1]
        every = np.array([raw @ own for raw, own in zip(self.blocks.raw, slopes, strict=True)])
        every -= sums[:, :, None] * (sums[:, None] @ slopes / n)
        every += n * mean[:, :, None] * along
        if self.columns is not None:
            every = self.columns.T @ every
        return np.concatenate([n * along, every], axis=1)


_TINY = 1e-300
