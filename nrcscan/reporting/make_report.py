"""From a file of `nrcscan extract` to the result that every output is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.reading import open_acts
from nrcscan.cpu_threads import WIDE, allowed_threads, blas_threads
from nrcscan.errors import InputError
from nrcscan.metrics.degenerate import vanished
from nrcscan.metrics.directions import Spectrum, spectrum
from nrcscan.metrics.error_bounds import resolution, spectrum_of
from nrcscan.metrics.formulas import stable_rank
from nrcscan.metrics.layer_metrics import input_matrix, layer_metrics
from nrcscan.metrics.layer_values import Layer, LayerMetrics, Setting
from nrcscan.metrics.quantities import CONDITIONS, learned
from nrcscan.options.check import checked
from nrcscan.options.choices import Convention, Measures
from nrcscan.options.describe import described
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.reporting.neighbouring_measures import Neighbouring, neighbouring
from nrcscan.reporting.report_document import LayerResult, Report
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.verdict.conditions import Answer, at_position, conditions
from nrcscan.verdict.doubtful_network import Fit, doubts
from nrcscan.verdict.onset import onset, runs, together
from nrcscan.wording import listed


@described(ReportOptions)
def report(path: str | Path, **options: Unpack[ReportOptions]) -> Report:
    """Compute the Deep NRC metrics from a file of `nrcscan extract`.

    Args:
        path: of the file.
        options: see `nrcscan.options.report_options`.

    Raises:
        InputError: the file cannot be used.
        UsageError: an option is out of range.
    """
    chosen = checked(ReportOptions, options, "report")
    with open_acts(Path(path)) as acts:
        return report_of(acts, **chosen, threads=allowed_threads())


def report_of(
    acts: MeasuredActs,
    *,
    signal_dim: int | Literal["t", "auto"],
    convention: Convention,
    thresholds: Thresholds | None,
    measures: Measures = "core",
    threads: int = 1,
) -> Report:
    """Compute the Deep NRC metrics from what was measured; see `report`.

    Args:
        acts: what was measured.
        signal_dim: see there, as what follows.
        convention: likewise.
        thresholds: likewise.
        measures: likewise.
        threads: how many of them work on it; they do not change a bit where no layer is wide.
    """
    thresholds = thresholds or Thresholds()
    t = len(acts.target_mean)
    targets = spectrum(acts.target_covariance)
    varies = bool(targets.values[0] > 0)
    target_rank = targets.rank if varies else 0
    k, source = _signal_dim(signal_dim, t, target_rank)
    made = acts.predictions
    mse = None if made is None else float(made.squared_error.mean())
    variance = float(np.trace(acts.target_covariance)) / t
    r2 = 1 - mse / variance if varies and mse is not None else None
    measured = _measured(acts, Setting(k, mse, convention, acts.epsilon), threads)
    layers = _results(acts, measured, thresholds, learned=learned(r2))
    begins, stretches = _through_depth(layers, thresholds, learned=learned(r2))
    doubtful = _doubts(acts, layers, r2, mse, variance)
    return Report(
        n_samples=acts.n_samples,
        signal_dim=k,
        signal_dim_source=source,
        convention=convention,
        mse=mse,
        r2=r2,
        target_variance=variance,
        target_stable_rank=stable_rank(targets) if varies else None,
        target_rank=target_rank,
        n_targets=t,
        thresholds=thresholds,
        layers=tuple(layers),
        onset=begins,
        runs=stretches,
        notes=(
            *acts.provenance.get("notes", ()),
            *doubtful,
            *_target_notes(acts, target_rank, k, source),
        ),
        provenance=acts.provenance,
        doubts=doubtful,
        measures=_neighbouring(acts, measured) if measures == "all" else None,
    )


def _neighbouring(acts: MeasuredActs, metrics: Sequence[LayerMetrics]) -> Neighbouring:
    """Return the measures beside those of Deep NRC."""
    last = acts.layers[-1].position
    return neighbouring(
        acts,
        metrics,
        lambda position: _features(acts.statistics(position), acts.product_epsilon),
        _matrix(acts, len(acts.layers) - 1, len(acts.variances(last))),
    )


def _doubts(
    acts: MeasuredActs,
    layers: Sequence[LayerResult],
    r2: float | None,
    mse: float | None,
    variance: float,
) -> tuple[str, ...]:
    """Return why the network may be another than was trained; nothing if it was not inferred."""
    model = acts.provenance.get("model")
    if not isinstance(model, dict) or model.get("inferred") is not True or mse is None:
        return ()
    last = layers[-1]
    head_mse = head_rank = None
    if model.get("head") == last.name:  # which files of before do not tell
        head_mse = last.metrics.get("linear_mse")
        head_rank = last.metrics.get("feature_rank")
    rank = None if head_rank is None else int(head_rank)
    return tuple(doubts(Fit(r2, mse, variance, acts.n_samples, head_mse, rank)))


def _signal_dim(
    asked: int | Literal["t", "auto"], n_targets: int, target_rank: int
) -> tuple[int, Literal["t", "auto", "given"]]:
    """Return k, and why."""
    if isinstance(asked, int):
        return asked, "given"
    return (n_targets, "t") if asked == "t" else (max(target_rank, 1), "auto")


def _results(
    acts: MeasuredActs, measured: Sequence[LayerMetrics], thresholds: Thresholds, *, learned: bool
) -> list[LayerResult]:
    """Return every layer with its metrics, and which conditions they meet."""
    return [
        LayerResult(
            index=index,
            position=record.position,
            name=record.name,
            kind=record.kind,
            width=len(acts.variances(record.position)),
            metrics=metrics,
            met=conditions(metrics, thresholds, learned=learned),
        )
        for index, (record, metrics) in enumerate(zip(acts.layers, measured, strict=True))
    ]


def _measured(acts: MeasuredActs, setting: Setting, threads: int) -> list[LayerMetrics]:
    """Return every layer's metrics, the features' eigenvectors computed once per position."""
    variances = [acts.variances(position) for position in range(acts.n_positions)]
    made, targets = acts.predictions, float(np.trace(acts.target_covariance))
    known = made is not None and targets > 0
    output = float(np.trace(made.covariance)) / targets if made and known else math.inf
    dead = vanished([float(v.mean()) for v in variances], output)

    def at(position: int) -> dict[int, LayerMetrics]:
        statistics = acts.statistics(position)
        features = _features(statistics, acts.product_epsilon)
        sketched = isinstance(statistics, Sketched)
        known = resolution(features, acts.product_epsilon, sketched=sketched)
        width = len(statistics.feature_mean)
        errors = acts.own_squared_error(position)
        own = setting if errors is None else replace(setting, model_mse=float(errors.mean()))
        return {
            index: layer_metrics(
                Layer(
                    statistics,
                    features,
                    _matrix(acts, index, width),
                    own,
                    known,
                    *([] if record.acts_alone else [_NOT_ALONE]),
                ),
                dead=dead[position],
            )
            for index, record in enumerate(acts.layers)
            if record.position == position
        }

    wide = max(map(len, variances)) >= WIDE  # one after the other then, on all threads
    with blas_threads(threads if wide else 1), ThreadPoolExecutor(1 if wide else threads) as pool:
        found = {i: m for some in pool.map(at, range(acts.n_positions)) for i, m in some.items()}
    return [found[index] for index in sorted(found)]


_NOT_ALONE = "the weight does not act on the features alone: adapters stand beside it"


def _features(statistics: Statistics | Sketched, product_epsilon: float) -> Spectrum:
    """Return the spectrum of the features, as far as it is known."""
    if isinstance(statistics, Sketched):
        return spectrum_of(statistics, product_epsilon)
    return spectrum(statistics.feature_covariance)


def _matrix(acts: MeasuredActs, index: int, width: int) -> Array | None:
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


def _through_depth(
    layers: Sequence[LayerResult], thresholds: Thresholds, *, learned: bool
) -> tuple[dict[str, str | None], dict[str, list[list[str]]]]:
    """Return the onset and the stretches of every condition, and of all together.

    Layers that read the same features are one position: the first of them begins a stretch, the
    last ends it.
    """
    answers: dict[str, list[Answer]] = {c: [] for c in (*CONDITIONS, "all")}
    names = []
    for position in sorted({layer.position for layer in layers}):
        here = [layer for layer in layers if layer.position == position]
        metrics = at_position([layer.metrics for layer in here])
        met = conditions(metrics, thresholds, learned=learned)
        for name, holds in {**met, "all": together(list(met.values()))}.items():
            answers[name].append(holds)
        names.append([layer.name for layer in here])
    onsets = {condition: onset(column) for condition, column in answers.items()}
    return (
        {c: None if at is None else names[at][0] for c, at in onsets.items()},
        {c: [[names[a][0], names[b][-1]] for a, b in runs(answers[c])] for c in answers},
    )


def _target_notes(acts: MeasuredActs, target_rank: int, k: int, source: str) -> list[str]:
    """Say what is unusual about the targets."""
    variances = np.diagonal(acts.target_covariance)
    constant = [i for i, variance in enumerate(variances) if variance == 0]
    t = len(variances)
    notes = []
    if len(constant) == t:
        notes.append("no target ever varies: there is nothing to collapse onto")
    elif constant:
        columns = listed(constant)
        notes.append(f"target column {columns} of {t} (from 0) never varies and adds no signal")
    if 0 < target_rank < t and source == "t":
        notes.append(
            f"the targets have rank {target_rank}, less than k = {k}: --signal-dim auto takes"
            " the rank"
        )
    return notes
