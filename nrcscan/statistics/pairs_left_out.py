"""Errors of linear fits without pairs of blocks of samples, from fits without either of the two.

There are B²/2 pairs: a factorisation for each would take longer than all else. With A the sums of
all samples, S_b those of block b, w the fit to all, w_b that without b, and δ_b = w_b − w: the
fit without i and j is w_i + δ_j but for c, where (A − S_i − S_j) c = S_i δ_j + S_j δ_i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrcscan.statistics.moments import Array

FAR = 20
"""Samples per direction from which on c is small: A in place of the sums that are left will do."""


@dataclass(frozen=True, eq=False)
class PairsLeftOut:
    """What fits without a block say of fits without another one too.

    Attributes:
        whole: A, shape (r, r).
        blocks: S, shape (B, r, r).
        moved: δ, shape (B, r, t).
        slopes: half the gradient of each block's error at its own fit, shape (B, r, t).
        held_out: error on each block of its own fit, shape (B, t).
        n_samples: of each block, shape (B,).
    """

    whole: Array
    blocks: Array
    moved: Array
    slopes: Array
    held_out: Array
    n_samples: Array

    def errors(self) -> Array:
        """Return the errors without each block, summed over the others, shape (B, t).

        Each of the others is predicted by a fit that has seen neither.
        """
        b, r, t = self.moved.shape
        every = np.ascontiguousarray(self.moved.transpose(1, 0, 2)).reshape(r, b * t)
        acted = (self.blocks @ every).reshape(b, r, b, t)  # S_j δ_i
        both = np.einsum("irt,jrit->jit", self.moved, acted)
        found = self.held_out[:, None] + both
        found += 2 * np.einsum("jrt,irt->jit", self.slopes, self.moved, optimize=True)
        if self.n_samples.sum() >= FAR * r:
            own = acted[np.arange(b), :, np.arange(b)]  # S_j δ_j
            left = 1 - (self.n_samples[:, None] + self.n_samples) / self.n_samples.sum()
            first = np.einsum("jrt,irt->jit", own, self.moved, optimize=True)
            found += 2 * (first + both.swapaxes(0, 1)) / left[:, :, None]
        else:
            found += self._steps(acted)
        found[np.arange(b), np.arange(b)] = 0.0
        return np.maximum(found.sum(axis=0), 0.0)

    def _steps(self, acted: Array) -> Array:
        """Return by how much c changes errors, for c as found by a step of conjugate gradients.

        Args:
            acted: S_j δ_i, shape (B of j, r, B of i, t).
        """
        b, r, t = self.moved.shape
        sides = acted + acted.transpose(2, 1, 0, 3)
        # How long a step is makes up for what rounding there is in an inverse.
        step = np.linalg.inv(self.whole) @ sides.reshape(b, r, b * t)
        on_block = (self.blocks @ step).reshape(b, r, b, t)
        step = step.reshape(b, r, b, t)
        square = np.einsum("jrit,jrit->jit", step, on_block)
        along = np.einsum("jrit,jrit->jit", step, sides)
        left = along - square - square.swapaxes(0, 1)
        length = np.divide(along, left, out=np.zeros_like(along), where=left > 0)
        slope = np.einsum("jrit,jrit->jit", step, acted + self.slopes[:, :, None])
        return np.asarray(length * (2 * slope + length * square))
