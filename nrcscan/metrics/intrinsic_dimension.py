"""The dimension of the surface that samples lie on: TwoNN, by scikit-dimension.

Facco, d'Errico, Rodriguez & Laio, "Estimating the intrinsic dimension of datasets by a minimal
neighborhood information", Scientific Reports 7 (2017). The estimate is the library's; the distances
to the neighbours are not: where there are more than 25 features it expands (a − b)², which rounds
what lies close together to a distance of 0, as the samples on a collapsed curve do. Its versions
before 0.3.6 were off by one in the empirical distribution.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

LARGEST_SAMPLE = 2000
"""Samples that are looked at: the time to find neighbours grows with their square."""

LEAST_SAMPLE = 20
"""Distinct samples from which on there is an estimate."""

MOST_REPEATED = 0.1
"""Share of samples that may be repeated: TwoNN takes them for draws from a density."""


MOST_OF_WIDTH = 2
"""An estimate over so many times the number of features is no matter of chance any more."""

ROUNDINGS = 10
"""Distance of neighbours, in roundings of a sample, from which on rounding does not decide it.

Rounding moves two samples h apart by 0.4 ε‖h‖, in all directions alike: a twentieth at most, then.
"""


def chosen_rows(n: int) -> NDArray[np.int64]:
    """Return which of n samples are looked at, in order: the same ones each time."""
    if n <= LARGEST_SAMPLE:
        return np.arange(n)
    drawn = np.random.default_rng(0).choice(n, LARGEST_SAMPLE, replace=False)
    return np.sort(drawn)


def intrinsic_dimension(rows: NDArray[Any], epsilon: float = 0.0) -> float | str:
    """Return the intrinsic dimension (> 0) of samples, or why there is none.

    Args:
        rows: samples, shape (n, width), about as many as `chosen_rows` chooses.
        epsilon: machine epsilon of the arithmetic that made them.

    Raises:
        ImportError: scikit-dimension is not installed.
    """
    from skdim.id import TwoNN

    distinct = np.unique(rows, axis=0).astype(np.float64)
    if len(distinct) == 1:
        return "all samples are the same"
    if len(distinct) < LEAST_SAMPLE:
        return f"{len(distinct)} distinct samples: {LEAST_SAMPLE} are needed"
    if (repeated := len(rows) - len(distinct)) > MOST_REPEATED * len(rows):
        return f"{repeated} of {len(rows)} samples are repeated: they have no density"
    # To about 1, so that squares of distances neither overflow nor vanish.
    centred = distinct - distinct.mean(axis=0)
    spread = np.abs(centred).max()
    centred /= spread
    distances = np.asarray(cKDTree(centred).query(centred, k=3)[0])
    rounding = epsilon * float(np.linalg.norm(distinct / spread)) / math.sqrt(len(distinct))
    if not np.median(distances[:, 1]) > ROUNDINGS * rounding or not distances[:, 1].all():
        return "neighbours are as close as the rounding of the values: it would be that of rounding"
    found = float(TwoNN(dist=True).fit(distances[:, 1:]).dimension_)
    width = rows.shape[1]
    if not 0 < found <= MOST_OF_WIDTH * width:  # of equal distances it is 0
        return f"the samples are spaced too evenly to be draws: {found:.3g} for {width} features"
    return found
