"""Running moments of features and targets: one pass, any batch size, mergeable.

Everything that Deep NRC measures follows from a count, two means and three centred
covariances. They are accumulated about a *shift* close to the mean, because raw second
moments minus the squared mean cancel exactly the small eigenvalues of interest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nrcscan.options.choices import Precision
from nrcscan.statistics.norms import moved, norms_of
from nrcscan.statistics.scratch_memory import workspace

Array = NDArray[np.float64]

BLOCK_ROWS = 1024
"""Rows taken up by one update of the sums, however they arrive."""

NARROW = 2.0**30
"""Largest distance from the shift that float32 multiplies, and its inverse the least: of three such
factors, as norms take them, it holds the products and sums of a thousand times a thousand."""


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
        norms: of ‖h‖² and ‖y‖², the two rows, the mean products with h, y, ‖h‖² and ‖y‖², all
            about the means, shape (2, width + n_targets + 2); None where they were not kept.
    """

    n_samples: int
    feature_mean: Array
    target_mean: Array
    feature_covariance: Array
    cross_covariance: Array
    target_covariance: Array
    norms: Array | None = None

    @property
    def variances(self) -> Array:
        """The diagonal of Σ_H, shape (width,)."""
        return np.diagonal(self.feature_covariance)


class _Sums(NamedTuple):
    """Sums over n samples z = [h, y, 1], shifted by `shift` except for the 1.

    `products` is Σ z rᵀ, where r is z itself or a projection of it: its last column holds Σ z,
    its last row Σ r. `squares` is Σ h², element by element, where `products` does not hold it.
    `norms` are those of `norms_of`, None where they are not kept.
    """

    n: int
    shift: Array
    products: Array
    squares: Array
    norms: Array | None = None


