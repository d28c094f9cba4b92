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
from nrcscan.statistics.moments import Array, Moments, Statistics

SMALL_ENOUGH = 1e-5
"""Of a residual, beside the fit itself: errors are then known to far less than their spread."""

_MOST_STEPS = 50


@dataclass(frozen=True, eq=False)
class WideFits:
    """Fits along directions of the total, of shape (B, 1 + r, t): an intercept, then slopes.

    Attributes:
        parts: the sums of each block.
        total: what they come to together.
        targets: of the blocks.
        columns: orthonormal directions (d, r); None for all.
    """

    parts: list[Moments]
    total: Statistics
    targets: Targets
    columns: Array | None

    def errors(self) -> Fits:
        """Return the errors of fits that leave out a block."""
        n, rest = self.targets.n_samples[:, None], self.targets.rest[:, None]
        at = self.targets.mean - self.total.target_mean
        y = n * (np.diagonal(self.targets.covariance, axis1=1, axis2=2) + at**2)
        whole = self._whole_beside()
        beside = self._beside(at)
        first = self._undone(whole)[None].repeat(len(n), axis=0)
        fits = self._without(first, whole - beside)
        acted = self._acted(fits)
        held_out = np.maximum(y + (fits * (acted - 2 * beside)).sum(axis=1), 0.0)
        left = self._times(fits) - acted
        y_left = y.sum(axis=0) - y
        others = np.maximum(y_left + (fits * (left - 2 * (whole - beside))).sum(axis=1), 0.0)
        # To first order in what leaving out a second block changes.
        moved = fits - first
        change = -2 * np.einsum("jrt,brt->bjt", beside - acted, moved)
        change[np.arange(len(n)), np.arange(len(n))] = -held_out
        level = (moved * (self._times(moved) - self._acted(moved))).sum(axis=1)
        of_others = (held_out + change).sum(axis=1) + level
        return Fits(held_out / n, others / rest, of_others / rest)

    def _without(self, fits: Array, sides: Array) -> Array:
        """Return the fits without each block, from those of the total."""
        residual = sides - self._times(fits) + self._acted(fits)
        step = self._undone(residual)
        size = (residual * step).sum(axis=1, keepdims=True)
        scale = (sides * self._undone(sides)).sum(axis=1, keepdims=True)
        for _ in range(_MOST_STEPS):
            if (size <= SMALL_ENOUGH**2 * scale).all():
                break
            along = self._times(step) - self._acted(step)
            length = size / np.maximum((step * along).sum(axis=1, keepdims=True), _TINY)
            fits = fits + length * step
            residual = residual - length * along
            undone = self._undone(residual)
            before, size = size, (residual * undone).sum(axis=1, keepdims=True)
            step = undone + size / np.maximum(before, _TINY) * step
        return fits

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

    def _beside(self, y_at: Array) -> Array:
        """Return each block's Σ z yᵀ about the total's means, shape (B, 1 + r, t)."""
        d, found = len(self.total.feature_mean), []
        for part, y in zip(self.parts, y_at, strict=True):
            n, _, products = part.sums
            sums = products[:d, -1]
            own = products[:d, d:-1] - np.outer(sums, products[d:-1, -1] / n)
            found.append(own + n * np.outer(self._mean(part), y))
        every = np.array(found)
        if self.columns is not None:
            every = self.columns.T @ every
        ones = (self.targets.n_samples[:, None] * y_at)[:, None]
        return np.concatenate([ones, every], axis=1)

    def _mean(self, part: Moments) -> Array:
        """Return how far the mean of a block's features is from the total's."""
        n, shift, products = part.sums
        d = len(self.total.feature_mean)
        return np.asarray(shift[:d] + products[:d, -1] / n - self.total.feature_mean)

    def _acted(self, fits: Array) -> Array:
        """Return each block's Σ z zᵀ times its fit, shape (B, 1 + r, t)."""
        d = len(self.total.feature_mean)
        slopes = fits[:, 1:] if self.columns is None else self.columns @ fits[:, 1:]
        ones, found = [], []
        for part, level, slope in zip(self.parts, fits[:, :1], slopes, strict=True):
            n, _, products = part.sums
            sums, at = products[:d, -1], self._mean(part)
            along = at @ slope + level
            ones.append(n * along)
            own = products[:d, :d] @ slope - np.outer(sums, sums @ slope / n)
            found.append(own + n * at[:, None] * along)
        every = np.array(found)
        if self.columns is not None:
            every = self.columns.T @ every
        return np.concatenate([np.array(ones), every], axis=1)


_TINY = 1e-300
