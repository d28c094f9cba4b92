"""The Deep NRC metrics of one layer, from its statistics and its weight. Pure functions.

Definitions follow Rangamani & Unal, "Deep Neural Regression Collapse" (CPAL 2026), sections
3 and 4 and appendix C. Throughout, λ1 ≥ λ2 ≥ … are the eigenvalues of the features'
covariance Σ_H, U_k its top-k eigenvectors, W the layer's weight, and k the signal dimension.

A quantity that the samples do not define is absent from the values and named, with its
reason, among the undefined ones: it is never a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from nrcscan.metrics.directions import (
    DIRECTION_CUTOFF,
    Spectrum,
    WeightDirections,
    spectrum,
    top_weight_directions,
    triangle,
    weight_directions,
)
from nrcscan.metrics.error_bounds import Resolution, bounds, refused
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.options.choices import Convention
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched

CONSTANT_OUTPUT = 1e-10
"""Predictions that vary less than this share of the targets' variance are a constant.

A spread of 1e-5 of the targets' cannot lift R² by more than 2e-5, whatever it goes with; float32
rounds predictions near the targets' mean to 1e-7 of their spread, a share of 1e-14.
"""

VANISHED_DEAD = 1e-6
"""In a network of constant output: variance, as a share of the inputs', that counts as none.

A spread a thousandth of the inputs', by convention: where the output is constant, features shrink
by a factor at every layer and pass it on the way; the rounding of float32, 1e-14, is far below.
"""

VANISHED = 1e-12
"""In any network: variance, as a share of the typical layer's, that counts as none.

A spread of 1e-6 is a few roundings of float32 beside what the branch is added to, 1.2e-7 each.
"""

CUTOFF_ROUNDINGS = 10
"""A singular value within so many roundings of the cut-off can fall on either side of it.

Rounding each feature by ε moves a singular value by ε ‖H‖_F at most, which is ε σ₁ √(stable rank):
10 covers features of up to a hundred equal directions.
"""

PUBLISHED_FLOOR = 1e-12
"""What the authors' script adds under the root in its CKA, to sums over samples."""

PUBLISHED_RESOLUTION = 1e-7
"""Eigenvalue, as a share of the largest, under which the script's float32 sees rounding alone:
half a unit in the last place of the largest, 6e-8, and as much again from the product."""

EXACT = Resolution()

FROM_FEATURES = [
    "noise_component",
    "cka",
    "cka_full",
    "linear_mse",
    "excess",
    "feature_stable_rank",
    "feature_rank",
]
FROM_BOTH = ["alignment", "noise_alignment", "weight_signal_energy"]
FROM_WEIGHT = ["weight_stable_rank", "weight_rank"]


