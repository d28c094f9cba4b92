"""How far a quantity would move with other samples: its values without each block of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nrcscan.metrics import debiasing
from nrcscan.metrics.jackknife import corrected, standard_error
from nrcscan.metrics.layer_values import Layer, LayerMetrics
from nrcscan.metrics.quantities import OF_RANK
from nrcscan.metrics.without_blocks import WithoutBlocks, target_covariances
from nrcscan.statistics.blocks import Blocks, Fits, Targets
from nrcscan.statistics.moments import Array, Statistics

BIASED = ("linear_mse", "excess")
"""Lower on the samples that were fitted to than on others; the bias of any other quantity is
small beside its standard error, which taking it off would widen."""

TURNING = (
    "alignment",
    "noise_alignment",
    "alignment_r",
    "noise_alignment_r",
    "weight_signal_energy",
)
"""What hangs on where the features' top directions point."""

UNSURE = 3.0
"""A gap of so many of its standard errors, or less, says little of how far directions turn: they
do by its inverse. Measured (`benchmarks/coverage.py`); to second order it would be √3."""


def put_errors(result: LayerMetrics, layer: Layer) -> None:
    """Put in the values without each block, and the standard errors that follow from them."""
    if layer.blocks is None or not isinstance(layer.statistics, Statistics):
        return
    left = _Left(layer, layer.statistics, layer.blocks)
    n = layer.blocks.n_samples
    for quantity, value in result.values.items():
        without = _finite(_WITHOUT[quantity], left) if quantity in _WITHOUT else None
        if without is None:
            continue
        result.without_block[quantity] = without
        error = standard_error(value, without, n)
        if quantity in TURNING:
            error *= (left.at_rank if quantity in OF_RANK else left).widening
        result.standard_errors[quantity] = error
        if quantity in BIASED:
            result.corrected[quantity] = corrected(value, without, n)
    result.gap_error = left.gap_error


def _finite(without_blocks: Callable[[_Left], Array | None], left: _Left) -> Array | None:
    """Return values without each block; None where nothing varies any more, or float64 ends."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        try:
            found = without_blocks(left)
        except np.linalg.LinAlgError:
            return None
    return found if found is not None and np.isfinite(found).all() else None


@dataclass(frozen=True)
class ModelErrors:
    """The standard errors of a network's fit.

    Attributes:
        mse: of its MSE.
        r2: of its R²; None where the targets do not vary.
        mse_without_block: its MSE without each block, shape (B,).
        r2_without_block: its R² likewise; None likewise.
    """

    mse: float
    r2: float | None
    mse_without_block: Array
    r2_without_block: Array | None


def model_errors(targets: Targets) -> ModelErrors | None:
    """Return how far a network's fit would move with other samples; None without predictions."""
    if targets.squared_error is None:
        return None
    n = targets.n_samples
    at = targets.mean - np.average(targets.mean, axis=0, weights=n)
    second = np.diagonal(targets.covariance, axis1=1, axis2=2) + at**2
    squared = targets.squared_error.mean(axis=1)
    mse, variance = (float(np.average(v, weights=n)) for v in (squared, second.mean(axis=1)))
    mses = targets.left_out(squared)
    variances = (targets.left_out(second) - targets.left_out(at) ** 2).mean(axis=1)
    error = standard_error(mse, mses, n)
    if not variance > 0 or not (variances > 0).all():
        return ModelErrors(error, None, mses, None)
    r2s = 1 - mses / variances
    return ModelErrors(error, standard_error(1 - mse / variance, r2s, n), mses, r2s)


@dataclass(frozen=True, eq=False)
class _Left:
    """What is left of a layer without each of its blocks."""

    layer: Layer
    statistics: Statistics
    blocks: Blocks

    @cached_property
    def samples(self) -> WithoutBlocks | None:
        """Features without each block; None where the digest has fewer than k directions."""
        k = self.layer.setting.signal_dim
        if k > self.blocks.basis.shape[1]:
            return None
        return WithoutBlocks.of(self.blocks, self.statistics, self.layer.features, k)

    @cached_property
    def gap_error(self) -> float | None:
        """The standard error of the gap after the directions that count; None if unknown."""
        gap, gaps = self.layer.gap, _finite(_gap, self)
        if gap is None or gaps is None:
            return None
        return standard_error(gap, gaps, self.blocks.n_samples)

    @property
    def widening(self) -> float:
        """How much wider intervals of directions are than the jackknife says, from 1 on."""
        gap, error = self.layer.gap, self.gap_error
        return 1.0 if not gap or error is None else math.hypot(1.0, UNSURE * error / gap)

    @cached_property
    def signal(self) -> Array | None:
        """The top directions that count, in the total's, shape (B, d, k at most)."""
        count = self.layer.signal.shape[1]
        return None if self.samples is None else self.samples.vectors[:, :, :count]

    @cached_property
    def at_rank(self) -> _Left:
        """The same with the targets' rank r for k; see `Layer.at_rank`."""
        layer = self.layer.at_rank
        if layer is self.layer:
            return self
        left, samples = _Left(layer, self.statistics, self.blocks), self.samples
        if samples is not None:
            left.__dict__["samples"] = samples.of_first(layer.setting.signal_dim)
        return left

    @property
    def fits(self) -> Fits | None:
        return self.layer.fits

    @property
    def model_mse(self) -> Array | None:
        """The network's MSE without each block, shape (B,)."""
        squared = self.blocks.targets.squared_error
        return None if squared is None else self.blocks.targets.left_out(squared).mean(axis=1)

    @property
    def published(self) -> bool:
        return self.layer.setting.published


