"""The delete-a-block jackknife: standard errors from values without each block of samples.

Blocks may be of unequal size: Busing, Meijer and van der Leeden, "Delete-m jackknife for unequal
m", Statistics and Computing 9 (1999). For equal blocks it is the usual √((B−1)/B · Σ(θ_b − θ̄)²).
"""

from __future__ import annotations

import numpy as np

from nrcscan.statistics.moments import Array


def _pseudo_values(value: float, without: Array, n_samples: Array) -> tuple[Array, Array, float]:
    times = n_samples.sum() / n_samples
    centre = len(without) * value - float(((1 - 1 / times) * without).sum())
    return times * value - (times - 1) * without, times, centre


def standard_error(value: float, without: Array, n_samples: Array) -> float:
    """Return the standard error of a value.

    Args:
        value: of all samples.
        without: without each block, shape (B,).
        n_samples: of each block, shape (B,).
    """
    pseudo, times, centre = _pseudo_values(value, without, n_samples)
    apart = pseudo - centre
    largest = float(np.abs(apart).max()) or 1.0  # so that no square overflows or vanishes
    return largest * float(np.sqrt(((apart / largest) ** 2 / (times - 1)).mean()))


def corrected(value: float, without: Array, n_samples: Array) -> float:
    """Return a value with its bias of order 1/N taken off."""
    return _pseudo_values(value, without, n_samples)[2]
