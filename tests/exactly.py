"""Every quantity of a layer straight from its definition, in numbers of 60 digits.

Nothing of the package takes part: samples are centred by their mean, in a second pass, and
decomposed with mpmath. That is slow, and for a few samples of a few features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Exact = NDArray[Any]
"""Of numbers of mpmath."""

many = mpmath.MPContext()
many.dps = 60

CUTOFF = many.mpf("1e-3")
"""A direction counts whose singular value is above this share of the first."""


def exact(values: Matrix) -> Exact:
    """Return the very numbers that floats are."""
    return np.array([many.mpf(float(v)) for v in np.ravel(values)], object).reshape(values.shape)


def rounded(values: Exact) -> Matrix:
    return np.array([float(v) for v in np.ravel(values)]).reshape(np.shape(values))


def norm(values: Exact) -> Any:
    """Return the Frobenius norm."""
    return many.sqrt(total(np.ravel(values) ** 2))


def total(values: Sequence[Any] | Exact) -> Any:
    return many.fsum(list(values))


def decomposed(symmetric: Exact) -> tuple[Exact, Exact]:
    """Return the eigenvalues, descending and not below 0, and eigenvectors as columns."""
    values, vectors = many.eigsy(many.matrix(symmetric.tolist()))
    order = sorted(range(len(values)), key=lambda i: -values[i])
    columns = np.array(vectors.tolist(), object).reshape(symmetric.shape)[:, order]
    return np.array([max(values[i], many.zero) for i in order], object), columns


def covariance(a: Exact, b: Exact) -> Exact:
    """Return that of two sets of columns that are centred."""
    return np.asarray(a.T @ b / many.mpf(len(a)))


@dataclass
class ExactLayer:
    """Features (n, d), targets (n, t) and a weight (out, d), as they are stored.

    Attributes:
        k: signal dimension.
        mse: the network's.
    """

    features: Matrix
    targets: Matrix
    weight: Matrix
    k: int
    mse: float

    @property
    def n(self) -> int:
        return len(self.features)

    @cached_property
    def means(self) -> tuple[Exact, Exact]:
        h, y = exact(self.features), exact(self.targets)
        return h.sum(axis=0) / many.mpf(self.n), y.sum(axis=0) / many.mpf(self.n)

    @cached_property
    def centred(self) -> tuple[Exact, Exact]:
        h, y = self.means
        return exact(self.features) - h, exact(self.targets) - y

    @cached_property
    def of_features(self) -> Exact:
        return covariance(self.centred[0], self.centred[0])

    @cached_property
    def across(self) -> Exact:
        return covariance(*self.centred)

    @cached_property
    def of_targets(self) -> Exact:
        return covariance(self.centred[1], self.centred[1])

    @cached_property
    def spectrum(self) -> tuple[Exact, Exact]:
        return decomposed(self.of_features)

    @cached_property
    def of_weight(self) -> tuple[Exact, Exact]:
        """Singular values (d,), descending, and right singular vectors (d, d)."""
        w = exact(self.weight)
        squares, vectors = decomposed(w.T @ w)
        return np.array([many.sqrt(s) for s in squares], object), vectors

    @property
    def rank(self) -> int:
        """How many directions of the features count; 0 where they do not vary."""
        values = self.spectrum[0]
        return sum(v > CUTOFF**2 * values[0] for v in values)

    @property
    def weight_rank(self) -> int:
        """How many directions of the weight count; 0 of a zero one."""
        values = self.of_weight[0]
        return sum(v > CUTOFF * values[0] for v in values)

    # --- what is measured ---------------------------------------------------------------------

    def noise_component(self, k: int) -> Any:
        values = self.spectrum[0]
        return total(values[k:]) / total(values)

    def cka(self, k: int) -> Any:
        values, vectors = self.spectrum
        along = vectors[:, :k].T @ self.across
        return norm(along) ** 2 / norm(values[:k]) / norm(self.of_targets)

    def debiased(self) -> tuple[Any, Any, Any]:
        """Return HSIC₁ of features with targets, features, and targets with themselves.

        As Song et al. (2012) have it, from Gram matrices without their diagonals, over N².
        """
        n = many.mpf(self.n)
        grams = []
        for one in self.centred:
            gram = one @ one.T
            np.fill_diagonal(gram, many.zero)
            grams.append(gram)

        def hsic(a: Exact, b: Exact) -> Any:
            every = total(np.ravel(a)) * total(np.ravel(b)) / ((n - 1) * (n - 2))
            rows = 2 * total(a.sum(axis=0) * b.sum(axis=0)) / (n - 2)
            return (total(np.ravel(a * b)) + every - rows) / n**2

        h, y = grams
        return hsic(h, y), hsic(h, h), hsic(y, y)

    def bases(self, k: int) -> tuple[Exact, Exact]:
        """Return the top directions that count, k at most, of the features and of the weight."""
        of_features = self.spectrum[1][:, : min(k, self.rank)]
        return of_features, self.of_weight[1][:, : min(k, self.weight_rank)]

    def alignment(self, k: int) -> Any:
        u, v = self.bases(k)
        return _mean_singular_value(u.T @ v)

    def noise_alignment(self, k: int) -> Any:
        u, v = self.bases(k)
        left = v - u @ (u.T @ v)
        squares = decomposed(left.T @ left)[0]
        return total([many.sqrt(s) for s in squares]) / len(squares)

    def weight_signal_energy(self, k: int) -> Any:
        w = exact(self.weight)
        return (norm(w @ self.bases(k)[0]) / norm(w)) ** 2

    @cached_property
    def slopes(self) -> Exact:
        """The least-squares fit to the targets from the directions that count (rank, t)."""
        values, vectors = self.spectrum
        along = vectors[:, : self.rank].T @ self.across
        return np.asarray(along / values[: self.rank, None])

    @cached_property
    def linear_mse(self) -> Any:
        """The mean of the squared residuals, sample by sample."""
        h, y = self.centred
        predicted = h @ self.spectrum[1][:, : self.rank] @ self.slopes
        return total(np.ravel(y - predicted) ** 2) / y.size

    def quantity(self, name: str, k: int) -> Any:
        """Return a quantity by its name."""
        values = self.spectrum[0]
        match name:
            case "cka_full":
                return norm(self.across) ** 2 / norm(values) / norm(self.of_targets)
            case "cka_debiased":
                both, h, y = self.debiased()
                return both / many.sqrt(h * y)
            case "linear_mse":
                return self.linear_mse
            case "linear_mse_held_out":
                return self.linear_mse / (1 - many.mpf(self.rank + 1) / self.n) ** 2
            case "error_ratio":
                return self.quantity("linear_mse_held_out", k) / many.mpf(self.mse)
            case "excess":
                return (self.linear_mse - many.mpf(self.mse)) / self.target_variance
            case "feature_stable_rank":
                return (norm(values) / values[0]) ** 2
            case "weight_stable_rank":
                return (norm(exact(self.weight)) / self.of_weight[0][0]) ** 2
            case "feature_rank":
                return self.rank
            case "weight_rank":
                return self.weight_rank
        return getattr(self, name)(k)

    @cached_property
    def target_variance(self) -> Any:
        """The mean over targets."""
        return total(np.diagonal(self.of_targets)) / len(self.of_targets)


def _mean_singular_value(matrix: Exact) -> Any:
    small = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    squares = decomposed(small.T @ small)[0]
    return total([many.sqrt(s) for s in squares]) / len(squares)
