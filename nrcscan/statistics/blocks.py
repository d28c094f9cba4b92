"""What is kept of blocks of samples beside their total: enough to leave any of them out.

The spread of a quantity over samples follows from its values without each block. Whole sums of
every block would take as much memory as that many files, so a digest of them is kept: the
covariance of a block along a few directions, which hold the features' top ones with room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nrcscan.statistics.moments import Array, Moments, Statistics

FEWEST = 5
"""Fewer blocks say too little of a spread: its own relative error would be over a third."""

MOST = 40
"""Of more blocks than these, neighbours are merged."""


@dataclass(frozen=True)
class Targets:
    """The targets of blocks of samples, and the network's errors on them.

    Attributes:
        n_samples: of each block, shape (B,).
        mean: of the targets, shape (B, t).
        covariance: of the targets within a block, shape (B, t, t).
        squared_error: the network's mean squared error, shape (B, t); None without predictions.
    """

    n_samples: Array
    mean: Array
    covariance: Array
    squared_error: Array | None

    @property
    def rest(self) -> Array:
        """How many samples are left without each block, shape (B,)."""
        left: Array = self.n_samples.sum() - self.n_samples
        return left

    def left_out(self, of_block: Array) -> Array:
        """Return means over the other samples from means over each block, shape (B, …)."""
        n = self.n_samples.reshape(-1, *[1] * (of_block.ndim - 1))
        sums = n * of_block
        left: Array = (sums.sum(axis=0) - sums) / (n.sum(axis=0) - n)
        return left

    def pooled(self) -> Targets:
        """Return those of pairs of neighbours as one block each; a last odd one stays."""
        n, mean = _paired(self.n_samples, self.mean)
        apart = _apart(self.mean, mean)
        error = self.squared_error
        return Targets(
            n,
            mean,
            _paired(self.n_samples, self.covariance + _outer(apart, apart))[1],
            None if error is None else _paired(self.n_samples, error)[1],
        )


@dataclass(frozen=True)
class Fits:
    """Mean squared errors of linear fits, per block and target, shape (B, t) each.

    Attributes:
        held_out: on a block, of the fit on all others.
        others: on all others, of the fit on them.
        held_out_of_others: of the others, each by the fit on all but itself and this block.
    """

    held_out: Array
    others: Array
    held_out_of_others: Array

    def pooled(self, n: Array) -> Fits:
        """Return pairs of neighbours, of n samples each (B,), as one block each.

        A fit has left out one of the two; what leaving out changes adds up.
        """
        return Fits(
            _paired(n, self.held_out)[1],
            _both_left_out(n, self.others),
            _both_left_out(n, self.held_out_of_others),
        )


@dataclass(frozen=True)
class Blocks:
    """The digest of a position's blocks of samples.

    Attributes:
        targets: of the blocks.
        feature_mean: shape (B, d).
        cross_covariance: Σ_HY within each block, shape (B, d, t).
        trace: of Σ_H within each block, shape (B,).
        inner: ⟨Σ_H, Σ_H,b⟩ of the total with each block, shape (B,).
        basis: Q, orthonormal columns that hold the top directions of the total, shape (d, m).
        along: Σ_H,b Q of each block, shape (B, d, m).
        fits: errors of linear fits; None where the features' rank is over half of the samples.
    """

    targets: Targets
    feature_mean: Array
    cross_covariance: Array
    trace: Array
    inner: Array
    basis: Array
    along: Array
    fits: Fits | None

    @property
    def n_samples(self) -> Array:
        """Of each block, shape (B,)."""
        return self.targets.n_samples

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        fits = () if self.fits is None else vars(self.fits).values()
        return all(np.isfinite(a).all() for a in (self.along, self.inner, self.trace, *fits))

    def __len__(self) -> int:
        """Return B."""
        return len(self.n_samples)

    def pooled(self, covariance: Array) -> Blocks:
        """Return pairs of neighbours as one block each; a last odd one stays.

        The errors of fits are averages: each fit has left out one of the two.

        Args:
            covariance: Σ_H of the total, shape (d, d).
        """
        n, targets = self.n_samples, self.targets.pooled()
        _, mean = _paired(n, self.feature_mean)
        apart, y_apart = _apart(self.feature_mean, mean), _apart(self.targets.mean, targets.mean)
        return replace(
            self,
            targets=targets,
            feature_mean=mean,
            cross_covariance=_paired(n, self.cross_covariance + _outer(apart, y_apart))[1],
            trace=_paired(n, self.trace + (apart**2).sum(axis=1))[1],
            inner=_paired(n, self.inner + ((apart @ covariance) * apart).sum(axis=1))[1],
            along=_paired(n, self.along + _outer(apart, apart @ self.basis))[1],
            fits=None if self.fits is None else self.fits.pooled(n),
        )


def _apart(blocks: Array, of_pairs: Array) -> Array:
    """Return how far what blocks have is from what their pairs have, shape (B, …)."""
    left: Array = blocks - np.repeat(of_pairs, 2, axis=0)[: len(blocks)]
    return left


def _outer(a: Array, b: Array) -> Array:
    """Return the outer product of every row, shape (B, …, …)."""
    return a[:, :, None] * b[:, None, :]


def _both_left_out(n: Array, without: Array) -> Array:
    """Return values without pairs of neighbours from those without either, shape (B, t)."""
    rest = n.sum() - n
    middle = np.average(without, axis=0, weights=rest)
    both, pull = _paired(n, (rest / n)[:, None] * (without - middle))
    return np.asarray(middle + pull * (both / (n.sum() - both))[:, None])


def _paired(n: Array, values: Array) -> tuple[Array, Array]:
    """Return how many samples pairs of neighbours have, and the mean of values over them."""
    starts = np.arange(0, len(n), 2)
    axes = [1] * (values.ndim - 1)
    both, first = np.add.reduceat(n, starts), values[starts]
    # About the first of each pair: the mean of what is the same in both is that very value.
    sums = np.add.reduceat(n.reshape(-1, *axes) * _apart(values, first), starts)
    return both, first + sums / both.reshape(-1, *axes)


def top_directions(covariance: Array, count: int) -> Array:
    """Return orthonormal columns (d, count) that hold the top directions of a covariance.

    Subspace iteration from as many columns; of what is narrow, its eigenvectors.
    """
    d = len(covariance)
    if count >= d:
        return np.eye(d)
    if d <= _NARROW:
        return np.ascontiguousarray(np.linalg.eigh(covariance)[1][:, : -count - 1 : -1])
    basis = np.random.default_rng(d).standard_normal((d, count))
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(covariance @ (covariance @ basis))
    return basis


_NARROW = 160
"""Up to this width all eigenvectors take no longer than some."""

_ITERATIONS = 8
"""Each shrinks what is left of a direction beside the top ones by the square of λ_{m+1}/λ_k."""


def directions_kept(width: int, n_targets: int) -> int:
    """Return m, how many directions a digest keeps: the targets' number, with room."""
    return min(width, n_targets + 14)


