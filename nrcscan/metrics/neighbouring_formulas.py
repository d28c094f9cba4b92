"""The formulas of the neighbouring measures, named as in their catalogue."""

from __future__ import annotations

import math

import numpy as np

from nrcscan.metrics.directions import Spectrum, triangle
from nrcscan.statistics.moments import Array
from nrcscan.statistics.unit_features import UnitFeatures


def explained_variance(features: Spectrum) -> Array:
    """Return Σ_{i≤k} λ_i / Σ_i λ_i for k = 1, 2, … (0 … 1), not decreasing."""
    return np.asarray(np.minimum(np.cumsum(features.values) / features.total, 1.0))


def effective_rank(values: Array) -> float:
    """Return exp of the entropy of λ/Σλ (1 … d): Roy & Vetterli, EUSIPCO 2007.

    Args:
        values: eigenvalues λ ≥ 0, shape (d,), not all 0.
    """
    shares = values / values.sum()
    shares = shares[shares > 0]
    return math.exp(max(float(-(shares @ np.log(shares))), 0.0))


def participation_ratio(values: Array) -> float:
    """Return (Σλ)²/Σλ² (1 … d).

    Args:
        values: eigenvalues λ ≥ 0, shape (d,), not all 0.
    """
    shares = values / values.sum()
    return float(1 / (shares @ shares))


def nrc1a(units: UnitFeatures, features: Spectrum, n_targets: int) -> float:
    """NRC1 of Andriopoulos et al. (arXiv 2409.04180): mean ‖h̃ − U_t U_tᵀ h̃‖² (0 … 1).

    U_t holds the top t principal components of the features themselves, about their mean, and
    h̃ = h/‖h‖ is projected as it is, as in the authors' own measuring.
    """
    return units.residual(features.vectors[:, :n_targets])


def nrc2a(units: UnitFeatures, rows: Array) -> float:
    """NRC2 of Andriopoulos et al.: mean ‖h̃ − P h̃‖² (0 … 1), P onto the rows of W.

    Args:
        units: of the features.
        rows: orthonormal basis of W's rows, as columns; see `row_space`.
    """
    return units.residual(rows)


def row_space(matrix: Array) -> Array:
    """Return an orthonormal basis (d, r) of the rows of a matrix (rows, d), as columns.

    Args:
        matrix: W, not zero. What the rounding of its values to float32 can make is no direction.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = triangle(matrix)
    _, values, vectors = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(vectors[values > max(matrix.shape) * 2.0**-23 * values[0]].T)


def nrc3a(matrix: Array, target_covariance: Array) -> tuple[float, float]:
    """NRC3 of Andriopoulos et al.: (the least distance (0 … 2), the γ where it is).

    The distance ‖A/‖A‖ − B/‖B‖‖² of A = WWᵀ and B = Σ_Y^{1/2} − cI, γ = c², is stationary in c
    at one point at most, which is compared with the ends 0 and λ_min(Σ_Y)^{1/2} of the interval;
    the upper end stands for values just below it.

    Args:
        matrix: W, not zero, shape (t, d).
        target_covariance: Σ_Y, not zero, shape (t, t).
    """
    values, vectors = np.linalg.eigh(target_covariance)
    roots = np.sqrt(np.maximum(values, 0.0))
    scaled = matrix / np.abs(matrix).max()
    gram = vectors.T @ (scaled @ scaled.T) @ vectors  # in the axes of Σ_Y, where B is diagonal
    gram /= np.linalg.norm(gram)
    t, trace, inner = len(roots), float(np.trace(gram)), float(np.diagonal(gram) @ roots)
    ends = [0.0, float(roots[0])]
    below = trace * float(roots.sum()) - t * inner
    if below:
        stationary = (trace * float(roots @ roots) - inner * float(roots.sum())) / below
        if 0 <= stationary <= roots[0]:
            ends.append(float(stationary))

    def distance(c: float) -> float:
        shape = roots - c
        size = float(np.linalg.norm(shape))
        if size <= _NOTHING * roots[-1]:  # equal variances: B has the shape of I all the way
            shape, size = np.ones(t), math.sqrt(t)
        return float(((gram - np.diag(shape / size)) ** 2).sum())

    least = min(ends, key=distance)
    return distance(least), least**2


_NOTHING = 1e-12
"""What is left of Σ_Y^{1/2} − cI, as a share of its norm, that is rounding alone."""