@dataclass
class LayerMetrics:
    """The quantities of one layer: `values` that are defined, reasons for those that are not.

    Attributes:
        values: quantity → number; every name of `QUANTITIES` is here or in `undefined`.
        undefined: quantity → why it is not a number here.
        notes: what a reader should know about the numbers.
        bounds: quantity → how far it can be off, where the covariance is not exact.
        varies: whether the features vary at all; nothing holds at a layer where they do not.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bounds: dict[str, float] = field(default_factory=dict)
    varies: bool = True

    def get(self, quantity: str) -> float | None:
        """Return a quantity, or None where it is undefined."""
        return self.values.get(quantity)


def stable_rank(values: Array) -> float:
    """Return Σλ²/λ1² of eigenvalues (1 … their number); for a weight pass σ in place of λ."""
    relative = values / values[0]
    return float(relative @ relative)


def input_matrix(weight: Array, *, groups: int = 1, transposed: bool = False) -> Array:
    """Return a weight as a matrix (rows, d) whose right singular vectors are its input directions.

    A linear weight (out, d) is itself. A convolution's kernel (c_out, c_in/groups, …), or
    (c_in, c_out/groups, …) when transposed, becomes (c_out·kh·kw, c_in); with groups, each
    block sees its own input channels only, and is reduced to as few rows as carry it.
    """
    if weight.ndim == 2 and groups == 1 and not transposed:
        return weight
    # (group, channels in, channels out · kernel): the left singular vectors are wanted.
    if transposed:
        kernel = weight.reshape(groups, weight.shape[0] // groups, -1)
    else:
        c_in = weight.shape[1]
        grouped = weight.reshape(groups, weight.shape[0] // groups, c_in, -1)
        kernel = grouped.transpose(0, 2, 1, 3).reshape(groups, c_in, -1)
    if groups == 1:
        return np.ascontiguousarray(kernel[0].T)
    return np.asarray(scipy.linalg.block_diag(*(triangle(block.T) for block in kernel)))


def noise_component(features: Spectrum, k: int) -> float:
    """NRC1 (paper section 3): Σ_{i>k} λ_i / Σ_i λ_i, in [0, 1]; collapsed → 0."""
    return float((features.values[k:].sum() + features.residual) / features.total)


def projected_cka(features: Spectrum, statistics: Statistics | Sketched, k: int) -> float:
    """NRC2 (paper section 3): linear CKA of U_k U_kᵀ H with Y, in [0, 1]; collapsed → 1."""
    cross = features.vectors[:, :k].T @ statistics.cross_covariance
    own = np.linalg.norm(features.values[:k])
    return float((cross**2).sum() / (own * np.linalg.norm(statistics.target_covariance)))


def full_cka(features: Spectrum, statistics: Statistics | Sketched) -> float:
    """Linear CKA of H with Y, in [0, 1]; ‖Σ_H‖ is that of its eigenvalues."""
    cross = statistics.cross_covariance
    own = np.linalg.norm(features.values)
    return float((cross**2).sum() / (own * np.linalg.norm(statistics.target_covariance)))


def cka_of_first(statistics: Statistics, columns: int) -> float:
    """Linear CKA of the first `columns` features with Y, in [0, 1]; 0 where they never vary.

    The authors' script divides tr(KL) of the centred Gram matrices, which is N² ‖Σ_HY‖², by
    √(tr(KK) tr(LL) + 1e-12): where these features hardly vary, its CKA is far below the CKA.
    """
    cross = statistics.cross_covariance[:columns]
    own = np.linalg.norm(statistics.feature_covariance[:columns, :columns])
    both = float(own * np.linalg.norm(statistics.target_covariance))
    floor = math.sqrt(PUBLISHED_FLOOR) / statistics.n_samples**2
    return float((cross**2).sum()) / math.hypot(both, floor)


def alignment(features: Array, weight: Array) -> float:
    """NRC3 (paper section 3): mean cosine of the principal angles, in [0, 1]; collapsed → 1.

    Args:
        features: orthonormal columns (d, k_H), the features' top directions.
        weight: orthonormal columns (d, k_W), the weight's top input directions.
    """
    return float(scipy.linalg.svdvals(features.T @ weight).mean())


def noise_alignment(features: Array, weight: Array) -> float:
    """NRC3, noise side: mean sine of the angles from the weight's top directions to the features'.

    The mean singular value of (I − U Uᵀ) V over the columns of V, in [0, 1]; collapsed → 0.
    """
    return float(scipy.linalg.svdvals(weight - features @ (features.T @ weight)).mean())


def weight_signal_energy(features: Array, matrix: Array) -> float:
    """‖W U_k‖_F² / ‖W‖_F²: the share of W that acts on the signal, in [0, 1]; collapsed → 1."""
    return float((np.linalg.norm(matrix @ features) / np.linalg.norm(matrix)) ** 2)


def linear_mse(
    features: Spectrum, cross_covariance: Array, target_covariance: Array, epsilon: float
) -> tuple[float, bool]:
    """NRC4 (paper section 3): MSE of the least-squares prediction of Y from H; collapsed → MSE.

    Directions of H below the cut-off 1e-3 of the largest singular value are left out. In
    units of Y squared, mean over samples and targets. Also says whether a singular value sits
    on the cut-off, where the result jumps, as far as arithmetic of this epsilon can tell.
    """
    kept = features.values > DIRECTION_CUTOFF**2 * features.values[0]
    cross = features.vectors[:, kept].T @ cross_covariance
    explained = (cross**2 / features.values[kept, None]).sum()
    residual = max(float(np.trace(target_covariance) - explained), 0.0)
    distance = np.sqrt(features.values / features.values[0]) - DIRECTION_CUTOFF
    on_cutoff = bool((np.abs(distance) < CUTOFF_ROUNDINGS * epsilon).any())
    return residual / len(target_covariance), on_cutoff


def vanished(variances: Sequence[float], output_variance: float) -> list[str | None]:
    """Say, per position in depth, why its features count as not varying, or None.

    Too much weight decay shrinks features geometrically with depth until the output is
    constant. Their shape survives in floating point, and reads as perfect collapse, but nothing
    of it reaches the output.

    Args:
        variances: mean variance of a feature at each position; the first is the inputs'.
        output_variance: variance of the predictions, as a share of the targets'.
    """
    inputs, typical = variances[0], float(np.median(variances))
    constant = output_variance <= CONSTANT_OUTPUT
    found: list[str | None] = [None]
    for variance in variances[1:]:
        if constant and variance <= VANISHED_DEAD * inputs:
            found.append("the features do not vary, nor does the network's output")
        elif variance <= VANISHED * typical:
            found.append("the features do not vary beside those of the other layers")
        else:
            found.append(None)
    return found


def unresolved(statistics: Statistics | Sketched, epsilon: float) -> str | None:
    """Say why a layer's features do not vary, or None if they do.

    A feature varies when its spread exceeds the rounding of its own values; `epsilon` is the
    machine epsilon of the arithmetic that made them. A value that should be the same for all
    samples is rounded to either of two neighbours, ε of it apart, at each of the last few steps
    that made it: a spread of ε/2 for each, 4ε with room.
    """
    spread = np.sqrt(statistics.variances)
    if (spread > 4 * epsilon * np.abs(statistics.feature_mean)).any():
        return None
    return "the features do not vary"


def layer_metrics(
    statistics: Statistics | Sketched,
    features: Spectrum,
    weight: Array | None,
    *,
    signal_dim: int,
    model_mse: float,
    convention: Convention = "default",
    epsilon: float = 0.0,
    dead: str | None = None,
    known: Resolution = EXACT,
) -> LayerMetrics:
    """Return every quantity of one layer.

    Args:
        statistics: of the features that reach the layer, width d, beside the targets.
        features: the spectrum of their covariance.
        weight: W as a matrix (rows, d), see `input_matrix`; None when it does not act on
            these features (they were flattened).
        signal_dim: k.
        model_mse: the network's own MSE on the same samples.
        convention: "published" follows the authors' script where it differs.
        epsilon: machine epsilon of the arithmetic that made the features.
        dead: why this layer counts as not varying although its features do by a trace.
        known: how well the covariance is known.
    """
    constant = dead or unresolved(statistics, epsilon)
    result = LayerMetrics(varies=constant is None)
    result.undefined.update(_undefined(statistics, weight, signal_dim, constant))

    def put(quantity: str, value: float) -> None:
        if quantity not in result.undefined:
            result.values[quantity] = value

    wanted = {q for q in QUANTITIES if q not in result.undefined}
    directions = None
    if weight is not None and "weight_rank" in wanted:
        directions = _weight_directions(weight, signal_dim, partly=known.sketched)
        if directions is None:
            why = "the top directions of the weight cannot be told apart"
            result.undefined.update(dict.fromkeys(FROM_WEIGHT + FROM_BOTH, why))
        else:
            put("weight_stable_rank", directions.stable_rank)
            if directions.whole:
                put("weight_rank", directions.rank)
            else:
                why = f"only the top {directions.vectors.shape[1]} directions were looked for"
                result.undefined["weight_rank"] = why
    if not result.varies:
        return result
    n, d = statistics.n_samples, len(statistics.feature_mean)
    if n <= d:
        result.notes.append(f"{n} samples for width {d}: the features have rank {n - 1} at most")
    put("feature_rank", features.rank)
    put("feature_stable_rank", stable_rank(features.values))
    put("noise_component", noise_component(features, signal_dim))
    if "cka_full" in wanted:
        put("cka_full", full_cka(features, statistics))
    if isinstance(statistics, Sketched) and convention == "published":
        why = "the published convention needs the whole covariance, and this is a sketch"
        result.undefined.update(cka=why, linear_mse=why, excess=why)
        wanted -= {"cka", "linear_mse", "excess"}
    elif "cka" in wanted and convention == "published" and isinstance(statistics, Statistics):
        put("cka", cka_of_first(statistics, len(statistics.target_mean)))
    elif "cka" in wanted:
        put("cka", projected_cka(features, statistics, signal_dim))
    if directions is not None and "alignment" in wanted:
        _put_alignment(result, features, directions, signal_dim, convention)
        counted = features.vectors[:, : min(signal_dim, features.rank)]
        put("weight_signal_energy", weight_signal_energy(counted, np.asarray(weight)))
    if "linear_mse" in wanted:
        _put_linear_mse(result, statistics, features, model_mse, convention, epsilon)
    if known.tau:
        _put_bounds(result, statistics, features, signal_dim, known)
    return result


def _weight_directions(weight: Array, k: int, *, partly: bool) -> WeightDirections | None:
    """Return the directions of a weight, or of a wide one only the top k."""
    return top_weight_directions(weight, k) if partly else weight_directions(weight, k)


def _put_bounds(
    result: LayerMetrics,
    statistics: Statistics | Sketched,
    features: Spectrum,
    k: int,
    known: Resolution,
) -> None:
    """Say how far each quantity can be off, and refuse what is too far."""
    found = bounds(
        features,
        statistics.cross_covariance,
        statistics.target_covariance,
        result.values,
        k,
        known,
    )
    variance = float(np.trace(statistics.target_covariance)) / len(statistics.target_mean)
    for quantity in refused(found, result.values, variance):
        del result.values[quantity]
        result.undefined[quantity] = known.refusal(found.pop(quantity))
    result.bounds.update(found)
    noise = result.values.get("noise_component")
    if noise is not None and noise < found["noise_component"]:
        floor = found["noise_component"]
        result.values["noise_component"] = floor
        result.notes.append(
            f"the noise component is {floor:.1g} at most, which is all that can be resolved"
        )


def _put_alignment(
    result: LayerMetrics,
    features: Spectrum,
    directions: WeightDirections,
    k: int,
    convention: Convention,
) -> None:
    """Align the directions that count, and note when they are fewer than k."""
    k_features = min(k, features.rank)
    k_weight = min(k, directions.rank)
    u, v = features.vectors[:, :k_features], directions.vectors[:, :k_weight]
    result.values["noise_alignment"] = noise_alignment(u, v)
    if convention == "published":
        u, v = features.vectors[:, :k], directions.vectors[:, :k]
        last = features.values[k - 1] / features.values[0] if k <= len(features.values) else 0.0
        if last < PUBLISHED_RESOLUTION:
            result.notes.append(
                f"direction {k} of the features has {last:.1g} of the variance of the first, which"
                " float32 cannot resolve: the published alignment is noise here"
            )
    elif min(k_features, k_weight) < k:
        result.notes.append(
            f"alignment over {min(k_features, k_weight)} of k = {k} directions: the features"
            f" have rank {features.rank} and the weight {directions.rank}"
        )
    result.values["alignment"] = alignment(u, v)


def _put_linear_mse(
    result: LayerMetrics,
    statistics: Statistics | Sketched,
    features: Spectrum,
    model_mse: float,
    convention: Convention,
    epsilon: float,
) -> None:
    """Predict the targets linearly: about the mean, or without an intercept as published."""
    if convention == "published" and isinstance(statistics, Statistics):
        mean = statistics.feature_mean
        features = spectrum(statistics.feature_covariance + np.outer(mean, mean))
    n = statistics.n_samples
    if features.rank >= n - 1:
        why = f"{n} samples for features of rank {features.rank}: any targets would be fitted"
        result.undefined.update(linear_mse=why, excess=why)
        return
    mse, on_cutoff = linear_mse(
        features, statistics.cross_covariance, statistics.target_covariance, epsilon
    )
    variance = float(np.trace(statistics.target_covariance)) / len(statistics.target_mean)
    result.values["linear_mse"] = mse
    result.values["excess"] = (mse - model_mse) / variance
    if on_cutoff:
        result.notes.append(
            "a singular value of the features sits on the cut-off of the linear MSE, which"
            " jumps there: the last digits of the network's arithmetic decide it"
        )


def _undefined(
    statistics: Statistics | Sketched,
    weight: Array | None,
    k: int,
    constant: str | None,
) -> Mapping[str, str]:
    """Return quantity → reason for all that these samples and this weight do not define."""
    n, d = statistics.n_samples, len(statistics.feature_mean)
    undefined: dict[str, str] = {}

    def say(quantities: list[str], why: str) -> None:
        for quantity in quantities:
            undefined.setdefault(quantity, why)

    if weight is None:
        say(FROM_BOTH + FROM_WEIGHT, "the weight does not act on flattened features")
    elif not weight.any():
        say(FROM_BOTH + FROM_WEIGHT, "the weight is zero")
    if constant:
        say(FROM_FEATURES + FROM_BOTH, constant)
        return undefined
    if n <= k + 1:
        say(
            ["noise_component", "cka", "linear_mse", "excess", *FROM_BOTH],
            f"{n} samples have at most {n - 1} directions, and k = {k}",
        )
    if d <= k:
        say(["noise_component", *FROM_BOTH], f"width {d} leaves nothing beside k = {k} directions")
    if not statistics.target_covariance.any():
        say(["cka", "cka_full", "linear_mse", "excess"], "the targets do not vary")
    return undefined
