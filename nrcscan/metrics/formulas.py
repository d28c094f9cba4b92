"""The formula of every quantity: a pure function of a layer, named as in the catalogue.

Definitions follow Rangamani & Unal, "Deep Neural Regression Collapse" (CPAL 2026), sections
3 and 4 and appendix C. Throughout, λ1 ≥ λ2 ≥ … are the eigenvalues of the features'
covariance Σ_H, U_k its top-k eigenvectors, W the layer's weight, and k the signal dimension.
Each is asked only where `degenerate` finds it defined. Ranges and units are in the catalogue.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg

from nrcscan.metrics import debiasing
from nrcscan.metrics.directions import DIRECTION_CUTOFF, Spectrum, WeightDirections
from nrcscan.metrics.layer_values import Layer
from nrcscan.statistics.moments import Array, Statistics

PUBLISHED_FLOOR = 1e-12
"""What the authors' script adds under the root in its CKA, to sums over samples."""


def noise_component(layer: Layer) -> float:
    """NRC1 (paper section 3): Σ_{i>k} λ_i / Σ_i λ_i."""
    features = layer.features
    noise = features.values[layer.setting.signal_dim :].sum() + features.residual
    return float(noise / features.total)


def cka(layer: Layer) -> float:
    """NRC2 (paper section 3): linear CKA of U_k U_kᵀ H with Y."""
    if layer.setting.published and isinstance(layer.statistics, Statistics):
        return _cka_of_first(layer.statistics, len(layer.statistics.target_mean))
    k, features = layer.setting.signal_dim, layer.features
    cross = features.vectors[:, :k].T @ layer.statistics.cross_covariance
    return _cka(cross, features.values[:k], layer.statistics.target_covariance)


def cka_full(layer: Layer) -> float:
    """Linear CKA of H with Y; ‖Σ_H‖ is that of its eigenvalues."""
    s = layer.statistics
    return _cka(s.cross_covariance, layer.features.values, s.target_covariance)


def cka_debiased(layer: Layer) -> float:
    """Linear CKA of H with Y from unbiased estimates (Song et al. 2012; arXiv 2405.01012)."""
    return debiasing.joint(layer) / debiasing.norms(layer)


def alignment(layer: Layer) -> float:
    """NRC3 (paper section 3): mean cosine of the principal angles between U_k and V_k.

    Of the directions that count; as published, of the top k as they come.
    """
    if not layer.setting.published:
        return mean_cosine(layer.signal, layer.weight_signal)
    k = layer.setting.signal_dim
    return mean_cosine(layer.features.vectors[:, :k], _directions(layer).vectors[:, :k])


def noise_alignment(layer: Layer) -> float:
    """NRC3, noise side: mean sine of the angles from the weight's top directions to the features'.

    The mean singular value of (I − U Uᵀ) V over the columns of V.
    """
    u, v = layer.signal, layer.weight_signal
    return float(scipy.linalg.svdvals(v - u @ (u.T @ v)).mean())


def noise_component_r(layer: Layer) -> float:
    """NRC1 with the targets' rank r for k, as in the paper's figure 3."""
    return noise_component(layer.at_rank)


def alignment_r(layer: Layer) -> float:
    """NRC3 with r for k."""
    return alignment(layer.at_rank)


def noise_alignment_r(layer: Layer) -> float:
    """NRC3, noise side, with r for k: the weight's top r directions against all but the top r."""
    return noise_alignment(layer.at_rank)


def weight_signal_energy(layer: Layer) -> float:
    """‖W U_k‖_F² / ‖W‖_F²: the share of W that acts on the signal."""
    matrix = np.asarray(layer.weight)
    return float((np.linalg.norm(matrix @ layer.signal) / np.linalg.norm(matrix)) ** 2)


def linear_mse(layer: Layer) -> float:
    """NRC4 (paper section 3): MSE of the least-squares prediction of Y from H.

    Directions of H below the cut-off 1e-3 of the largest singular value are left out. In
    units of Y squared, mean over samples and targets.
    """
    features, targets = layer.predictors, layer.statistics.target_covariance
    kept = features.values > DIRECTION_CUTOFF**2 * features.values[0]
    cross = features.vectors[:, kept].T @ layer.statistics.cross_covariance
    explained = (cross**2 / features.values[kept, None]).sum()
    return max(float(np.trace(targets) - explained), 0.0) / len(targets)


def linear_mse_held_out(layer: Layer) -> float:
    """MSE of linear predictions on samples that they were not fitted to.

    From blocks of samples, each predicted by a fit on all others. Without blocks by generalised
    cross-validation (Golub, Heath & Wahba 1979): the linear MSE over (1 - (rank + 1)/N)².
    """
    if layer.fits is not None and layer.blocks is not None:
        return float(np.average(layer.fits.held_out.mean(axis=1), weights=layer.blocks.n_samples))
    free = 1 - (layer.predictors.rank + 1) / layer.statistics.n_samples
    return linear_mse(layer) / free**2


def error_ratio(layer: Layer) -> float:
    """NRC4: the held-out linear MSE over the network's own MSE; close to 1 when collapsed."""
    assert layer.setting.model_mse is not None
    return linear_mse_held_out(layer) / layer.setting.model_mse


def excess(layer: Layer) -> float:
    """How far the linear MSE is above the network's own, as a share of the targets' variance."""
    assert layer.setting.model_mse is not None
    return (linear_mse(layer) - layer.setting.model_mse) / layer.target_variance


def feature_stable_rank(layer: Layer) -> float:
    """Σλ²/λ1² of the features' covariance."""
    return stable_rank(layer.features)


def weight_stable_rank(layer: Layer) -> float:
    """‖W‖²/‖W‖₂²."""
    return _directions(layer).stable_rank


def feature_rank(layer: Layer) -> int:
    """How many directions of the features count."""
    return layer.features.rank


def weight_rank(layer: Layer) -> int:
    """How many directions of the weight count."""
    return _directions(layer).rank


def stable_rank(features: Spectrum) -> float:
    """Return Σλ²/λ1² of a covariance (1 … the number of its eigenvalues)."""
    relative = features.values / features.values[0]
    return float(relative @ relative)


def mean_cosine(u: Array, v: Array) -> float:
    """Return the mean cosine of the principal angles between two orthonormal bases, as columns."""
    return float(scipy.linalg.svdvals(u.T @ v).mean())


def _cka(cross: Array, eigenvalues: Array, target_covariance: Array) -> float:
    """Return ‖Σ_HY‖² / (‖Σ_H‖ ‖Σ_Y‖), Frobenius norms; 1 where rounding makes it more."""
    own = np.linalg.norm(eigenvalues)
    return min(float((cross**2).sum() / (own * np.linalg.norm(target_covariance))), 1.0)


def _cka_of_first(statistics: Statistics, columns: int) -> float:
    """Return the linear CKA of the first `columns` features with Y; 0 where they never vary.

    The authors' script divides tr(KL) of the centred Gram matrices, which is N² ‖Σ_HY‖², by
    √(tr(KK) tr(LL) + 1e-12): where these features hardly vary, its CKA is far below the CKA.
    """
    cross = statistics.cross_covariance[:columns]
    own = np.linalg.norm(statistics.feature_covariance[:columns, :columns])
    both = float(own * np.linalg.norm(statistics.target_covariance))
    floor = math.sqrt(PUBLISHED_FLOOR) / statistics.n_samples**2
    return min(float((cross**2).sum()) / math.hypot(both, floor), 1.0)


def _directions(layer: Layer) -> WeightDirections:
    assert layer.directions is not None
    return layer.directions
