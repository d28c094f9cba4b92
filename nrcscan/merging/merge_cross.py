"""Cross-covariances of data shards as those of all samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from nrcscan.acts_file.reading import Acts
from nrcscan.statistics.moments import Array


def has_cross(acts: Acts) -> bool:
    """Whether a file holds cross-covariances: of all positions, as every pass keeps them."""
    return acts.n_positions > 1 and acts.cross(0, acts.n_positions - 1) is not None


def merged_cross(parts: Sequence[Acts]) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield each two positions, in order, and their cross-covariance (d_i, d_j) over all samples.

    None where a part has none. What the parts' means are apart adds to what varies within them:
    only differences of means are multiplied, so that large ones cancel nothing.

    Raises:
        ValueError: the values' squares overflow float64.
    """
    if not all(map(has_cross, parts)):
        return
    share = np.array([acts.n_samples for acts in parts]) / sum(acts.n_samples for acts in parts)
    apart = []
    for position in range(parts[0].n_positions):
        means = np.array([acts.feature_mean(position) for acts in parts])
        means -= means[0]
        apart.append(means - share @ means)
    for i, j in combinations(range(len(apart)), 2):
        with np.errstate(over="ignore", invalid="ignore"):
            total = (share[:, None] * apart[i]).T @ apart[j]
            for weight, acts in zip(share, parts, strict=True):
                own = acts.cross(i, j)
                if own is None:
                    raise ValueError("their cross-covariances are not of all layers")
                total += weight * own
        if not np.isfinite(total).all():
            raise ValueError("the values are too large: their squares exceed float64")
        yield (i, j), total
