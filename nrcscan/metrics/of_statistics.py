"""The metrics of one layer whose statistics somebody else has taken."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from nrcscan.errors import UsageError
from nrcscan.metrics.degenerate import NO_PREDICTIONS
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.layer_metrics import layer_metrics
from nrcscan.metrics.layer_values import Layer, LayerMetrics, Setting
from nrcscan.metrics.target_spectrum import target_spectrum
from nrcscan.options.choices import Convention
from nrcscan.statistics.moments import Array, Statistics

NO_WEIGHT = "no weight was given"
NO_MSE = "no model_mse was given"


def metrics(
    statistics: Statistics,
    weight: ArrayLike | None = None,
    *,
    k: int | Literal["t", "auto"] = "t",
    model_mse: float | None = None,
    convention: Convention = "default",
    epsilon: float = 2.0**-23,
) -> LayerMetrics:
    """Compute the Deep NRC metrics of one layer from the moments of its features and targets.

    They equal those of a report but for error bars, which take blocks of samples.

    >>> import nrcscan
    >>> moments = nrcscan.Moments(width=2, n_targets=1)
    >>> moments.update([[3.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-3.0, -0.1]], [[3], [1], [-1], [-3]])
    >>> found = nrcscan.metrics(moments.statistics(), [[1.0, 0.0]])
    >>> round(found.noise_component, 3), found["alignment"] > 0.99
    (0.002, True)

    Args:
        statistics: of `nrcscan.Moments`: features of width d beside t targets.
        weight: of the layer that reads these features, shape (out, d), an array or a tensor; None
            leaves out what compares it with them.
        k: how many signal directions there are, from 1: "t" for the number of targets, "auto" for
            their rank, or a number.
        model_mse: the network's own mean squared error on the same samples, mean over targets; None
            leaves out `error_ratio` (NRC4).
        convention: "published" follows the authors' script where it differs.
        epsilon: machine epsilon of what the features were computed in, by default that of float32;
            it tells noise from rounding.

    Returns:
        Every quantity of docs/metrics.md as an attribute and an item; one that the samples do not
        define is None, and `undefined` says why.

    Raises:
        UsageError: what is given are no statistics, the weight does not fit the features, or k is
            no whole number from 1 on.
    """
    if not isinstance(statistics, Statistics):
        raise UsageError(
            f"statistics are a {type(statistics).__name__}: give what the method statistics() of"
            " nrcscan.Moments returns"
        )
    directions = target_spectrum(statistics.target_mean, statistics.target_covariance)
    setting = Setting(
        _number(k, len(statistics.target_mean), directions.rank),
        model_mse,
        convention,
        epsilon,
        directions.rank,
    )
    features = spectrum(statistics.feature_covariance)
    matrix = None if weight is None else _matrix(weight, len(statistics.feature_mean))
    found = layer_metrics(Layer(statistics, features, matrix, setting, no_weight=NO_WEIGHT))
    for quantity, why in found.undefined.items():
        if why == NO_PREDICTIONS:
            found.undefined[quantity] = NO_MSE
    return found


def _number(asked: int | str, n_targets: int, rank: int) -> int:
    """Return k as a number.

    Raises:
        UsageError: the number of signal directions is no whole number from 1 on.
    """
    if asked in ("t", "auto"):
        return n_targets if asked == "t" else max(rank, 1)
    if not isinstance(asked, int | np.integer) or isinstance(asked, bool) or asked < 1:
        raise UsageError(f'k={asked!r:.60}: give "t", "auto" or a whole number from 1 up')
    return int(asked)


def _matrix(weight: Any, width: int) -> Array:
    """Return a weight as an array (out, width).

    Raises:
        UsageError: it is of another shape, or not of finite numbers.
    """
    if hasattr(weight, "detach"):  # a tensor: NumPy knows neither gradients nor bfloat16
        weight = weight.detach().cpu().double()
    found = np.asarray(weight)
    if found.ndim != 2 or found.shape[1] != width:
        raise UsageError(
            f"the weight has shape {found.shape}: give (out, {width}), as the features are {width}"
            " wide"
        )
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise UsageError("the weight holds what is no finite number; give real numbers alone")
    return found.astype(np.float64)
