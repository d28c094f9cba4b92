"""What every quantity is by chance: of permuted targets, of unrelated directions.

Under permuted targets ‖Σ_HY‖² is about Σ_ij λ_i μ_j χ²₁ / (N − 1), with λ and μ the eigenvalues of
Σ_H and Σ_Y: its mean is exact, its quantile that of a gamma law of the same three cumulants. What
compares directions of features with those of a weight is measured against random subspaces.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from nrcscan.metrics.chance_level import Chance
from nrcscan.metrics.layer_values import Layer
from nrcscan.metrics.quantities import OF_RANK
from nrcscan.statistics.moments import Array, Statistics

BEYOND = 0.99
"""Of all cases of chance, this share falls short of the quantile."""

SEED = 20261
"""Of the random subspaces: chance is the same in every run."""

FEWEST_DRAWS, MOST_DRAWS, DRAWS_BY_CUBES = 8, 4000, 1_000_000
"""A simulation of p × p matrices draws the last over p³, between the first two: the mean over p
angles spreads by about 0.3/p, so that many angles need few draws."""


def chance(layer: Layer, values: dict[str, float]) -> dict[str, Chance]:
    """Return quantity → what it comes to by chance, of those that are defined and have a chance.

    Args:
        layer: as it was measured.
        values: its quantities.
    """
    found: dict[str, Chance] = {}
    targets: Array = np.linalg.eigvalsh(layer.statistics.target_covariance).astype(np.float64)
    n = layer.statistics.n_samples
    own = {"cka_full": layer.features.values, "cka": _projected(layer)}
    for quantity, eigenvalues in own.items():
        if quantity in values and eigenvalues.any():
            found[quantity] = of_cka(eigenvalues, targets, n)
    if "cka_debiased" in values:
        reach = _beyond_level(layer.features.values, targets, n)
        # Both its numerator, when targets are permuted, and its denominator are debiased.
        found["cka_debiased"] = Chance(0.0, min(reach, 1.0))
    if "linear_mse" in values:
        rank, variance = layer.predictors.rank, layer.target_variance
        r2 = of_linear_r2(rank, targets, n)
        found["linear_mse"] = Chance(variance * (1 - r2.level), variance * (1 - r2.quantile))
        if "excess" in values:
            mse = layer.setting.model_mse or 0.0
            level, quantile = found["linear_mse"].level, found["linear_mse"].quantile
            found["excess"] = Chance((level - mse) / variance, (quantile - mse) / variance)
    found.update(_of_directions(layer))
    of_rank = _of_directions(layer.at_rank)
    found.update({name: of_rank[k] for name, k in OF_RANK.items() if k in of_rank})
    return {quantity: found[quantity] for quantity in values if quantity in found}


def of_cka(features: Array, targets: Array, n: int) -> Chance:
    """Return the linear CKA of features with permuted targets.

    Args:
        features: eigenvalues λ of their covariance.
        targets: eigenvalues μ of theirs.
        n: samples.
    """
    level = float(_unit(features).sum() * _unit(targets).sum()) / (n - 1)
    return Chance(min(level, 1.0), min(level + _beyond_level(features, targets, n), 1.0))


def _beyond_level(features: Array, targets: Array, n: int) -> float:
    """Return how far above its level the quantile of a CKA by chance is."""
    third = float((_unit(features) ** 3).sum() * (_unit(targets) ** 3).sum())
    return math.sqrt(2) / (n - 1) * _gamma_quantile(2 * math.sqrt(2) * third)


def _unit(eigenvalues: Array) -> Array:
    """Return eigenvalues scaled to norm 1: their cubes neither overflow nor vanish."""
    relative = eigenvalues / eigenvalues.max()
    return np.asarray(relative / np.linalg.norm(relative))


def of_linear_r2(rank: int, targets: Array, n: int) -> Chance:
    """Return the R² of a least-squares fit of unrelated targets: that of each is a beta law.

    Args:
        rank: of the features.
        targets: eigenvalues of the targets' covariance.
        n: samples.
    """
    level = min(rank / (n - 1), 1.0)
    weights = targets / targets.sum()
    variance = 2 * level * (1 - level) / (n + 1) * float(weights @ weights)
    return Chance(level, _beta_quantile(level, variance, BEYOND))


def of_alignment(a: int, b: int, width: int) -> Chance:
    """Return the mean cosine of the principal angles of random a- and b-subspaces."""
    found = mean_cosine(a, b, width)
    return Chance(found.level, found.highest)


def of_noise_alignment(a: int, b: int, width: int) -> Chance:
    """Return the mean sine, over b directions, of their angles to a random a-subspace.

    Sines to a subspace are cosines to what is left beside it; those that are 0 count too.
    """
    share = min(width - a, b) / b
    found = mean_cosine(width - a, b, width)
    return Chance(share * found.level, share * found.lowest)


def of_energy(a: int, stable_rank: float, width: int) -> Chance:
    """Return ‖W U‖²/‖W‖² for a random a-subspace U.

    Each direction's share in U is a beta law, and all d of them sum to a. The squares of W's
    shares, which widen the law, sum to 1/(stable rank) at most.
    """
    mean = a / width
    of_one = 2 * mean * (1 - mean) / (width + 2)
    wide = max(width / stable_rank - 1, 0.0) / (width - 1)
    return Chance(mean, _beta_quantile(mean, of_one * wide, BEYOND))


class Cosines(NamedTuple):
    """A mean of cosines between random subspaces: its mean, and its 1 % and 99 % quantiles."""

    level: float
    lowest: float
    highest: float


def mean_cosine(a: int, b: int, width: int) -> Cosines:
    """Return the mean cosine of the min(a, b) angles between random a- and b-subspaces.

    Where a + b exceeds the width, a + b − width of the angles are 0, and the others are those
    between what is left beside the two.
    """
    a, b = min(a, b), max(a, b)
    if a + b <= width:
        return _simulated(a, b, width)
    free = width - b
    if free == 0:
        return Cosines(1.0, 1.0, 1.0)
    others = _simulated(free, width - a, width)
    return Cosines(*(1 - free / a * (1 - value) for value in others))


@lru_cache(maxsize=4096)
def _simulated(p: int, q: int, width: int) -> Cosines:
    """Return the same for p ≤ q and p + q ≤ width.

    The squared cosines are the eigenvalues of A (A + B)⁻¹ for Wishart matrices A of q and B of
    width − q degrees of freedom, which Bartlett's decomposition draws as triangles. One cosine
    alone is the root of a beta law.
    """
    if p == 1:
        one, other = q / 2, (width - q) / 2
        mean = math.exp(special.betaln(one + 0.5, other) - special.betaln(one, other))
        lowest, highest = np.sqrt(special.betaincinv(one, other, [1 - BEYOND, BEYOND]))
        return Cosines(mean, float(lowest), float(highest))
    draw = np.random.default_rng([SEED, p, q, width])
    count = min(max(DRAWS_BY_CUBES // p**3, FEWEST_DRAWS), MOST_DRAWS)
    ours, theirs = _bartlett(draw, count, p, q), _bartlett(draw, count, p, width - q)
    both = ours @ ours.transpose(0, 2, 1) + theirs @ theirs.transpose(0, 2, 1)
    cosines = np.linalg.svd(np.linalg.solve(np.linalg.cholesky(both), ours), compute_uv=False)
    means = cosines.mean(axis=1)
    if count == MOST_DRAWS:
        lowest, highest = np.quantile(means, [1 - BEYOND, BEYOND])
    else:  # of so many angles, the mean is close to normal
        reach = special.ndtri(BEYOND) * means.std(ddof=1)
        lowest, highest = means.mean() - reach, means.mean() + reach
    return Cosines(float(means.mean()), float(lowest), float(highest))


def _bartlett(draw: np.random.Generator, count: int, p: int, freedom: int) -> Array:
    """Return triangular factors (count, p, p) of Wishart matrices."""
    factors = np.tril(draw.standard_normal((count, p, p)), -1)
    at = np.arange(p)
    factors[:, at, at] = np.sqrt(draw.chisquare(freedom - at, (count, p)))
    return factors


def _of_directions(layer: Layer) -> dict[str, Chance]:
    """Return the chance of what compares the features' directions with the weight's."""
    k, width = layer.setting.signal_dim, len(layer.statistics.feature_mean)
    if layer.directions is None or k >= width:
        return {}
    a, b = layer.signal.shape[1], layer.weight_signal.shape[1]
    compared = (k, k) if layer.setting.published else (a, b)
    return {
        "alignment": of_alignment(compared[0], compared[1], width),
        "noise_alignment": of_noise_alignment(a, b, width),
        "weight_signal_energy": of_energy(a, layer.directions.stable_rank, width),
    }


def _projected(layer: Layer) -> Array:
    """Return the eigenvalues of the features that the projected CKA looks at."""
    s = layer.statistics
    if layer.setting.published and isinstance(s, Statistics):
        t = len(s.target_mean)
        return np.asarray(np.linalg.eigvalsh(s.feature_covariance[:t, :t]))
    return layer.features.values[: layer.setting.signal_dim]


def _gamma_quantile(skewness: float) -> float:
    """Return the quantile of a gamma law of mean 0, variance 1 and this skewness."""
    shape = 4 / max(skewness, 1e-4) ** 2
    return float((special.gammaincinv(shape, BEYOND) - shape) / math.sqrt(shape))


def _beta_quantile(mean: float, variance: float, share: float) -> float:
    """Return the quantile of a law on 0 … 1 of these moments: a beta law, or the mean itself."""
    if not 0 < mean < 1 or variance <= 0:
        return mean
    total = mean * (1 - mean) / variance - 1
    if total <= 0:
        return 1.0
    return float(special.betaincinv(mean * total, (1 - mean) * total, share))
