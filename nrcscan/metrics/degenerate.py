"""Where quantities are undefined, or defined and not to be relied on, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nrcscan.metrics.directions import DIRECTION_CUTOFF, Spectrum
from nrcscan.metrics.layer_values import Layer
from nrcscan.metrics.quantities import CATALOGUE, Need
from nrcscan.statistics.moments import Statistics
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

NO_PREDICTIONS = "the network makes no predictions"

PUBLISHED_RESOLUTION = 1e-7
"""Eigenvalue, as a share of the largest, under which the script's float32 sees rounding alone:
half a unit in the last place of the largest, 6e-8, and as much again from the product."""


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
    if not layer.statistics.target_covariance.any():
        say(Need.TARGETS, "the targets do not vary")
    if layer.setting.model_mse is None:
        say(Need.PREDICTIONS, NO_PREDICTIONS)
    elif layer.setting.model_mse == 0:
        reasons.setdefault("error_ratio", "the network's MSE is 0: nothing to divide by")
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
    return reasons


def notes(layer: Layer, undefined: dict[str, str]) -> Iterator[str]:
    """Yield what a reader should know about the numbers of a layer whose features vary."""
    n, d = layer.statistics.n_samples, len(layer.statistics.feature_mean)
    if n <= d:
        yield f"{n} samples for width {d}: the features have rank {n - 1} at most"
    if "alignment" not in undefined:
        yield from _of_alignment(layer)
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
