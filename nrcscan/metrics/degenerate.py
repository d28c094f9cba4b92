"""Where quantities are undefined, or defined and not to be relied on, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from nrcscan.metrics import debiasing
from nrcscan.metrics.directions import DIRECTION_CUTOFF, Spectrum
from nrcscan.metrics.gaps import features_apart, weight_apart
from nrcscan.metrics.layer_values import Layer
from nrcscan.metrics.quantities import CATALOGUE, OF_RANK, Need
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched

CONSTANT_OUTPUT = 1e-10
"""Predictions that vary less than this share of the targets' variance are a constant.

A spread of 1e-5 of the targets' cannot lift R² by more than 2e-5, whatever it goes with; float32
rounds predictions near the targets' mean to 1e-7 of their spread, a share of 1e-14.
"""

CUTOFF_ROUNDINGS = 10
"""A singular value within so many roundings of the cut-off can fall on either side of it.

Rounding each feature by ε moves a singular value by ε ‖H‖_F at most, which is ε σ₁ √(stable rank):
10 covers features of up to a hundred equal directions.
"""

ROUNDINGS_OF_OUTPUT = 4
"""Predictions are off by so many times ε of their size where they are what was to be predicted.

Each layer rounds what it makes by ε/2 at most, in either direction: 64 layers come to 4ε.
"""

NOTHING_ARRIVES = "the features do not vary to any effect: the network's output is constant"

LOST = (
    "nothing of the features gets through the layer: the spread of what it makes of them is lost in"
    " the rounding of what is added to that, its bias or another branch"
)

SMALLEST = 1e-150
"""Squares of variances under this, or over its inverse, do not fit float64 with any room."""

NO_PREDICTIONS = "the network makes no predictions"

PUBLISHED_RESOLUTION = 1e-7
"""Eigenvalue, as a share of the largest, under which the script's float32 sees rounding alone:
half a unit in the last place of the largest, 6e-8, and as much again from the product."""


def constant(output_variance: float) -> bool:
    """Say whether a network's output is constant.

    Too much weight decay shrinks features geometrically with depth until the output does not vary.
    Their shape survives in floating point, and reads as perfect collapse, but nothing of it reaches
    the output. Where on the way it was lost is no property of the network: in one of ReLUs any
    layer can be multiplied and the next divided, so that the same function shrinks elsewhere. What
    is lost in the end is lost for every layer that reads no inputs.

    Args:
        output_variance: variance of the predictions, as a share of the targets'.
    """
    return output_variance <= CONSTANT_OUTPUT


def unresolved(statistics: Statistics | Sketched, epsilon: float) -> str | None:
    """Say why a layer's features do not vary, or None if they do.

    A feature varies when its spread exceeds the rounding of its own values; `epsilon` is the
    machine epsilon of the arithmetic that made them. A value that should be the same for all
    samples is rounded to either of two neighbours, ε of it apart, at each of the last few steps
    that made it: a spread of ε/2 for each, 4ε with room.
    """
    spread, means = np.sqrt(statistics.variances), np.abs(statistics.feature_mean)
    if not (spread > 4 * epsilon * means).any():
        return "the features do not vary"
    if means.max() >= 1 / SMALLEST:
        return "squares of the means of the features are out of float64's range; rescale them"
    return _out_of_range("features", statistics.variances)


def _out_of_range(whose: str, variances: Array) -> str | None:
    """Say that norms of a covariance would overflow or vanish, or None."""
    if SMALLEST < variances.max() < 1 / SMALLEST:
        return None
    return f"squares of the variances of the {whose} are out of float64's range; rescale them"


def undefined(layer: Layer, constant: str | None) -> dict[str, str]:
    """Return quantity → reason for all that the samples and the weight do not define.

    Args:
        layer: as it was measured.
        constant: why its features count as not varying; None if they vary.
    """
    reasons: dict[str, str] = {}
    # Those of the features alone first, then those of the weight as well.
    ordered = sorted(CATALOGUE, key=lambda quantity: Need.WEIGHT in quantity.needs)

    def say(need: Need, why: str | None) -> None:
        if why is not None:
            for quantity in ordered:
                if need in quantity.needs:
                    reasons.setdefault(quantity.name, why)

    say(Need.WEIGHT, _no_weight(layer))
    say(Need.FEATURES, constant)
    n, d, k = (
        layer.statistics.n_samples,
        len(layer.statistics.feature_mean),
        layer.setting.signal_dim,
    )
    if n <= k + 1:
        say(Need.SIGNAL, f"{n} samples have at most {n - 1} directions, and k = {k}")
    if d <= k:
        say(Need.NOISE, f"width {d} leaves nothing beside k = {k} directions")
    if constant is None:
        _say_arbitrary(layer, reasons, say)
    say(Need.TARGETS, _no_targets(layer))
    at_rank = reasons if layer.at_rank is layer else undefined(layer.at_rank, constant)
    reasons.update({name: at_rank[k] for name, k in OF_RANK.items() if k in at_rank})
    say(Need.NORMS, _no_norms(layer, constant))
    if layer.setting.model_mse is None:
        say(Need.PREDICTIONS, NO_PREDICTIONS)
    if layer.directions is not None and not layer.directions.whole:
        top = layer.directions.vectors.shape[1]
        say(Need.WHOLE_WEIGHT, f"only the top {top} directions were looked for")
    if isinstance(layer.statistics, Sketched) and layer.setting.published:
        why = "the published convention needs the whole covariance, and this is a sketch"
        say(Need.PLAIN_COVARIANCE, why)
    if any(q.name not in reasons for q in CATALOGUE if Need.SPARE_SAMPLES in q.needs):
        rank = layer.predictors.rank
        if rank >= n - 1:
            why = f"{n} samples for features of rank {rank}: any targets would be fitted"
            say(Need.SPARE_SAMPLES, why)
        if 2 * rank > n:
            why = f"features of rank {rank} for {n} samples: a fit on other samples says little"
            say(Need.HALF_THE_SAMPLES, why)
    if not _errs(layer):
        say(Need.ERRORS, "the network's MSE is nothing but rounding")
    return reasons


def _say_arbitrary(
    layer: Layer, reasons: dict[str, str], say: Callable[[Need, str | None], None]
) -> None:
    """Say which of the top directions are arbitrary; the published CKA is of none."""
    arbitrary = features_apart(layer)
    say(Need.FEATURES_APART, arbitrary)
    if layer.setting.published and arbitrary is not None and reasons.get("cka") == arbitrary:
        del reasons["cka"]
    if "alignment" not in reasons:
        say(Need.WEIGHT_APART, weight_apart(layer))


def _errs(layer: Layer) -> bool:
    """Say whether the network's MSE is more than the rounding of its own predictions."""
    mse, means = layer.setting.model_mse, layer.statistics.target_mean
    # Not squared: what is far from 0 may not vary, and its square exceed float64.
    size = math.hypot(math.sqrt(layer.target_variance), math.hypot(*means) / math.sqrt(len(means)))
    return mse is None or math.sqrt(mse) > ROUNDINGS_OF_OUTPUT * layer.setting.epsilon * size


