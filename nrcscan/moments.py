"""Running moments of features and targets: one pass, float64, any batch size, mergeable.

Everything that Deep NRC measures follows from a count, two means and three centred
covariances. They are accumulated about a *shift* close to the mean, because raw second
moments minus the squared mean cancel exactly the small eigenvalues of interest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BLOCK_ROWS = 1024
"""Rows taken up by one update of the sums, however they arrive."""


@dataclass(frozen=True)
class Statistics:
    """What one pass over features H and targets Y leaves behind, normalised by N.

    Attributes:
        n_samples: N.
        feature_mean: μ_H, shape (width,).
        target_mean: μ_Y, shape (n_targets,).
        feature_covariance: Σ_H, shape (width, width).
        cross_covariance: Σ_HY, shape (width, n_targets).
        target_covariance: Σ_Y, shape (n_targets, n_targets).
    """

    n_samples: int
    feature_mean: Array
    target_mean: Array
    feature_covariance: Array
    cross_covariance: Array
    target_covariance: Array


class Moments:
    """Accumulates the moments of features (n_samples, width) beside targets (n_samples, n_targets).

    Rows are gathered into blocks of a fixed size, so the same rows in the same order give
    the same bits whatever batches they arrive in. Memory is O((width + n_targets)²).

    >>> moments = Moments(width=2, n_targets=1)
    >>> moments.update([[1.0, 0.0], [3.0, 0.0]], [[1.0], [2.0]])
    >>> moments.statistics().feature_covariance
    array([[1., 0.],
           [0., 0.]])
    """

    def __init__(self, width: int, n_targets: int) -> None:
        if width < 1 or n_targets < 1:
            raise ValueError(f"width and n_targets must be positive, got {width} and {n_targets}")
        self.width = width
        self.n_targets = n_targets
        size = width + n_targets
        self._n = 0
        self._shift = np.zeros(size)
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))
        self._block = np.empty((BLOCK_ROWS, size))
        self._filled = 0

    @property
    def n_samples(self) -> int:
        """How many samples have been seen."""
        return self._n + self._filled

    def update(self, features: ArrayLike | Any, targets: ArrayLike | Any) -> None:
        """Take in a batch.

        Args:
            features: array or CPU tensor of shape (n, width), any real dtype.
            targets: array or CPU tensor of shape (n, n_targets).

        Raises:
            ValueError: the shapes are not these, or a value is NaN or infinite. The
                moments are then as they were before the call.
        """
        new_features = _rows(features, "features", self.width)
        new_targets = _rows(targets, "targets", self.n_targets)
        if len(new_features) != len(new_targets):
            raise ValueError(
                f"{len(new_features)} rows of features but {len(new_targets)} rows of targets"
            )
        start = 0
        while start < len(new_features):
            stop = min(len(new_features), start + BLOCK_ROWS - self._filled)
            rows = slice(self._filled, self._filled + stop - start)
            self._block[rows, : self.width] = new_features[start:stop]
            self._block[rows, self.width :] = new_targets[start:stop]
            self._filled = rows.stop
            start = stop
            if self._filled == BLOCK_ROWS:
                self._add(*_block_sums(self._block, self._shift_for(self._block)))
                self._filled = 0

    def merge(self, other: Moments) -> None:
        """Take in everything that another accumulator has seen.

        Merged equals having seen both, and an empty accumulator is neutral.

        Raises:
            ValueError: the other one has another width or number of targets.
        """
        if (self.width, self.n_targets) != (other.width, other.n_targets):
            raise ValueError(
                f"moments of width {other.width} with {other.n_targets} targets cannot be merged"
                f" into width {self.width} with {self.n_targets} targets"
            )
        theirs = other._closed()
        self._n, self._shift, self._sum, self._products = self._closed()
        self._filled = 0
        self._add(*theirs)

    def statistics(self) -> Statistics:
        """Return the means and centred covariances of all samples so far.

        Raises:
            ValueError: no sample has been seen, or the values' squares overflow float64.
        """
        n, shift, total, products = self._closed()
        if n == 0:
            raise ValueError("no samples: means and covariances are undefined")
        if not np.isfinite(products).all():
            raise ValueError("the values are too large: their squares exceed float64")
        offset = total / n
        covariance = products / n - np.outer(offset, offset)
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
        mean = shift + offset
        d = self.width
        return Statistics(
            n_samples=n,
            feature_mean=mean[:d],
            target_mean=mean[d:],
            feature_covariance=covariance[:d, :d],
            cross_covariance=covariance[:d, d:],
            target_covariance=covariance[d:, d:],
        )

    @classmethod
    def from_statistics(cls, statistics: Statistics) -> Moments:
        """Return an accumulator that has seen what these statistics were made from."""
        s = statistics
        moments = cls(len(s.feature_mean), len(s.target_mean))
        moments._n = s.n_samples
        moments._shift = np.concatenate([s.feature_mean, s.target_mean])
        moments._products = s.n_samples * np.block(
            [
                [s.feature_covariance, s.cross_covariance],
                [s.cross_covariance.T, s.target_covariance],
            ]
        )
        return moments

    def _shift_for(self, block: Array) -> Array:
        """Return the shift in force, or the one that this first block suggests."""
        if self._n:
            return self._shift
        # A column that does not vary is shifted by its very value: its variance is then exactly 0.
        mean: Array = block.mean(axis=0)
        return np.where(np.ptp(block, axis=0) == 0, block[0], mean)

    def _closed(self) -> tuple[int, Array, Array, Array]:
        """Return count, shift, sum and products with the unfinished block counted in."""
        if self._filled == 0:
            return self._n, self._shift, self._sum, self._products
        block = self._block[: self._filled]
        n, shift, total, products = _block_sums(block, self._shift_for(block))
        return self._n + n, shift, self._sum + total, self._products + products

    def _add(self, n: int, shift: Array, total: Array, products: Array) -> None:
        """Add sums taken about any shift, moving them to ours."""
        if n == 0:
            return
        if self._n == 0:
            self._shift = shift
        move = shift - self._shift
        if move.any():
            cross = np.outer(move, total)
            products = products + cross + cross.T + n * np.outer(move, move)
            total = total + n * move
        self._n += n
        self._sum += total
        self._products += products


def _block_sums(block: Array, shift: Array) -> tuple[int, Array, Array, Array]:
    """Return count, shift, Σ(z − shift) and Σ(z − shift)(z − shift)ᵀ of one block of rows z."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is told when asked for
        centred = block - shift
        return len(block), shift, centred.sum(axis=0), centred.T @ centred


def _rows(values: ArrayLike | Any, what: str, width: int) -> NDArray[Any]:
    """Return `values` as a finite real array of shape (n, width)."""
    if hasattr(values, "detach"):  # a tensor: NumPy knows neither gradients nor bfloat16
        values = values.detach().cpu()
        values = values if values.dtype.itemsize > 2 else values.double()
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{what} must have shape (n, {width}), got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} must be real numbers, got dtype {array.dtype}")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{what} hold {array[row, column]} at row {row}, column {column}")
    return array
