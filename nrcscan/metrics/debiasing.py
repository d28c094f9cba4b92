"""A CKA from unbiased estimates of HSIC: Song et al. 2012; of features, arXiv 2405.01012.

With centred Gram matrices K and L, whose rows sum to 0, the three terms of HSIC₁ come down to
tr(KL) = N²‖Σ_HY‖², Σ K_ii L_ii and tr K · tr L. No Gram matrix is needed.
"""

from __future__ import annotations

import math

import numpy as np

from nrcscan.metrics.layer_values import Layer
from nrcscan.statistics.moments import Array, Statistics

RESOLVED = 1e-9
"""A debiased ‖Σ‖² of no more than this share of the plain one is rounding."""


def joint(layer: Layer) -> float:
    """Return the debiased ‖Σ_HY‖²."""
    s = layer.statistics
    squares = float((s.cross_covariance**2).sum())
    traces = layer.features.total * float(np.trace(s.target_covariance))
    return _debiased(squares, float(_norms(layer)[0, -1]), traces, s.n_samples)


def norms(layer: Layer) -> float:
    """Return √(debiased ‖Σ_H‖² · debiased ‖Σ_Y‖²); 0 where either is no more than rounding."""
    kept, n, features = _norms(layer), layer.statistics.n_samples, layer.features
    targets = layer.statistics.target_covariance
    own = (
        (float(features.values @ features.values), float(kept[0, -2]), features.total),
        (float((targets**2).sum()), float(kept[1, -1]), float(np.trace(targets))),
    )
    found = 1.0
    for squares, together, trace in own:
        left = _debiased(squares, together, trace**2, n)
        found *= math.sqrt(left) if left > RESOLVED * squares else 0.0
    return found


def inflation(layer: Layer) -> float:
    """Return how much wider debiasing makes a difference between CKAs: the ratio of the norms."""
    targets = layer.statistics.target_covariance
    plain = np.linalg.norm(layer.features.values) * np.linalg.norm(targets)
    return float(plain) / norms(layer)


def _debiased(squares: float, together: float, traces: float, n: int) -> float:
    """Return HSIC₁ times (N − 3)/N: ‖Σ‖² less what it is where samples are unrelated.

    Args:
        squares: ‖Σ‖², of the covariance between two sets of columns.
        together: mean product of the samples' squared norms in the two.
        traces: product of the traces of the two covariances.
        n: samples, 4 at least.
    """
    return squares - together / (n - 2) + traces / ((n - 1) * (n - 2))


def _norms(layer: Layer) -> Array:
    assert isinstance(layer.statistics, Statistics)
    assert layer.statistics.norms is not None
    return layer.statistics.norms
