"""How far errors of linear fits can be off, where a layer's covariance is known to a resolution."""

from __future__ import annotations

from math import sqrt

import numpy as np

from nrcscan.metrics.directions import DIRECTION_CUTOFF, Spectrum
from nrcscan.statistics.moments import Array

NEAR = 2.0
"""By this factor an eigenvalue may be other without a block of samples."""


def cutoff(features: Spectrum) -> float:
    """Return the eigenvalue above which a direction counts."""
    return float(DIRECTION_CUTOFF**2 * features.values[0])


def unseen(features: Spectrum, tau: float) -> bool:
    """Say whether a direction that is not among those known could count.

    Its eigenvalue is τ at most, by Weyl: what a sketch missed, and what it took for rounding.
    """
    d, known = features.vectors.shape
    return known < d and tau >= cutoff(features)


def explained_error(features: Spectrum, cross_covariance: Array, off: Array, tau: float) -> float:
    """Estimate how far the variance explained can be off.

    Each direction's share c²/λ is off by τ/λ of itself, to first order, and by all of itself
    where it could be on the other side of the cut-off. A column of Σ_HY that is off by δ, in
    whatever direction, moves the sum by 2δ·‖c/λ‖ + δ²/λ_min more. Directions that are not known
    explain no more than what is left of Σ_HY, over the cut-off.

    Args:
        features: the spectrum as it is known.
        cross_covariance: Σ_HY, as it is known.
        off: δ, how far each of its columns can be off, shape (n_targets,).
        tau: bound on the error of Σ_H.
    """
    least = cutoff(features)
    if features.residual >= least:
        return np.inf  # what a sketch has not seen could explain anything
    # Below a quarter of the cut-off none is taken to count: τ is an estimate with room.
    near = features.values > max(least - 2 * tau, least / 4)
    values, vectors = features.values[near], features.vectors[:, near]
    cross = vectors.T @ cross_covariance
    explained = cross**2 / values[:, None]
    relative = np.where(values < least + 2 * tau, 1.0, np.minimum(tau / values, 1.0))
    error = float((explained * relative[:, None]).sum())
    error += float(2 * off @ np.linalg.norm(cross / values[:, None], axis=0))
    error += float(off @ off) / float(values.min())
    if unseen(features, tau):
        left = cross_covariance - vectors @ cross
        error += float((left**2).sum()) / least
    return error


def fits_moved(features: Spectrum, cross_covariance: Array, off: Array, tau: float) -> float:
    """Return by how much linear predictions can be off, root mean square over all and targets.

    (δ + τ‖β‖)/√λ_min: of the equations Σ β = c, each side is off. Not known where a direction is
    so near the cut-off that it may count without some block and not without another.

    Args:
        features: see `explained_error`, as what follows.
        cross_covariance: likewise.
        off: likewise.
        tau: likewise.
    """
    relative = features.values / cutoff(features)
    if unseen(features, tau) or ((relative > 1 / NEAR) & (relative < NEAR)).any():
        return np.inf
    values, vectors = features.values[relative > 1], features.vectors[:, relative > 1]
    fits = np.linalg.norm(vectors.T @ cross_covariance / values[:, None], axis=0)
    return float(np.sqrt(((off + tau * fits) ** 2).mean() / values.min()))


def left_out_error(mse: float, values: dict[str, float], moved: float, shared: int) -> float:
    """Return how far the error of fits, each on a block of samples that it left out, can be off.

    By Cauchy and Schwarz: a fit β that is off by δβ predicts a block with leverage h off by
    √h·‖A^½ δβ‖, where leverages add up to the directions, or the blocks. How much more easily a fit
    without a block is moved than the one to all, 1/(1 − h), is read from how much larger its errors
    are than that one's.

    Args:
        mse: how far the linear MSE can be off.
        values: of all quantities.
        moved: by how much predictions of the fit to all can be off, root mean square.
        shared: how many leverages of 1 there can be.
    """
    held_out, more = _held_out(values)
    of_blocks = sqrt(shared * more) * moved
    return mse * more + 2 * sqrt(held_out) * of_blocks + of_blocks**2


def scaled_error(mse: float, values: dict[str, float], features: Spectrum, tau: float) -> float:
    """Return how far the linear MSE over (1 − (rank + 1)/N)² can be off, as the rank can be too.

    Args:
        mse: how far the linear MSE can be off.
        values: of all quantities.
        features: the spectrum as it is known.
        tau: bound on the error of Σ_H.
    """
    held_out, more = _held_out(values)
    fitted = (1 - 1 / sqrt(more)) / (features.rank + 1)  # 1/N
    free = [1 - fitted * (rank + 1) for rank in _ranks(features, tau)]
    if min(free) <= 0 or not np.isfinite(more):
        return np.inf
    off = max(abs(1 / share**2 - more) for share in free)
    return mse / min(free) ** 2 + off * held_out / more


def held_out_errors(error: float, values: dict[str, float]) -> dict[str, float]:
    """Return quantity → how far it can be off, where the held-out linear MSE can be by an error."""
    ratio = values.get("error_ratio", 0.0)
    network = values.get("linear_mse_held_out", 0.0) / ratio if ratio > 0 else 0.0
    return {
        "linear_mse_held_out": error,
        "error_ratio": error / network if network > 0 else np.inf,
    }


def _held_out(values: dict[str, float]) -> tuple[float, float]:
    """Return the held-out linear MSE, and how many times the linear MSE that is."""
    in_sample = values.get("linear_mse", 0.0)
    held_out = values.get("linear_mse_held_out", 0.0)
    return held_out, max(held_out / in_sample, 1.0) if in_sample > 0 else np.inf


def _ranks(features: Spectrum, tau: float) -> tuple[int, int]:
    """Return the fewest and the most directions that may count; 2τ is room, as above."""
    least = cutoff(features)
    d, known = features.vectors.shape
    most = int((features.values > least - 2 * tau).sum())
    return int((features.values > least + 2 * tau).sum()), most + (d - known) * unseen(
        features, tau
    )
