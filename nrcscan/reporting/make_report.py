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
from nrcscan.metrics import degenerate
from nrcscan.metrics.directions import Spectrum, spectrum
from nrcscan.metrics.error_bounds import resolution, spectrum_of
from nrcscan.metrics.formulas import stable_rank
from nrcscan.metrics.layer_metrics import input_matrix, layer_metrics
from nrcscan.metrics.layer_values import FLATTENED, Layer, LayerMetrics, Setting
from nrcscan.metrics.passed_on import Kernel, lost
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.metrics.standard_errors import model_errors
from nrcscan.metrics.target_spectrum import target_spectrum
from nrcscan.options.check import checked
from nrcscan.options.choices import Convention, Measures
from nrcscan.options.describe import described
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.reporting.neighbouring_measures import Neighbouring, neighbouring
from nrcscan.reporting.notes_on_targets import not_predicted, notes_on_targets, r2_of_each
from nrcscan.reporting.report_document import LayerResult, Report
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.verdict import doubtful_network
from nrcscan.verdict.answers import Answer, answers
from nrcscan.verdict.conclude import conclude
from nrcscan.verdict.depth import Step, are_inputs, steps
from nrcscan.verdict.onset import onset, runs
from nrcscan.verdict.verdict import NetworkFit


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
    directions = target_spectrum(acts.target_mean, acts.target_covariance)
    target_rank = directions.rank
    k, source = _signal_dim(signal_dim, t, target_rank)
    made = acts.predictions
    mse = None if made is None else float(made.squared_error.mean())
    variance = float(np.trace(acts.target_covariance)) / t
    r2 = 1 - mse / variance if varies and mse is not None else None
    each_r2 = r2_of_each(acts)
    setting = Setting(k, mse, convention, acts.epsilon, target_rank)
    measured = _measured(acts, setting, threads)
    doubtful = _doubts(acts, measured[-1], r2, mse, variance)
    errors = None if acts.block_targets is None else model_errors(acts.block_targets)
    mse_error, r2_error = (None, None) if errors is None else (errors.mse, errors.r2)
    fit = NetworkFit(
        acts.n_samples, mse, r2, variance, mse_error, r2_error, doubtful=bool(doubtful)
    )
    in_depth = steps(acts.layers, measured, acts.unmeasured, thresholds, learned=fit.learned)
    begins, stretches = _through_depth(in_depth)
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
        layers=tuple(_results(acts, measured, in_depth, thresholds, learned=fit.learned)),
        onset=begins,
        runs=stretches,
        verdict=conclude(fit, in_depth, thresholds),
        notes=(
            *acts.provenance.get("notes", ()),
            *doubtful,
            *notes_on_targets(acts, target_rank, k, source),
            *not_predicted(each_r2, r2),
            *([] if acts.no_blocks is None else [f"no error bars: {acts.no_blocks}"]),
        ),
        provenance=acts.provenance,
        doubts=doubtful,
        mse_error=mse_error,
        r2_error=r2_error,
        target_r2=each_r2,
        target_spectrum=directions,
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
    head: LayerMetrics,
    r2: float | None,
    mse: float | None,
    variance: float,
) -> tuple[str, ...]:
    """Return why the network may be another than was trained; nothing if it was not inferred."""
    model = acts.provenance.get("model")
    if not isinstance(model, dict) or model.get("inferred") is not True or mse is None:
        return ()
    head_mse = head_rank = None
    if model.get("head") == acts.layers[-1].name:  # which files of before do not tell
        head_mse, head_rank = head.get("linear_mse"), head.get("feature_rank")
    rank = None if head_rank is None else int(head_rank)
    found = doubtful_network.Fit(r2, mse, variance, acts.n_samples, head_mse, rank)
    return tuple(doubtful_network.doubts(found))


def _signal_dim(
    asked: int | Literal["t", "auto"], n_targets: int, target_rank: int
) -> tuple[int, Literal["t", "auto", "given"]]:
    """Return k, and why."""
    if isinstance(asked, int):
        return asked, "given"
    return (n_targets, "t") if asked == "t" else (max(target_rank, 1), "auto")


def _results(
    acts: MeasuredActs,
    measured: Sequence[LayerMetrics],
    in_depth: Sequence[Step],
    thresholds: Thresholds,
    *,
    learned: Answer,
) -> list[LayerResult]:
    """Return every layer with its metrics, and which conditions they meet."""
    numbers = {name: step.number for step in in_depth for name in step.names}
    inputs = are_inputs(acts.layers)
    return [
        LayerResult(
            index=index,
            position=record.position,
            name=record.name,
            kind=record.kind,
            width=len(acts.variances(record.position)),
            metrics=metrics,
            answers=answers(metrics, thresholds, learned=learned),
            step=numbers.get(record.name),
            inputs=inputs[index],
            shortcut=record.shortcut,
        )
        for index, (record, metrics) in enumerate(zip(acts.layers, measured, strict=True))
    ]


def _measured(acts: MeasuredActs, setting: Setting, threads: int) -> list[LayerMetrics]:
    """Return every layer's metrics, the features' eigenvectors computed once per position."""
    variances = [acts.variances(position) for position in range(acts.n_positions)]
    made, targets = acts.predictions, float(np.trace(acts.target_covariance))
    known = made is not None and targets > 0
    output = float(np.trace(made.covariance)) / targets if made and known else math.inf

    def at(position: int) -> dict[int, LayerMetrics]:
        statistics = acts.statistics(position)
        features = _features(statistics, acts.product_epsilon)
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
                    _matrix(acts, index, width),
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
        found = {i: m for some in pool.map(at, range(acts.n_positions)) for i, m in some.items()}
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
    in_depth: Sequence[Step],
) -> tuple[dict[str, str | None], dict[str, list[list[str]]]]:
    """Return the onset and the stretches of every condition, and of all together.

    Of layers that are one step, the first begins a stretch, and the last ends it.
    """
    columns = {c: [step.answers[c] for step in in_depth] for c in CONDITIONS}
    columns["all"] = [step.together for step in in_depth]
    onsets = {condition: onset(column) for condition, column in columns.items()}
    return (
        {c: None if at is None else in_depth[at].name for c, at in onsets.items()},
        {
            c: [[in_depth[a].name, in_depth[b].names[-1]] for a, b in runs(column)]
            for c, column in columns.items()
        },
    )
