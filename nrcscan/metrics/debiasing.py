"""A CKA from unbiased estimates of HSIC: Song et al. 2012; of features, arXiv 2405.01012.

With centred Gram matrices K and L, whose rows sum to 0, the three terms of HSIC₁ come down to
tr(KL) = N²‖Σ_HY‖², Σ K_ii L_ii and tr K · tr L. No Gram matrix is needed.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from nrcscan.metrics.layer_values import Layer
from nrcscan.metrics.without_blocks import WithoutBlocks
from nrcscan.statistics.moments import Array, Statistics

Number = TypeVar("Number", float, Array)

RESOLVED = 1e-9
"""A debiased ‖Σ‖² of no more than this share of the plain one is rounding."""


def joint(layer: Layer) -> float:
    """Return the debiased ‖Σ_HY‖²."""
    s = layer.statistics
    squares = float((s.cross_covariance**2).sum())
    traces = layer.features.total * float(np.trace(s.target_covariance))
    return _debiased(squares, float(_norms(layer)[0, -1]), traces, float(s.n_samples))


def norms(layer: Layer) -> float:
    """Return √(debiased ‖Σ_H‖² · debiased ‖Σ_Y‖²); 0 where either is no more than rounding."""
    kept, n, features = _norms(layer), float(layer.statistics.n_samples), layer.features
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


def without_blocks(layer: Layer, left: WithoutBlocks, n_samples: Array) -> Array | None:
    """Return the debiased CKA without each block of samples, shape (B,); None where it has none.

    What samples' squared norms come to without a block is taken to follow the traces: it is a
    share of about 1/N of the debiased norms.

    Args:
        layer: the whole.
        left: what is left of it without each block.
        n_samples: that are left, shape (B,).
    """
    kept, targets = _norms(layer), layer.statistics.target_covariance
    y_trace = np.trace(left.target_covariance, axis1=1, axis2=2)
    h, y = left.trace / layer.features.total, y_trace / np.trace(targets)
    squares = [(matrices**2).sum(axis=(1, 2)) for matrices in (left.cross, left.target_covariance)]
    both = _debiased(squares[0], kept[0, -1] * h * y, left.trace * y_trace, n_samples)
    features = _debiased(left.square, kept[0, -2] * h**2, left.trace**2, n_samples)
    own = _debiased(squares[1], kept[1, -1] * y**2, y_trace**2, n_samples)
    if not (features > 0).all() or not (own > 0).all():
        return None
    return np.asarray(both / np.sqrt(features) / np.sqrt(own))


def inflation(layer: Layer) -> float:
    """Return how much wider debiasing makes a difference between CKAs: the ratio of the norms."""
    targets = layer.statistics.target_covariance
    plain = np.linalg.norm(layer.features.values) * np.linalg.norm(targets)
    return float(plain) / norms(layer)


def _debiased(squares: Number, together: Number, traces: Number, n: Number) -> Number:
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
