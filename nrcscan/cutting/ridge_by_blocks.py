"""The ridge of a linear head, chosen on blocks of the samples that it is fitted to, and no others.

Blocks are contiguous, as samples next to each other may be alike; folds are made of whole ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.schema import DOUBLE
from nrcscan.cutting.linear_head import LinearHead, ridge_slopes
from nrcscan.metrics.directions import spectrum
from nrcscan.statistics.moments import Array, Moments, Statistics

FOLDS = 5
"""Parts of the samples, each predicted by a fit to the others."""

LEAST, MOST, STEPS = -10.0, -1.0, 19
"""Powers of ten between which ridges are tried, as shares of the largest eigenvalue."""

ROUNDINGS = 8
"""A direction that is no more than so many roundings of the features is no ground for a fit."""

EXACT, NARROW = 1e-9, 1e-2
"""How well, relative to it, the error of a head has to follow from statistics whose products were
added up in float64, and in less: a smaller ridge would have it drown in their rounding."""

Rows = Iterable[NDArray[Any]]


class Ridge(NamedTuple):
    """A ridge, and what was seen of it.

    Attributes:
        share: of the largest eigenvalue; 0 is least squares.
        squared_error: mean over each block, of the fit to the other folds, shape (B, t).
    """

    share: float
    squared_error: Array


def ridges(epsilon: float) -> Array:
    """Return the shares that are tried, ascending; 0 is least squares with the cut-off of NRC4.

    Args:
        epsilon: of the arithmetic that made the features: what is below its rounding is no feature.
    """
    shares = np.logspace(LEAST, MOST, STEPS)
    return np.concatenate([[0.0], shares[shares >= (ROUNDINGS * epsilon) ** 2]])


def chosen_ridge(
    features: Callable[[], Rows],
    targets: Callable[[], Rows],
    blocks: Array,
    top: float,
    epsilons: tuple[float, float],
) -> Ridge:
    """Return the ridge with the least error on folds that its fits have not seen.

    Args:
        features: begins anew to yield the features (n, d), piece by piece.
        targets: likewise the targets (n, t).
        blocks: samples in each block, in order, shape (B,).
        top: the largest eigenvalue of Σ_H.
        epsilons: of the arithmetic that made the features, and of their products.
    """
    fold_of = folds(len(blocks))
    shares = ridges(max(epsilons))
    parts = moments_of_folds(by_blocks(features(), targets(), blocks), fold_of)
    others = [
        Moments.merged([*parts[:fold], *parts[fold + 1 :]]).statistics() for fold in range(FOLDS)
    ]
    heads = [heads_with(statistics, shares, top) for statistics in others]
    errors = np.zeros((len(shares), len(blocks), parts[0].n_targets))
    for block, x, y in by_blocks(features(), targets(), blocks):
        for number, head in enumerate(heads[fold_of[block]]):
            errors[number, block] += ((y - head.predictions(x)) ** 2).sum(axis=0)
    errors /= blocks[:, None]
    found = np.average(errors.mean(axis=2), axis=1, weights=blocks)
    lost = np.array(
        [
            max(rounding(row[i], s, epsilons[1]) for row, s in zip(heads, others, strict=True))
            for i in range(len(shares))
        ]
    )
    told = lost <= (EXACT if epsilons[1] <= DOUBLE else NARROW) * found
    usable = np.where(told, found, np.inf) if told.any() else lost
    best = len(usable) - 1 - int(usable[::-1].argmin())  # of equals the greatest
    return Ridge(float(shares[best]), errors[best])


def rounding(head: LinearHead, statistics: Statistics, epsilon: float) -> float:
    """Return how far rounding moves a head's error, mean over targets, as statistics have it.

    A sum of N products is off by √N u of itself where roundings are independent (Higham, "Accuracy
    and Stability of Numerical Algorithms", section 2.8), and so is each entry of a covariance,
    relative to √(Σᵢᵢ Σⱼⱼ): W Σ_H Wᵀ by √N u Σᵢ Wᵢ² Σᵢᵢ, twice that with the other sums.

    Args:
        head: it.
        statistics: of as many samples, whose products they add up.
        epsilon: of the products, 2u.
    """
    moved = head.weight**2 @ np.diagonal(statistics.feature_covariance)
    size = (moved + np.diagonal(statistics.target_covariance)).mean()
    return float(epsilon * np.sqrt(statistics.n_samples) * size)


def block_errors(head: LinearHead, features: Rows, targets: Rows, blocks: Array) -> Array:
    """Return a head's mean squared error on every block of samples, shape (B, t)."""
    errors = np.zeros((len(blocks), len(head.weight)))
    for block, x, y in by_blocks(features, targets, blocks):
        errors[block] += ((y - head.predictions(x)) ** 2).sum(axis=0)
    return np.asarray(errors / blocks[:, None])


def by_blocks(features: Rows, targets: Rows, blocks: Array) -> Iterator[tuple[int, Array, Array]]:
    """Yield pieces of features and targets, in float64, with the block that they are of."""
    ends = np.cumsum(blocks).astype(int)
    done = 0
    for x, y in _in_step(features, targets):
        start = 0
        while start < len(x):
            block = int(np.searchsorted(ends, done, side="right"))
            stop = min(len(x), start + int(ends[block]) - done)
            yield block, x[start:stop].astype(np.float64), y[start:stop].astype(np.float64)
            done += stop - start
            start = stop


def _in_step(features: Rows, targets: Rows) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield pieces of both that are of the same samples, however each is cut."""
    others, held = iter(targets), None
    for x in features:
        start = 0
        while start < len(x):
            if held is None or not len(held):
                held = next(others)
            size = min(len(x) - start, len(held))
            yield x[start : start + size], held[:size]
            start, held = start + size, held[size:]


def folds(n_blocks: int) -> NDArray[Any]:
    """Return the fold that each block is of, shape (n_blocks,): neighbours share one."""
    return np.arange(n_blocks) * FOLDS // n_blocks


def moments_of_folds(
    pieces: Iterator[tuple[int, Array, Array]], fold_of: NDArray[Any]
) -> list[Moments]:
    """Return the moments of every fold, about one shift."""
    found: list[Moments] = []
    for block, x, y in pieces:
        while len(found) <= fold_of[block]:
            found.append(found[0].fresh() if found else Moments(x.shape[1], y.shape[1]))
        found[fold_of[block]].update(x, y)
    return found


def heads_with(statistics: Statistics, shares: Array, top: float) -> list[LinearHead]:
    """Return the heads that are fitted to some folds, one for every ridge."""
    features = spectrum(statistics.feature_covariance)
    centre = statistics.feature_mean, statistics.target_mean
    return [
        LinearHead(
            ridge_slopes(features, statistics.cross_covariance, share * top).T, *centre, share
        )
        for share in shares.tolist()
    ]