def _gap(left: _Left) -> Array | None:
    samples, count = left.samples, left.layer.signal.shape[1]
    return None if samples is None else samples.gap(count)


def _noise_component(left: _Left) -> Array | None:
    if left.samples is None:
        return None
    tail = left.samples.trace - left.samples.top.sum(axis=1)
    return np.maximum(tail, 0.0) / left.samples.trace


def _cka(left: _Left) -> Array | None:
    if left.samples is None or left.published:
        return None
    cross = np.swapaxes(left.samples.vectors, 1, 2) @ left.samples.cross
    own = np.linalg.norm(left.samples.top, axis=1) * _norms(left.samples.target_covariance)
    return np.asarray(_norms(cross) ** 2 / own)


def _cka_full(left: _Left) -> Array | None:
    if left.samples is None:
        return None
    own = np.sqrt(left.samples.square) * _norms(left.samples.target_covariance)
    return np.asarray(_norms(left.samples.cross) ** 2 / own)


def _cka_debiased(left: _Left) -> Array | None:
    if left.samples is None:
        return None
    return debiasing.without_blocks(left.layer, left.samples, left.blocks.targets.rest)


def _alignment(left: _Left) -> Array | None:
    if left.signal is None or left.published:
        return None
    weight = left.layer.features.vectors.T @ left.layer.weight_signal
    return _mean_singular(np.swapaxes(left.signal, 1, 2) @ weight)


def _noise_alignment(left: _Left) -> Array | None:
    if left.signal is None:
        return None
    weight = left.layer.features.vectors.T @ left.layer.weight_signal
    return _mean_singular(weight - left.signal @ (np.swapaxes(left.signal, 1, 2) @ weight))


def _noise_component_r(left: _Left) -> Array | None:
    return _noise_component(left.at_rank)


def _alignment_r(left: _Left) -> Array | None:
    return _alignment(left.at_rank)


def _noise_alignment_r(left: _Left) -> Array | None:
    return _noise_alignment(left.at_rank)


def _weight_signal_energy(left: _Left) -> Array | None:
    if left.signal is None:
        return None
    matrix = np.asarray(left.layer.weight)
    b, d, k = left.signal.shape
    every = left.layer.features.vectors @ left.signal.transpose(1, 0, 2).reshape(d, b * k)
    squares = ((matrix @ every) ** 2).sum(axis=0).reshape(b, k).sum(axis=1)
    return np.asarray(squares / np.linalg.norm(matrix) ** 2)


def _linear_mse(left: _Left) -> Array | None:
    return None if left.fits is None else left.fits.others.mean(axis=1)


def _linear_mse_held_out(left: _Left) -> Array | None:
    return None if left.fits is None else left.fits.held_out_of_others.mean(axis=1)


def _error_ratio(left: _Left) -> Array | None:
    held_out, mse = _linear_mse_held_out(left), left.model_mse
    return None if held_out is None or mse is None else held_out / mse


def _excess(left: _Left) -> Array | None:
    linear, mse = _linear_mse(left), left.model_mse
    if linear is None or mse is None:
        return None
    targets = target_covariances(left.blocks, left.statistics)
    return (linear - mse) / np.diagonal(targets, axis1=1, axis2=2).mean(axis=1)


def _feature_stable_rank(left: _Left) -> Array | None:
    return None if left.samples is None else left.samples.square / left.samples.top[:, 0] ** 2


_WITHOUT: dict[str, Callable[[_Left], Array | None]] = {
    "noise_component": _noise_component,
    "cka": _cka,
    "cka_full": _cka_full,
    "cka_debiased": _cka_debiased,
    "alignment": _alignment,
    "noise_alignment": _noise_alignment,
    "noise_component_r": _noise_component_r,
    "alignment_r": _alignment_r,
    "noise_alignment_r": _noise_alignment_r,
    "weight_signal_energy": _weight_signal_energy,
    "linear_mse": _linear_mse,
    "linear_mse_held_out": _linear_mse_held_out,
    "error_ratio": _error_ratio,
    "excess": _excess,
    "feature_stable_rank": _feature_stable_rank,
}
"""Quantity → its values without each block, shape (B,); None where they are not known."""


def _norms(matrices: Array) -> Array:
    """Return the Frobenius norm of each matrix."""
    return np.asarray(np.linalg.norm(matrices, axis=(1, 2)))


def _mean_singular(matrices: Array) -> Array:
    """Return the mean singular value of each matrix."""
    return np.asarray(np.linalg.svd(matrices, compute_uv=False).mean(axis=1))
