"""A randomised sketch of Σ_H, for layers too wide for the whole: cost d·rank per sample, not d².

The sketch is Σ_H Ω for a fixed test matrix Ω of a few orthonormal columns, beside exact means,
variances and Σ_HY. From it follows the Nyström approximation, which lies below Σ_H in every
direction; what it misses has the trace of Σ_H minus its own, and so is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import DTypeLike, NDArray

from nrcscan.options.choices import Precision
from nrcscan.statistics.moments import Array, Moments, subtract
from nrcscan.statistics.scratch_memory import workspace

SEED = 20260
"""Of the test matrices: the same layer is sketched alike in every run and every shard."""

SEEN_BY = 8
"""Columns of a test matrix that each feature has a part in: more add cost, and little accuracy."""

_RUN = 128
"""Rows whose squares are added up in the block's own precision."""


@dataclass(frozen=True)
class Sketched:
    """What a pass leaves behind where Σ_H was sketched, normalised by N.

    Attributes:
        n_samples: N.
        feature_mean: μ_H, shape (width,).
        target_mean: μ_Y, shape (n_targets,).
        variances: the diagonal of Σ_H, shape (width,).
        test_matrix: Ω, orthonormal columns, shape (width, rank).
        sketch: Σ_H Ω, shape (width, rank).
        cross_covariance: Σ_HY, shape (width, n_targets).
        target_covariance: Σ_Y, shape (n_targets, n_targets).
    """

    n_samples: int
    feature_mean: Array
    target_mean: Array
    variances: Array
    test_matrix: Array
    sketch: Array
    cross_covariance: Array
    target_covariance: Array


