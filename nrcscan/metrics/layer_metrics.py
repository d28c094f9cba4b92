"""The Deep NRC metrics of one layer, from its statistics and its weight. Pure functions.

A quantity that the samples do not define is absent from the values and named, with its
reason, among the undefined ones: it is never a number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg

from nrcscan.metrics import degenerate, formulas, precision_floor
from nrcscan.metrics.chance import chance
from nrcscan.metrics.debiasing import inflation
from nrcscan.metrics.directions import triangle
from nrcscan.metrics.error_bounds import bounds, refused
from nrcscan.metrics.layer_values import Layer, LayerMetrics
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.metrics.standard_errors import put_errors
from nrcscan.statistics.moments import Array


def layer_metrics(layer: Layer, *, dead: str | None = None) -> LayerMetrics:
    """Return every quantity of one layer.

    Args:
        layer: as it was measured.
        dead: why it counts as not varying although its features do by a trace.
    """
    constant = degenerate.unresolved(layer.statistics, layer.setting.epsilon) or dead
    undefined = degenerate.undefined(layer, constant)
    values = {q: getattr(formulas, q)(layer) for q in QUANTITIES if q not in undefined}
    result = LayerMetrics(values, undefined, varies=constant is None)
    result.eigenvalues = layer.features.values
    if constant is None:
        result.notes.extend(degenerate.notes(layer, undefined))
        if layer.known.tau:
            _put_bounds(result, layer)
        _put_floor(result, layer)
        result.gap = layer.gap
        result.chance.update(chance(layer, result.values))
        put_errors(result, layer)
        if "error_ratio" in values and "linear_mse" in values:
            assert layer.setting.model_mse is not None
            in_sample = values["linear_mse"] / layer.setting.model_mse
            result.between["error_ratio"] = (in_sample, values["error_ratio"])
    return result


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


def _put_floor(result: LayerMetrics, layer: Layer) -> None:
    """Say what rounding of the features makes of no noise at all, and where that is all there is.

    Where a bound on the products is wider, it has been said.
    """
    noise, epsilon = result.values.get("noise_component"), layer.setting.epsilon
    if noise is None:
        return
    result.floor = precision_floor.precision_floor(layer)
    if result.floor is not None and noise > result.bounds.get("noise_component", 0.0):
        told = precision_floor.note(noise, result.floor, epsilon)
        result.notes.extend([] if told is None else [told])


def _put_bounds(result: LayerMetrics, layer: Layer) -> None:
    """Say how far each quantity can be off, and refuse what is too far."""
    found = bounds(
        layer.features,
        layer.statistics.cross_covariance,
        layer.statistics.target_covariance,
        result.values,
        layer.setting.signal_dim,
        replace(layer.known, fits=0 if layer.fits is None else layer.fits.held_out.shape[0]),
        inflation(layer) if "cka_debiased" in result.values else 1.0,
        layer.at_rank.setting.signal_dim,
    )
    for quantity in refused(found, result.values, layer.target_variance):
        del result.values[quantity]
        result.undefined[quantity] = layer.known.refusal(found.pop(quantity))
    result.bounds.update(found)
    for quantity in ("noise_component", "noise_component_r"):
        noise = result.values.get(quantity)
        if noise is not None and noise < found[quantity]:
            result.values[quantity] = found[quantity]
            text = f"the noise component is {found[quantity]:.1g} at most, which is all that can be"
            result.notes.extend({f"{text} resolved"} - set(result.notes))
