"""Where the top k directions do not exist: the k-th and the next are equally strong.

Eigenvectors of equal eigenvalues are any basis of what they span. Which one an algorithm returns
is decided by rounding, and is another one in a rotated basis of the same network.
"""

from __future__ import annotations

import numpy as np

from nrcscan.metrics.error_bounds import ROUNDINGS
from nrcscan.metrics.layer_values import Layer
from nrcscan.statistics.moments import Array

EQUAL = 1e-4
"""Directions that differ by less than this share of their strength are equally strong: a
covariance is known to no better than √(2/N), this share at 2·10⁸ samples."""

REPRODUCED = 1e-8
"""What is measured of the top directions is the same in a rotated basis to within this: by
Davis and Kahan, they turn by the rounding of the covariance, over the gap."""

ROOM = 4
"""Roundings of features and of weights are estimated as if they were random: so much is room."""

_DOUBLE = 2.0**-52


def features_apart(layer: Layer) -> str | None:
    """Say why the features' top directions that count are arbitrary, or None."""
    features = layer.features
    stable = features.total / features.values[0]
    counted = min(layer.setting.signal_dim, features.rank)
    moved = _moved_features(layer, float(features.values[counted - 1]))
    resolved = max(ROUNDINGS * _DOUBLE * stable / REPRODUCED, ROOM * moved)
    return _equal(features.values / features.values[0], counted, resolved, "features")


def weight_apart(layer: Layer) -> str | None:
    """Say why the weight's top directions that count are arbitrary, or None."""
    directions = layer.directions
    if directions is None or layer.weight is None:
        return None
    # Rounding of weights by ε moves a singular value by the norm of a random matrix.
    stable = float(np.sqrt(directions.stable_rank))
    moved = sum(1 / np.sqrt(size) for size in layer.weight.shape) / np.sqrt(12)
    resolved = stable * max(ROUNDINGS * _DOUBLE / REPRODUCED, ROOM * layer.setting.epsilon * moved)
    counted = min(layer.setting.signal_dim, directions.rank)
    return _equal(directions.values, counted, resolved, "weight")


def _equal(strengths: Array, counted: int, resolved: float, whose: str) -> str | None:
    """Say that the last direction that counts and the next one are equally strong, or None.

    Args:
        strengths: eigenvalues or singular values, as shares of the first.
        counted: how many directions count.
        resolved: the least gap that is not rounding, as a share of the first.
        whose: of what they are.
    """
    if not 0 < counted < len(strengths):
        return None
    last, following = float(strengths[counted - 1]), float(strengths[counted])
    if last - following > max(EQUAL * last, resolved):
        return None
    equal = last - following <= EQUAL * last
    alike = "are equally strong" if equal else "differ by rounding only"
    which = "that one is" if counted == 1 else f"the top {counted} are"
    return (
        f"directions {counted} and {counted + 1} of the {whose} {alike}"
        f" ({last:.3g} and {following:.3g} of the first): {which} arbitrary"
    )


def _moved_features(layer: Layer, last: float) -> float:
    """Return how far rounding of the features moves Σ_H where it matters, as a share of λ₁.

    Errors E of variance ε² E[h²]/12 move it by (HᵀE + EᵀH + EᵀE)/N: with F their total variance,
    by (F/d) (1 + √(d/N))², and, between a direction of variance λ and any other, by about
    2 √(λ F/N). That of the last direction that counts, which is `last`, is the one to turn.
    """
    s = layer.statistics
    n, d = s.n_samples, len(s.feature_mean)
    total = layer.setting.epsilon**2 * float((s.variances + s.feature_mean**2).sum()) / 12
    first = float(layer.features.values[0])
    share = total / first
    return (
        2 * float(np.sqrt(share * last / first / n)) + share / d * (1 + float(np.sqrt(d / n))) ** 2
    )