def notes(layer: Layer, undefined: dict[str, str]) -> Iterator[str]:
    """Yield what a reader should know about the numbers of a layer whose features vary."""
    n, d = layer.statistics.n_samples, len(layer.statistics.feature_mean)
    if n <= d:
        yield f"{n} samples for width {d}: the features have rank {n - 1} at most"
    if "alignment" not in undefined:
        yield from _of_alignment(layer)
    if "noise_component" not in undefined and 2 * layer.setting.signal_dim > d:
        yield (
            f"k = {layer.setting.signal_dim} of {d} directions leave little room for noise, and"
            " subspaces that are aligned by chance"
        )
    if "linear_mse" not in undefined and on_cutoff(layer.predictors, layer.setting.epsilon):
        yield (
            "a singular value of the features sits on the cut-off of the linear MSE, which"
            " jumps there: the last digits of the network's arithmetic decide it"
        )


def on_cutoff(features: Spectrum, epsilon: float) -> bool:
    """Say whether a singular value sits on the cut-off, where the linear MSE jumps.

    As far as arithmetic of this epsilon can tell.
    """
    distance = np.sqrt(features.values / features.values[0]) - DIRECTION_CUTOFF
    return bool((np.abs(distance) < CUTOFF_ROUNDINGS * epsilon).any())


def _no_weight(layer: Layer) -> str | None:
    """Say why a layer has no weight whose directions could be told, or None if it has."""
    if layer.weight is None:
        return layer.no_weight
    if not layer.weight.any():
        return "the weight is zero"
    if layer.directions is None:
        return "the top directions of the weight cannot be told apart"
    return None


def _no_targets(layer: Layer) -> str | None:
    """Say why there are no targets to compare with, or None if there are."""
    variances = np.diagonal(layer.statistics.target_covariance)
    return _out_of_range("targets", variances) if variances.any() else "the targets do not vary"


def _no_norms(layer: Layer, constant: str | None) -> str | None:
    """Say why no CKA can be debiased, or None if one can."""
    s = layer.statistics
    if isinstance(s, Sketched):
        return "a sketch does not keep what debiasing takes; --sketch none does"
    if s.norms is None:
        return "the file is of an nrcscan that did not keep what debiasing takes; extract it again"
    if s.n_samples < 4:
        return f"{s.n_samples} samples: debiasing takes 4"
    if constant is None and _no_targets(layer) is None and not debiasing.norms(layer):
        return f"of {s.n_samples} samples no two go together more than by chance"
    return None


def _of_alignment(layer: Layer) -> Iterator[str]:
    """Yield how many directions an alignment is over, or that it is noise."""
    k, features = layer.setting.signal_dim, layer.features
    counted, of_weight = layer.signal.shape[1], layer.weight_signal.shape[1]
    if layer.setting.published:
        last = features.values[k - 1] / features.values[0] if k <= len(features.values) else 0.0
        if last < PUBLISHED_RESOLUTION:
            yield (
                f"direction {k} of the features has {last:.1g} of the variance of the first, which"
                " float32 cannot resolve: the published alignment is noise here"
            )
    elif min(counted, of_weight) < k:
        assert layer.directions is not None
        yield (
            f"alignment over {min(counted, of_weight)} of k = {k} directions: the features"
            f" have rank {features.rank} and the weight {layer.directions.rank}"
        )
