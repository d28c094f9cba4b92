"""Linear fits that leave out a block of samples, from sums alone: no sample is seen again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import lapack

from nrcscan.statistics.blocks import Fits, Targets
from nrcscan.statistics.moments import Array, Moments, Statistics

CUTOFF = 1e-6
"""Share of the largest eigenvalue from which on a direction counts, as in the linear MSE."""

MOST_FITTED = 0.5
"""Directions per sample from which on a fit says little: over half of it would be chance."""

_CONDITION = 1e-9
"""Reciprocal condition of the others' covariance under which directions are left out of it."""


def fits_without_blocks(
    parts: list[Moments], total: Statistics, targets: Targets, basis: Array
) -> Fits | None:
    """Return the errors of least-squares fits, each without a block of samples.

    Predictions are affine, along the directions of the total that the linear MSE counts.

    Args:
        parts: the sums of each block.
        total: what they come to together.
        targets: of the blocks.
        basis: orthonormal columns that hold the total's first direction, shape (d, m).

    Returns:
        None where there are more directions than half of the samples.
    """
    top = np.linalg.eigvalsh(basis.T @ total.feature_covariance @ basis)[-1]
    kept = _kept(total.feature_covariance, float(top))
    rank = len(total.feature_covariance) if kept is None else kept.shape[1]
    if rank > MOST_FITTED * total.n_samples:
        return None
    whole, cross = total.feature_covariance, total.cross_covariance
    if kept is not None:
        whole, cross = kept.T @ whole @ kept, kept.T @ cross
    n, rest = targets.n_samples, targets.rest
    y_at = targets.mean - total.target_mean
    y_own = np.diagonal(targets.covariance, axis1=1, axis2=2) + y_at**2
    y_whole = np.diagonal(total.target_covariance)
    weight = _solved(whole, cross)
    held_out, others, slopes, moved, level = [], [], [], [], []
    for b, (square, beside, at) in enumerate(_about_the_mean(parts, total, kept, targets)):
        h_rest, y_rest = -n[b] / rest[b] * at, -n[b] / rest[b] * y_at[b]
        left = (total.n_samples * whole - n[b] * square) / rest[b] - np.outer(h_rest, h_rest)
        sides = (total.n_samples * cross - n[b] * beside) / rest[b] - np.outer(h_rest, y_rest)
        own = _solved(left, sides)
        intercept = y_rest - h_rest @ own
        acted = square @ own
        held_out.append(_error(y_own[b], beside, acted, own, y_at[b], at, intercept))
        spread = (total.n_samples * y_whole - n[b] * y_own[b]) / rest[b] - y_rest**2
        others.append(np.maximum(spread - (own * sides).sum(axis=0), 0.0))
        # To first order in what a second block changes: how the error on this one goes with it.
        residual = beside - acted - np.outer(at, intercept)
        slopes.append(np.vstack([residual, y_at[b] - at @ own - intercept]))
        change = own - weight
        moved.append(np.vstack([change, intercept]))
        level.append((change * (left @ change)).sum(axis=0) + (h_rest @ change + intercept) ** 2)
    errors = np.array(held_out)
    first = -2 * np.einsum("jrt,brt->bjt", np.array(slopes), np.array(moved))
    without = n[:, None] * (errors + first)  # (b, j, t): of block j, b left out of its fit
    without[np.arange(len(n)), np.arange(len(n))] = 0
    of_others = without.sum(axis=1) / rest[:, None] + np.array(level)
    return Fits(errors, np.array(others), of_others)


def _error(
    y_own: Array, beside: Array, acted: Array, own: Array, y_at: Array, at: Array, intercept: Array
) -> Array:
    """Return a fit's mean squared error on a block, per target, from its second moments."""
    explained = 2 * ((own * beside).sum(axis=0) + intercept * y_at)
    predicted = (own * acted).sum(axis=0) + 2 * intercept * (at @ own) + intercept**2
    return np.maximum(y_own - explained + predicted, 0.0)


def _kept(covariance: Array, largest: float) -> Array | None:
    """Return the directions (d, r) above the cut-off; None where they are all."""
    shifted = covariance.copy()
    shifted.flat[:: len(covariance) + 1] -= CUTOFF * largest
    _, failed = lapack.dpotrf(shifted.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        return None
    values, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors[:, values > CUTOFF * values[-1]])


def _solved(covariance: Array, sides: Array) -> Array:
    """Return the least-squares solution; what hardly varies is left out."""
    factor, failed = lapack.dpotrf(covariance.T, lower=1, clean=0)  # symmetric: no copy by rows
    if not failed:
        norm = float(np.abs(covariance).sum(axis=0).max())
        reciprocal, _ = lapack.dpocon(factor, norm, uplo="L")
        if reciprocal > _CONDITION:
            solution, _ = lapack.dpotrs(factor, sides, lower=1)
            return np.asarray(solution)
    values, vectors = np.linalg.eigh(covariance)
    counted = values > CUTOFF * max(values[-1], 0.0)
    vectors = vectors[:, counted]
    return np.asarray(vectors @ ((vectors.T @ sides) / values[counted, None]))


def _about_the_mean(
    parts: list[Moments], total: Statistics, kept: Array | None, targets: Targets
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield each block's second moments about the total's mean: of features, beside targets.

    Along the directions kept; and how far its own mean is from that, in them.
    """
    d = len(total.feature_mean)
    for b, part in enumerate(parts):
        n, shift, products = part.sums
        left = products[:d, -1] / n
        at = shift[:d] + left - total.feature_mean
        square, beside = products[:d, :d], products[:d, d:-1] / n
        y_left = products[d:-1, -1] / n
        beside = beside - np.outer(left, y_left) + np.outer(at, targets.mean[b] - total.target_mean)
        if kept is not None:
            square = kept.T @ (square @ kept)
            beside, left, at = kept.T @ beside, left @ kept, at @ kept
        yield square / n + np.stack([-left, at]).T @ np.stack([left, at]), beside, at
