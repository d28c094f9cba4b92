"""Error bars: what is kept of blocks of samples says what leaving one out would really change."""

from __future__ import annotations

from typing import Any

import numpy as np

from nrcscan.acts_file.reading import Acts
from nrcscan.metrics import formulas
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.layer_metrics import input_matrix
from nrcscan.metrics.layer_values import Layer, Setting
from nrcscan.metrics.quantities import CATALOGUE
from nrcscan.statistics.moments import Array, Statistics

SAMPLED = [quantity.name for quantity in CATALOGUE if quantity.sampled]
CUTOFF = 1e-6


def statistics(h: Array, y: Array) -> Statistics:
    """Return statistics in two passes."""
    h_mean, y_mean = h.mean(axis=0), y.mean(axis=0)
    a, b, n = h - h_mean, y - y_mean, len(h)
    return Statistics(n, h_mean, y_mean, a.T @ a / n, a.T @ b / n, b.T @ b / n)


def cross_validated(h: Array, y: Array, folds: list[np.ndarray[Any, Any]]) -> float:
    """Return the MSE of every fold as predicted by a fit on the others."""
    errors = []
    for fold in folds:
        rest = np.setdiff1d(np.concatenate(folds), fold)
        s = statistics(h[rest], y[rest])
        values, vectors = np.linalg.eigh(s.feature_covariance)
        kept = values > CUTOFF * values[-1]
        fit = vectors[:, kept] @ ((vectors[:, kept].T @ s.cross_covariance).T / values[kept]).T
        made = s.target_mean + (h[fold] - s.feature_mean) @ fit
        errors.append(((made - y[fold]) ** 2).sum())
    return float(np.sum(errors)) / y[np.concatenate(folds)].size


def really_without(acts: Acts, index: int, made: Array, k: int) -> dict[str, Array]:
    """Return quantity → its values with the whole report made again without each block."""
    record = acts.layers[index]
    h = np.concatenate(list(acts.activation_rows(record.position))).astype(float)
    y = np.concatenate(list(acts.target_rows()))
    matrix = input_matrix(acts.weight(index), groups=record.groups, transposed=record.transposed)
    blocks = acts.blocks(record.position)
    assert blocks is not None
    ends = np.cumsum(blocks.n_samples).astype(int)
    folds = np.split(np.arange(len(h)), ends[:-1])
    found: dict[str, list[float]] = {name: [] for name in SAMPLED}
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(h)), fold)
        s = statistics(h[rest], y[rest])
        mse = float(((made[rest] - y[rest]) ** 2).mean())
        layer = Layer(s, spectrum(s.feature_covariance), matrix, Setting(k, mse))
        for name in SAMPLED:
            if name not in ("linear_mse_held_out", "error_ratio"):
                found[name].append(getattr(formulas, name)(layer))
        others = [other for other in folds if other is not fold]
        held_out = cross_validated(h, y, others)
        found["linear_mse_held_out"].append(held_out)
        found["error_ratio"].append(held_out / mse)
    return {name: np.array(values) for name, values in found.items()}