def digest(
    parts: list[Moments], total: Statistics, targets: Targets, basis: Array, fits: Fits | None
) -> Blocks:
    """Return the digest of blocks of samples.

    Args:
        parts: the sums of each block.
        total: what they come to together.
        targets: of the blocks.
        basis: see `top_directions`.
        fits: errors of linear fits.
    """
    d, n = len(total.feature_mean), targets.n_samples[:, None]
    covariance = total.feature_covariance
    shifts, sums, products = sums_of(parts)
    squares = [product[:d, :d] for product in products]
    crosses = np.array([product[:d, d:-1] for product in products])
    along = np.array([square @ basis for square in squares])
    traces = np.array([np.trace(square) for square in squares])
    inners = np.array([np.einsum("ij,ij->", square, covariance) for square in squares])
    h, y = sums[:, :d] / n, sums[:, d:] / n
    return Blocks(
        targets=targets,
        feature_mean=shifts[:, :d] + h,
        cross_covariance=crosses / n[:, None] - _outer(h, y),
        trace=np.maximum(traces / n[:, 0] - (h**2).sum(axis=1), 0.0),
        inner=inners / n[:, 0] - ((h @ covariance) * h).sum(axis=1),
        basis=basis,
        along=along / n[:, None] - _outer(h, h @ basis),
        fits=fits,
    )


def targets_of(parts: list[Moments], squared_error: Array | None) -> Targets:
    """Return the targets of blocks of samples, from what was added up beside any features.

    Args:
        parts: the sums of each block.
        squared_error: the network's mean squared error, shape (B, t); None without predictions.
    """
    d, (shifts, sums, products) = parts[0].width, sums_of(parts)
    n = np.array([float(part.n_samples) for part in parts])
    left = sums[:, d:] / n[:, None]
    covariance = np.array([product[d:-1, d:-1] for product in products]) / n[:, None, None]
    covariance -= _outer(left, left)
    variances = np.einsum("bii->bi", covariance)
    np.maximum(variances, 0.0, out=variances)
    return Targets(n, shifts[:, d:] + left, covariance, squared_error)


def sums_of(parts: list[Moments]) -> tuple[Array, Array, list[Array]]:
    """Return the shifts and Σ z of blocks, both (B, d + t), and Σ z zᵀ of each: `Moments.sums`."""
    found = [part.sums for part in parts]
    products = [product for _, _, product in found]
    shifts = np.array([shift for _, shift, _ in found])
    return shifts, np.array([product[:-1, -1] for product in products]), products
