"""The least noise component that can be told: what rounding of the features makes of none.

A value in 2^e … 2^(e+1) is rounded to a multiple of ε·2^e, which adds a variance of (ε·2^e)²/12.
How often a unit is in which of these ranges is taken from a normal law of its mean and variance.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from nrcscan.metrics.layer_values import Layer
from nrcscan.statistics.moments import Array

AT_FLOOR = 2.0
"""A noise component up to so many floors is taken to be the rounding: half of it may be."""

NAMES = {2.0**-7: "bf16", 2.0**-10: "fp16", 2.0**-23: "float32", 2.0**-52: "float64"}
"""Precision by machine epsilon."""

RANGES = 12
"""Powers of two below the largest that count: the others add 4⁻¹² of the variance."""

REACH = 6.0
"""Spreads from the mean that a unit does not go beyond."""

_DOUBLE = 2.0**-52

_STILL = 2.0**-60
"""A unit that spreads by less than this share of its size is in one range of powers of two."""


def precision_floor(layer: Layer) -> float | None:
    """Return the noise component that rounding alone makes; None where precision is not known.

    Of d directions d − k take their share. The eigenvalues themselves, of float64, are off by a
    part of ε λ₁ each.
    """
    s, setting = layer.statistics, layer.setting
    d, k = len(s.feature_mean), setting.signal_dim
    if not setting.epsilon or d <= k:
        return None
    added = float(rounding_variances(s.feature_mean, s.variances, setting.epsilon).sum())
    of_statistics = (d - k) * _DOUBLE / 4 * float(layer.features.values[0])
    return max(added * (d - k) / d, of_statistics) / layer.features.total


def rounding_variances(mean: Array, variances: Array, epsilon: float) -> Array:
    """Return the variance that rounding adds to each unit, shape (d,).

    Args:
        mean: of each unit, shape (d,).
        variances: likewise.
        epsilon: machine epsilon of the features.
    """
    spread = np.sqrt(variances)
    largest = np.abs(mean) + REACH * spread
    top = np.where(largest > 0, np.frexp(largest)[1], 0)  # largest < 2^top
    edges = np.ldexp(1.0, top[:, None] - np.arange(RANGES + 1))  # (d, RANGES + 1), descending
    scale = np.maximum(spread[:, None], _STILL * edges[:, :1])
    centre = np.abs(mean)[:, None]
    below = special.ndtr((edges - centre) / scale) - special.ndtr((-edges - centre) / scale)
    share = below[:, :-1] - below[:, 1:]
    found: Array = (share * (epsilon * edges[:, 1:]) ** 2).sum(axis=1) / 12
    return found


def note(noise: float, floor: float, epsilon: float) -> str | None:
    """Say that a noise component is at the floor, or None."""
    if noise > AT_FLOOR * floor:
        return None
    name = NAMES.get(epsilon, f"a precision of {epsilon:.1g}")
    return f"the noise component is at the floor ({floor:.2g}), not measurable in {name}"
