"""Running moments of features and targets: one pass, any batch size, mergeable.

Everything that Deep NRC measures follows from a count, two means and three centred
covariances. They are accumulated about a *shift* close to the mean, because raw second
moments minus the squared mean cancel exactly the small eigenvalues of interest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nrcscan.options import Precision

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

    @property
    def variances(self) -> Array:
        """The diagonal of Σ_H, shape (width,)."""
        return np.diagonal(self.feature_covariance)


class _Sums(NamedTuple):
    """Sums over n samples z = [h, y, 1], shifted by `shift` except for the 1.

    `products` is Σ z rᵀ, where r is z itself or a projection of it: its last column holds Σ z,
    its last row Σ r. `squares` is Σ h², element by element, where `products` does not hold it.
    """

    n: int
    shift: Array
    products: Array
    squares: Array


class Moments:
    """Accumulates the moments of features (n_samples, width) beside targets (n_samples, n_targets).

    Rows are gathered into blocks of a fixed size, so the same rows in the same order give
    the same bits whatever batches they arrive in. Memory is O((width + n_targets)²).

    Args:
        width: d.
        n_targets: t.
        precision: of the products within a block; sums over blocks, and the shift, are float64.

    >>> moments = Moments(width=2, n_targets=1)
    >>> moments.update([[1.0, 0.0], [3.0, 0.0]], [[1.0], [2.0]])
    >>> moments.statistics().feature_covariance
    array([[1., 0.],
           [0., 0.]])
    """

    def __init__(self, width: int, n_targets: int, *, precision: Precision = "float64") -> None:
        if width < 1 or n_targets < 1:
            raise ValueError(f"width and n_targets must be positive, got {width} and {n_targets}")
        self.width = width
        self.n_targets = n_targets
        self.precision = precision
        self._dtype = np.dtype(precision)
        self._known: _Sums | None = None
        self._block = np.empty((0, 0))
        self._filled = 0
        self._narrow_shift: NDArray[np.float32] | None = None

    @property
    def n_samples(self) -> int:
        """How many samples have been seen."""
        return self._filled + (self._known.n if self._known else 0)

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
        self.take(new_features, new_targets)

    def take(self, features: NDArray[Any], targets: NDArray[Any]) -> None:
        """Take in a batch that is known to be finite and of the right shape; see `update`."""
        if not self._filled:
            self._renew_block()
        start = 0
        while start < len(features):
            stop = min(len(features), start + BLOCK_ROWS - self._filled)
            rows = self._block[self._filled : self._filled + stop - start]
            self._write(rows[:, : self.width], features[start:stop], slice(self.width))
            self._write(rows[:, self.width : -1], targets[start:stop], slice(self.width, None))
            self._filled += stop - start
            start = stop
            if self._filled == BLOCK_ROWS:
                self._known = self._closed()
                self._filled = 0
                self._renew_block()

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
        theirs = other._closed(copy=True)
        self._known = self._plus(self._closed(), theirs)
        self._filled = 0

    def absorb(self, n: int, shift: Array, products: Array, squares: Array) -> None:
        """Take over sums of n samples that were added up elsewhere, as `_Sums` describes them."""
        self._known = self._plus(self._closed(), _Sums(n, shift, products, squares))
        self._filled = 0

    def statistics(self) -> Statistics:
        """Return the means and centred covariances of all samples so far.

        Raises:
            ValueError: no sample has been seen, or the values' squares overflow float64.
        """
        n, mean, covariance, _ = self._centred()
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
        d = self.width
        return Statistics(
            n_samples=n,
            feature_mean=mean[:d],
            target_mean=mean[d:],
            feature_covariance=covariance[:d, :d].copy(),
            cross_covariance=covariance[:d, d:].copy(),
            target_covariance=covariance[d:, d:].copy(),
        )

    @classmethod
    def from_statistics(cls, statistics: Statistics) -> Moments:
        """Return an accumulator that has seen what these statistics were made from."""
        s = statistics
        moments = cls(len(s.feature_mean), len(s.target_mean))
        size = moments.width + moments.n_targets
        products = np.zeros((size + 1, size + 1))
        products[:size, :size] = s.n_samples * np.block(
            [
                [s.feature_covariance, s.cross_covariance],
                [s.cross_covariance.T, s.target_covariance],
            ]
        )
        products[size, size] = s.n_samples
        shift = np.concatenate([s.feature_mean, s.target_mean])
        moments._known = _Sums(s.n_samples, shift, products, np.empty(0))
        return moments

    def _right(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return what the rows z of a block (n, d + t + 1) are multiplied with: themselves."""
        return rows

    def _squares(self, rows: NDArray[Any]) -> Array:
        """Return Σ h² of a block's features, where the products do not hold it: nothing."""
        return np.empty(0)

    def _centred(self) -> tuple[int, Array, Array, Array]:
        """Return n, the mean (d + t,), Σ z rᵀ about it and Σ h² about it, both divided by n."""
        known = self._closed(copy=True)
        if known is None:
            raise ValueError("no samples: means and covariances are undefined")
        n, shift, products, squares = known
        if not np.isfinite(products).all():
            raise ValueError("the values are too large: their squares exceed float64")
        products /= n
        left, right = products[:-1, -1].copy(), products[-1, :-1].copy()
        centred = products[:-1, :-1]
        centred -= np.outer(left, right)
        return n, shift + left, centred, squares / n - left[: len(squares)] ** 2

    def _renew_block(self) -> None:
        """Have a block to write to: as wide as float64 until the shift is known."""
        dtype = np.dtype(np.float64) if self._known is None else self._dtype
        if self._block.size == 0 or self._block.dtype != dtype:
            self._block = np.empty((BLOCK_ROWS, self.width + self.n_targets + 1), dtype)
            self._block[:, -1] = 1
        if self._known is not None and self._dtype == np.float32:
            narrow = self._known.shift.astype(np.float32)
            self._narrow_shift = narrow if (narrow == self._known.shift).all() else None

    def _write(self, to: NDArray[Any], rows: NDArray[Any], columns: slice) -> None:
        """Write rows into a block: shifted, once the shift is known."""
        if self._known is None:
            to[...] = rows
            return
        shift: NDArray[Any] = self._known.shift
        if rows.dtype == np.float32 and self._narrow_shift is not None:
            shift = self._narrow_shift  # the same numbers: the subtraction stays in float32
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is told when asked for
            np.subtract(rows, shift[columns], out=to, casting="same_kind")

    def _closed(self, *, copy: bool = False) -> _Sums | None:
        """Return all sums with the unfinished block counted in, ours to keep or a copy."""
        known = self._known
        if copy and known is not None:
            known = known._replace(products=known.products.copy(), squares=known.squares.copy())
        if not self._filled:
            return known
        block = self._block[: self._filled]
        with np.errstate(over="ignore", invalid="ignore"):
            if known is None:
                shift = self._shift_for(block[:, :-1])
                shifted = (block - np.append(shift, 0.0)).astype(self._dtype, copy=False)
                products = (shifted.T @ self._right(shifted)).astype(np.float64, copy=False)
                return _Sums(self._filled, shift, products, self._squares(shifted))
            products = known.products
            products += block.T @ self._right(block)
            squares = known.squares + self._squares(block)
        return _Sums(known.n + self._filled, known.shift, products, squares)

    def _shift_for(self, block: Array) -> Array:
        """Return the shift that the first rows suggest."""
        # A column that does not vary is shifted by its very value: its variance is then exactly 0.
        mean = block.mean(axis=0).astype(self._dtype).astype(np.float64)
        return np.where(np.ptp(block, axis=0) == 0, block[0], mean)

    def _plus(self, ours: _Sums | None, theirs: _Sums | None) -> _Sums | None:
        """Return two sums as one, about the shift of the first."""
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        products, squares = theirs.products, theirs.squares
        move = np.append(theirs.shift - ours.shift, 0.0)
        if move.any():
            left, right = products[:, -1].copy(), products[-1].copy()
            moved = self._right(move[None])[0]
            squares = squares + (2 * left * move + theirs.n * move**2)[: len(squares)]
            products += np.outer(left, moved)
            products += np.outer(move, right + theirs.n * moved)
        products += ours.products
        return _Sums(ours.n + theirs.n, ours.shift, products, squares + ours.squares)


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