class Sketch(Moments):
    """Accumulates a sketch of the features' covariance; merges with one of the same test matrix.

    Args:
        test_matrix: Ω, orthonormal columns, shape (width, rank).
        n_targets: t.
        precision: of the products within a block.
    """

    def __init__(
        self, test_matrix: Array, n_targets: int, *, precision: Precision = "float64"
    ) -> None:
        super().__init__(len(test_matrix), n_targets, precision=precision)
        self.test_matrix = test_matrix
        self._pieces = _pieces(test_matrix, self._dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Return what it has, but for what follows from the test matrix."""
        return {name: one for name, one in super().__getstate__().items() if name != "_pieces"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._pieces = _pieces(self.test_matrix, self._dtype)

    def merge(self, other: Moments, *, spoil: bool = False) -> None:
        """Take in everything that another sketch has seen, as `Moments.merge` does.

        Raises:
            ValueError: the other one has another test matrix.
        """
        if not isinstance(other, Sketch) or not np.array_equal(other.test_matrix, self.test_matrix):
            raise ValueError("only sketches with the same test matrix can be merged")
        super().merge(other, spoil=spoil)

    def sketched(self) -> Sketched:
        """Return the sketch, means and variances of all samples so far.

        Raises:
            ValueError: no sample has been seen, or the values' squares overflow float64.
        """
        n, mean, products, variances, _ = self._centred()
        d, t = self.width, self.n_targets
        return Sketched(
            n_samples=n,
            feature_mean=mean[:d],
            target_mean=mean[d:],
            variances=np.maximum(variances, 0.0),
            test_matrix=self.test_matrix,
            sketch=products[:d, :-t].copy(),
            cross_covariance=products[:d, -t:].copy(),
            target_covariance=products[d:, -t:].copy(),
        )

    @classmethod
    def from_sketched(cls, sketched: Sketched) -> Sketch:
        """Return an accumulator that has seen what this was made from."""
        s = sketched
        sketch = cls(s.test_matrix, len(s.target_mean))
        centred = np.block(
            [
                [s.sketch, s.cross_covariance],
                [s.cross_covariance.T @ s.test_matrix, s.target_covariance],
            ]
        )
        sketch._restore(s.n_samples, np.r_[s.feature_mean, s.target_mean], centred, s.variances)
        return sketch

    def _projected(self, z: Array) -> Array:
        """Return what a row z = [h, y, 1] is multiplied with: [Ωᵀ h, y, 1]."""
        return np.concatenate([z[: self.width] @ self.test_matrix, z[self.width :]])

    def _products(
        self, features: NDArray[Any], targets: Array, shift: Array
    ) -> tuple[NDArray[Any], Array, Array | None]:
        """Return Σ z rᵀ and Σ h² of some rows, without norms: no sketch can move them."""
        n, d, r = len(features), self.width, self.test_matrix.shape[1]
        dtype = self._dtype_for(features, targets, shift)
        h = workspace.array("rows", (n, d), dtype)
        subtract(features, shift[:d], h)
        right = workspace.array("right", (n, r + self.n_targets + 1), dtype)
        pieces = self._pieces if dtype == self._dtype else _pieces(self.test_matrix, dtype)
        for rows, columns, piece in pieces:
            np.matmul(h[:, rows], piece, out=right[:, columns])
        subtract(targets, shift[d:], right[:, r:-1])
        right[:, -1] = 1
        products = workspace.array("products", (len(shift) + 1, right.shape[1]), dtype)
        np.matmul(h.T, right, out=products[:d])
        np.matmul(right[:, r:].T, right, out=products[d:])
        return products, _squares(h), None


def _squares(rows: NDArray[Any]) -> Array:
    """Return Σ h² of rows, column by column, long sums in float64."""
    whole = len(rows) // _RUN * _RUN
    runs = rows[:whole].reshape(-1, _RUN, rows.shape[1])
    rest = rows[whole:]
    total: Array = np.einsum("kij,kij->kj", runs, runs).sum(axis=0, dtype=np.float64)
    total += np.einsum("ij,ij->j", rest, rest)
    return total


def _pieces(matrix: Array, dtype: DTypeLike) -> list[tuple[slice, slice, NDArray[Any]]]:
    """Return a matrix as pieces outside of which it is zero: their rows, columns and values."""
    extents = []
    for column in matrix.T:
        filled = np.flatnonzero(column)
        extents.append((int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0))
    pieces = []
    for (start, stop), group in groupby(range(len(extents)), key=extents.__getitem__):
        at = list(group)
        rows, columns = slice(start, stop), slice(at[0], at[-1] + 1)
        pieces.append((rows, columns, np.ascontiguousarray(matrix[rows, columns], dtype)))
    return pieces


def test_matrix(width: int, rank: int) -> Array:
    """Return orthonormal random directions Ω, shape (width, min(rank, width)).

    Features are split into groups, and so are the columns, of which each looks at one group:
    every feature is seen by `SEEN_BY` columns or a few more, however many there are.
    """
    rank = min(rank, width)
    groups = max(rank // SEEN_BY, 1)
    draw = np.random.default_rng([SEED, width])
    matrix = np.zeros((width, rank))
    for features, columns in zip(
        np.array_split(np.arange(width), groups),
        np.array_split(np.arange(rank), groups),
        strict=True,
    ):
        block = orthonormal(draw.standard_normal((len(features), len(columns))))
        matrix[np.ix_(features, columns)] = block
    return matrix


test_matrix.__test__ = False  # type: ignore[attr-defined]  # a name that pytest would collect


def orthonormal(columns: Array) -> Array:
    """Return an orthonormal basis of the columns' span, or of more where they are dependent."""
    basis, _ = scipy.linalg.qr(columns, mode="economic", check_finite=False)
    return np.ascontiguousarray(basis)


ROUNDINGS_OF_A_COLUMN = 4
"""Rounding of the sketch in any direction, as a multiple of ε times the trace.

Of the n·d errors that it sums, of either sign and below ε/2 each, little is left; 4 is room for
blocks whose shift is not their mean.
"""


def nystrom(sketched: Sketched, epsilon: float) -> tuple[Array, Array, float, float]:
    """Return eigenvalues (m,), descending, and vectors (d, m) of the Nyström approximation.

    Also returns the trace of what it misses of Σ_H, which is positive semidefinite, and how far
    the rounding of the products can move what it has: a direction of the core has a weight w, and
    carries c = ‖Σ_H Ω b‖²/w. An error e of both moves c by (c/w)·e + 2·√(c/w)·e, but by no more
    than all of it. Directions are rounded apart from each other, so their errors add in squares.

    Args:
        sketched: the sketch.
        epsilon: machine epsilon of the products. Directions of the core whose weight is below
            10 of its roundings are left out: the root of such a weight, which divides its column,
            is mostly rounding. What they carry counts as missed.
    """
    trace = float(sketched.variances.sum())
    core = sketched.test_matrix.T @ sketched.sketch
    weights, basis = scipy.linalg.eigh((core + core.T) / 2, check_finite=False)
    kept = weights > 10 * epsilon * max(weights[-1], 0.0)
    factor = (sketched.sketch @ basis[:, kept]) / np.sqrt(weights[kept])
    vectors, values, _ = scipy.linalg.svd(factor, full_matrices=False, check_finite=False)
    eigenvalues = values**2
    carried = (factor**2).sum(axis=0)
    error = ROUNDINGS_OF_A_COLUMN * epsilon * trace
    stretched = carried / weights[kept]
    moved = np.minimum(stretched * error + 2 * np.sqrt(stretched) * error, carried)
    missed = max(trace - float(eigenvalues.sum()), 0.0)
    return eigenvalues, vectors, missed, math.hypot(*moved)  # squares may exceed float64
