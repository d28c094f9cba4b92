"""How many directions targets have: from their correlations, whatever their units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrcscan.metrics.directions import DIRECTION_CUTOFF, spectrum
from nrcscan.statistics.moments import Array

EXPLAINED = 0.999
"""Directions that explain this share of the standardised targets, and are followed by a gap, are
all that there are: what is left is noise, of 3 % of a target's spread at most."""

GAP = 100.0
"""A gap: the next eigenvalue is so many times less, its direction ten times weaker."""

_DOUBLE = 2.0**-52


@dataclass(frozen=True)
class TargetSpectrum:
    """The eigenvalues of the targets' correlation matrix, and how many are signal.

    Attributes:
        spectrum: as shares of their sum, descending, of the targets that vary.
        rank: directions, 0 where no target varies. The fewest that explain 99.9 % and are
            followed by a gap of 100; else those whose singular value is above 1e-3 of the first.
        explained: share of the standardised targets' variance in that many directions.
        gap: their last eigenvalue over the next; None where no next one is above rounding.
    """

    spectrum: tuple[float, ...]
    rank: int
    explained: float
    gap: float | None

    @property
    def evidence(self) -> str:
        """What the rank rests on, in words."""
        few = "1 direction that counts" if self.rank == 1 else f"{self.rank} directions that count"
        following = self.spectrum[self.rank : self.rank + 1]
        left = f", the next {following[0]:.1g}" if following else ""
        return (
            f"the targets' correlation matrix has {few} (explaining"
            f" {_percent(self.explained)}{left})"
        )


def target_spectrum(mean: Array, covariance: Array) -> TargetSpectrum:
    """Return the spectrum of the targets' correlations.

    Args:
        mean: μ_Y, shape (n_targets,).
        covariance: Σ_Y, shape (n_targets, n_targets).
    """
    variances = np.diagonal(covariance)
    varying = np.sqrt(variances) > 4 * _DOUBLE * np.abs(mean)
    if not varying.any():
        return TargetSpectrum((), 0, 0.0, None)
    spread = np.sqrt(variances[varying])
    correlation = covariance[np.ix_(varying, varying)] / spread / spread[:, None]
    values = spectrum(correlation).values
    shares = values / values.sum()
    rank = _rank(shares)
    resolved = shares[rank : rank + 1] > len(shares) * _DOUBLE
    gap = float(shares[rank - 1] / shares[rank]) if resolved.any() else None
    explained = float(1 - shares[rank:].sum())
    return TargetSpectrum(tuple(map(float, shares)), rank, explained, gap)


def _rank(shares: Array) -> int:
    """Return how many directions are signal."""
    rank = int(np.count_nonzero(shares > DIRECTION_CUTOFF**2 * shares[0]))
    for few in range(1, rank):
        clear = shares[few - 1] >= GAP * shares[few]
        if clear and shares[few:].sum() <= 1 - EXPLAINED:
            return few
    return rank


def _percent(share: float) -> str:
    """Return a share close to 1 in per cent, never rounded up to the whole.

    >>> _percent(1.0), _percent(0.9995), _percent(0.99999999)
    ('100 %', '99.95 %', 'over 99.99 %')
    """
    if share > 0.9999:
        return "100 %" if share > 1 - 1e-12 else "over 99.99 %"
    return f"{100 * share:.4g} %"