@dataclass
class _Shift:
    """What accumulators that are to be merged share; known once any of them has rows."""

    values: Array | None = None


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
        self._about: _Shift | None = None
        self._features: NDArray[Any] = np.empty((0, width), np.float32)
        self._targets = np.empty((0, n_targets))
        self._filled = 0

    def __getstate__(self) -> dict[str, Any]:
        """Return what it has: of rows that wait, those alone that are there."""
        there = slice(self._filled)
        waiting = {"_features": self._features[there], "_targets": self._targets[there]}
        return {**vars(self), **waiting}

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

    def take(self, features: NDArray[Any], targets: NDArray[Any]) -> bool:
        """Take in a batch of the right shape, and say whether its features are surely finite.

        They may be so too where the answer is no. If they are not, these moments are spoilt.
        """
        start = 0
        finite = True
        if self._about is not None and self._about.values is None and len(features):
            self._about.values = self._shift_for(features[:BLOCK_ROWS], targets[:BLOCK_ROWS])
        while start < len(features):
            stop = min(len(features), start + BLOCK_ROWS - self._filled)
            rows, y = features[start:stop], targets[start:stop]
            start = stop
            if len(rows) == BLOCK_ROWS:
                self._known = self._with(self._known, rows, y)
                finite &= bool(np.isfinite(self._known.products[:, -1]).all())
                continue
            self._keep(rows, y)
            with np.errstate(over="ignore", invalid="ignore"):
                finite &= bool(np.isfinite(rows.sum()))
            if self._filled == BLOCK_ROWS:
                self._settle()
        return finite

    def merge(self, other: Moments, *, spoil: bool = False) -> None:
        """Take in everything that another accumulator has seen.

        Merged equals having seen both, and an empty accumulator is neutral.

        Args:
            other: of the same width and number of targets.
            spoil: whether the other one is of no more use, and its memory may be taken.

        Raises:
            ValueError: the other one has another width or number of targets.
        """
        if self._known is None and self._about is None:
            self._about = other._about
        if (self.width, self.n_targets) != (other.width, other.n_targets):
            raise ValueError(
                f"moments of width {other.width} with {other.n_targets} targets cannot be merged"
                f" into width {self.width} with {self.n_targets} targets"
            )
        waiting = other._features[: other._filled], other._targets[: other._filled]
        if self._filled + other._filled < BLOCK_ROWS:
            self._keep(*waiting)
            theirs = other._known
            if theirs is not None and not spoil:
                theirs = theirs._replace(products=theirs.products.copy())
        else:
            theirs = other._closed(copy=not spoil)
            self._settle()
        self._known = self._plus(self._known, theirs)

    def close(self) -> None:
        """Count in the rows that wait, and let go of their memory; more may still come."""
        self._settle()
        self._features = np.empty((0, self.width), np.float32)
        self._targets = np.empty((0, self.n_targets))

    def rest(self) -> None:
        """Take as little memory as can be until more rows come: few of them wait as they are."""
        if self._known is not None or self._filled > self.width:
            self.close()
        elif len(self._targets) > self._filled:
            self._features = self._features[: self._filled].copy()
            self._targets = self._targets[: self._filled].copy()

    def fresh(self) -> Moments:
        """Return an empty accumulator about the same shift: to merge both, sums are added."""
        new = Moments(self.width, self.n_targets, precision=self.precision)
        if self._about is None:
            self._about = _Shift()
            if self._known is not None:
                self._about.values = self._known.shift
            elif self._filled:
                waiting = self._features[: self._filled], self._targets[: self._filled]
                self._about.values = self._shift_for(*waiting)
        new._about = self._about
        return new

    @property
    def sums(self) -> tuple[int, Array, Array]:
        """Return n, the shift s (d + t,), and Σ z zᵀ of z = [h, y] - s and a 1; not a copy."""
        self.close()
        if self._known is None:
            raise ValueError("no samples: their sums are undefined")
        return self._known.n, self._known.shift, self._known.products

    @classmethod
    def merged(cls, parts: Sequence[Moments]) -> Moments:
        """Return what merging these in order comes to; they stay as they are."""
        about: dict[bytes, Moments] = {}  # the same shift: to add up what is needs no move
        for part in parts:
            theirs = part._closed(copy=part._filled > 0)
            if theirs is None:
                continue
            new = cls(part.width, part.n_targets, precision=part.precision)
            whole = about.setdefault(theirs.shift.tobytes(), new)
            ours = whole._known
            if ours is None:
                whole._known = theirs._replace(products=theirs.products.copy())
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # overflow is told when asked for
                np.add(ours.products, theirs.products, out=ours.products)
                norms = _sum(ours.norms, theirs.norms)
            whole._known = ours._replace(n=ours.n + theirs.n, norms=norms)
        first, *others = about.values()
        for other in others:
            first._known = first._plus(first._known, other._known)
        return first

    def absorb(
        self, n: int, shift: Array, products: Array, squares: Array, norms: Array | None = None
    ) -> None:
        """Take over sums of n samples that were added up elsewhere, as `_Sums` describes them."""
        self._known = self._plus(self._closed(), _Sums(n, shift, products, squares, norms))
        self._filled = 0

    def statistics(self) -> Statistics:
        """Return the means and centred covariances of all samples so far.

        Raises:
            ValueError: no sample has been seen, or the values' squares overflow float64.
        """
        n, mean, covariance, _, norms = self._centred()
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
        d = self.width
        return Statistics(
            n_samples=n,
            feature_mean=mean[:d],
            target_mean=mean[d:],
            feature_covariance=covariance[:d, :d].copy(),
            cross_covariance=covariance[:d, d:].copy(),
            target_covariance=covariance[d:, d:].copy(),
            norms=norms,
        )

    @classmethod
    def from_statistics(cls, statistics: Statistics) -> Moments:
        """Return an accumulator that has seen what these statistics were made from."""
        s = statistics
        moments = cls(len(s.feature_mean), len(s.target_mean))
        centred = np.block(
            [
                [s.feature_covariance, s.cross_covariance],
                [s.cross_covariance.T, s.target_covariance],
            ]
        )
        mean, norms = np.r_[s.feature_mean, s.target_mean], None
        if s.norms is not None:
            own = [np.trace(s.feature_covariance), np.trace(s.target_covariance)]
            norms = np.insert(s.norms, len(mean), own, axis=1)
        moments._restore(s.n_samples, mean, centred, np.empty(0), norms)
        return moments

    def _projected(self, z: Array) -> Array:
        """Return what a row z = [h, y, 1] is multiplied with: itself."""
        return z

    def _products(
        self, features: NDArray[Any], targets: Array, shift: Array
    ) -> tuple[NDArray[Any], Array, Array | None]:
        """Return Σ z rᵀ, Σ h² and the norms of some rows, as `_Sums` describes them.

        The products may be overwritten by the next ones in this thread.
        """
        d, size = self.width, len(shift) + 1
        dtype = self._dtype_for(features, targets, shift)
        z = workspace.array("rows", (len(features), size), dtype)
        subtract(features, shift[:d], z[:, :d])
        subtract(targets, shift[d:], z[:, d:-1])
        z[:, -1] = 1
        products = workspace.array("products", (size, size), dtype)
        return np.matmul(z.T, z, out=products), np.empty(0), norms_of(z, d)

    def _dtype_for(
        self, features: NDArray[Any], targets: NDArray[Any], shift: Array
    ) -> np.dtype[Any]:
        """Return what some rows are multiplied in: float64 where float32 cannot hold products."""
        if self._dtype == np.float64:
            return self._dtype
        ends = np.array([features.min(axis=0), features.max(axis=0)], np.float64)
        largest = np.append(
            np.abs(ends - shift[: self.width]).max(),  # of any feature, and of each target
            np.abs(targets - shift[self.width :]).max(axis=0),
        )
        held = (largest == 0) | ((largest > 1 / NARROW) & (largest < NARROW))
        return self._dtype if held.all() else np.dtype(np.float64)

    def _centred(self) -> tuple[int, Array, Array, Array, Array | None]:
        """Return n, the mean (d + t,), and Σ z rᵀ, Σ h² and norms about it, divided by n."""
        known = self._closed(copy=True)
        if known is None:
            raise ValueError("no samples: means and covariances are undefined")
        n, shift, products, squares, norms = known
        if not (np.isfinite(products).all() and np.isfinite(squares).all()):
            raise ValueError("the values are too large: their squares exceed float64")
        products /= n
        left, right = products[:-1, -1].copy(), products[-1, :-1].copy()
        if norms is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                norms = np.delete(moved(norms / n, products, -left, self.width), len(left), axis=1)
            norms = norms if np.isfinite(norms).all() else None  # fourth powers overflow sooner
        centred = products[:-1, :-1]
        centred -= np.outer(left, right)
        return n, shift + left, centred, squares / n - left[: len(squares)] ** 2, norms

    def _restore(
        self, n: int, mean: Array, centred: Array, variances: Array, norms: Array | None = None
    ) -> None:
        """Take over what `_centred` returns of other samples."""
        with np.errstate(over="ignore"):  # told when asked for
            products = n * np.pad(centred, (0, 1))
            products[-1, -1] = n
            self.absorb(n, mean, products, n * variances, None if norms is None else n * norms)

    def _keep(self, features: NDArray[Any], targets: NDArray[Any]) -> None:
        """Have rows wait, as they are, for a block to be full."""
        # Narrow floats wait as float32, so that they are the same as if they had not waited.
        narrow = features.dtype.kind == "f" and features.dtype.itemsize <= 4
        stop = self._filled + len(features)
        dtype = (
            self._features.dtype if narrow and self._filled else np.dtype("f4" if narrow else "f8")
        )
        if len(self._targets) < stop or self._features.dtype != dtype:
            own = self._features[: self._filled], self._targets[: self._filled]
            self._features = np.empty((BLOCK_ROWS, self.width), dtype)
            self._targets = np.empty((BLOCK_ROWS, self.n_targets))
            self._features[: self._filled], self._targets[: self._filled] = own
        self._features[self._filled : stop] = features
        self._targets[self._filled : stop] = targets
        self._filled = stop

    def _settle(self) -> None:
        """Count in the rows that wait."""
        self._known = self._closed()
        self._filled = 0

    def _closed(self, *, copy: bool = False) -> _Sums | None:
        """Return all sums with the unfinished block counted in, ours to keep or a copy."""
        known = self._known
        if copy and known is not None:
            known = known._replace(products=known.products.copy(), squares=known.squares.copy())
        if not self._filled:
            return known
        return self._with(known, self._features[: self._filled], self._targets[: self._filled])

    def _with(self, known: _Sums | None, features: NDArray[Any], targets: NDArray[Any]) -> _Sums:
        """Return sums, which are taken over, with some more rows counted in."""
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is told when asked for
            if known is not None:
                shift = known.shift
            elif self._about is None or self._about.values is None:
                shift = self._shift_for(features, targets)
            else:
                shift = self._about.values
            added, squares, norms = self._products(features, targets, shift)
            alone = np.s_[self.width :, -self.n_targets - 1 :]  # of [y, 1] with itself
            exact = None
            if self._dtype != np.float64:  # Σ_Y costs nothing, and bounds take it to be exact
                y = np.pad(targets - shift[self.width :], [(0, 0), (0, 1)], constant_values=1)
                exact = y.T @ y
            if known is None:
                n = 0
                wide = added.dtype != np.float64
                products = added.astype(np.float64) if wide else workspace.own("products", added)
            else:
                n, products = known.n, known.products
                exact = None if exact is None else known.products[alone] + exact
                squares = known.squares + squares
                norms = _sum(known.norms, norms)
                products += added  # last: where memory runs out before, nothing is counted
            if exact is not None:
                products[alone] = exact
        return _Sums(n + len(features), shift, products, squares, norms)

    def _shift_for(self, features: NDArray[Any], targets: NDArray[Any]) -> Array:
        """Return the shift that the first rows suggest."""

        def of(rows: NDArray[Any]) -> Array:
            # What does not vary is shifted by its very value: its variance is then exactly 0.
            mean = rows.mean(axis=0, dtype=np.float64)
            if rows.dtype == self._dtype:  # to subtract it in that precision
                mean = mean.astype(self._dtype).astype(np.float64)
            return np.where(rows.min(axis=0) == rows.max(axis=0), rows[0], mean)

        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([of(features), of(targets)])

    def _plus(self, ours: _Sums | None, theirs: _Sums | None) -> _Sums | None:
        """Return two sums as one, about the shift of the first."""
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        products, squares, norms = theirs.products, theirs.squares, theirs.norms
        move = np.append(theirs.shift - ours.shift, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is told when asked for
            if move.any():
                if norms is not None:
                    norms = moved(norms, products, move[:-1], self.width)
                left, right = products[:, -1].copy(), products[-1].copy()
                projected = self._projected(move)
                squares = squares + (2 * left * move + theirs.n * move**2)[: len(squares)]
                both = np.stack([left, move]), np.stack([projected, right + theirs.n * projected])
                added = workspace.array("moved", products.shape, np.float64)
                products += np.matmul(both[0].T, both[1], out=added)
            products += ours.products
            squares = squares + ours.squares
            norms = _sum(ours.norms, norms)
        return _Sums(ours.n + theirs.n, ours.shift, products, squares, norms)


PARTS_OF_MOMENTS = (Moments, _Sums, _Shift)
"""What saved ones are made of."""


def _sum(ours: Array | None, theirs: Array | None) -> Array | None:
    """Return the sum of what both have kept."""
    return None if ours is None or theirs is None else ours + theirs


def subtract(rows: NDArray[Any], shift: Array, out: NDArray[Any]) -> None:
    """Write rows less a shift, in the precision of `out` where that loses nothing."""
    by: NDArray[Any] = shift
    if rows.dtype == out.dtype == np.float32:
        narrow = shift.astype(np.float32)
        by = narrow if (narrow == shift).all() else shift
    np.subtract(rows, by, out=out, casting="same_kind")


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
