"""Every layer's metrics, from what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.cpu_threads import WIDE, blas_threads
from nrcscan.errors import InputError
from nrcscan.metrics import degenerate
from nrcscan.metrics.directions import Spectrum, spectrum
from nrcscan.metrics.error_bounds import resolution, spectrum_of
from nrcscan.metrics.layer_metrics import input_matrix, layer_metrics
from nrcscan.metrics.layer_values import FLATTENED, Layer, LayerMetrics, Setting
from nrcscan.metrics.passed_on import Kernel, lost
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched


def measured(
    acts: MeasuredActs,
    setting: Setting,
    threads: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[LayerMetrics]:
    """Return every layer's metrics, the features' eigenvectors computed once per position."""
    variances = [acts.variances(position) for position in range(acts.n_positions)]
    made, targets = acts.predictions, float(np.trace(acts.target_covariance))
    known = made is not None and targets > 0
    output = float(np.trace(made.covariance)) / targets if made and known else math.inf

    def at(position: int) -> dict[int, LayerMetrics]:
        statistics = acts.statistics(position)
        features = features_at(statistics, acts.product_epsilon)
        sketched = isinstance(statistics, Sketched)
        known = resolution(features, acts.product_epsilon, sketched=sketched)
        width = len(statistics.feature_mean)
        errors = acts.own_squared_error(position)
        own = setting if errors is None else replace(setting, model_mse=float(errors.mean()))
        blocks = acts.blocks(position)
        whole = features if isinstance(statistics, Sketched) else statistics.feature_covariance
        dead = _dead(acts, position, whole, constant=degenerate.constant(output))
        return {
            index: layer_metrics(
                Layer(
                    statistics,
                    features,
                    weight_matrix(acts, index, width),
                    own,
                    known,
                    FLATTENED if record.acts_alone else _NOT_ALONE,
                    blocks,
                ),
                dead=dead,
            )
            for index, record in enumerate(acts.layers)
            if record.position == position
        }

    wide = max(map(len, variances)) >= WIDE  # one after the other then, on all threads
    with blas_threads(threads if wide else 1), ThreadPoolExecutor(1 if wide else threads) as pool:
        found: dict[int, LayerMetrics] = {}
        for some in pool.map(at, range(acts.n_positions)):
            found |= some
            on_progress(len(found), len(acts.layers))
    return [found[index] for index in sorted(found)]


def _dead(
    acts: MeasuredActs, position: int, covariance: Array | Spectrum, *, constant: bool
) -> str | None:
    """Say why nothing of what is at a position gets on, although it varies; None if it does.

    Of the network's inputs, which are data, that is not asked.
    """
    readers = [(i, record) for i, record in enumerate(acts.layers) if record.position == position]
    told = [record.reads_inputs for _, record in readers]
    if any(told) or (position == 0 and None in told):
        return None
    if constant:
        return degenerate.NOTHING_ARRIVES
    for index, record in readers:
        beside = acts.beside(index)
        if beside is None or record.flattened or not record.acts_alone:
            return None
        weight = Kernel(acts.weight(index), record.groups, record.transposed)
        if not lost(weight, covariance, beside, acts.epsilon):
            return None
    return degenerate.LOST


_NOT_ALONE = "the weight does not act on the features alone: adapters stand beside it"


def features_at(statistics: Statistics | Sketched, product_epsilon: float) -> Spectrum:
    """Return the spectrum of the features, as far as it is known."""
    if isinstance(statistics, Sketched):
        return spectrum_of(statistics, product_epsilon)
    return spectrum(statistics.feature_covariance)


def weight_matrix(acts: MeasuredActs, index: int, width: int) -> Array | None:
    """Return a layer's weight as a matrix (rows, width), or None if it does not act on them.

    Raises:
        InputError: a weight in the file does not fit the features of its layer.
    """
    record = acts.layers[index]
    if record.flattened or not record.acts_alone:
        return None
    weight = acts.weight(index)
    matrix = input_matrix(weight, groups=record.groups, transposed=record.transposed)
    if matrix.shape[1] != width:
        raise InputError(
            f"{acts.path}: damaged: the weight of {record.name} does not act on {width} features;"
            " run nrcscan extract again"
        )
    return matrix
