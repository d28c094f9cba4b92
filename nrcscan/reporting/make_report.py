"""From a file of `nrcscan extract` to the result that every output is made from."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, Unpack

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.reading import open_acts
from nrcscan.cpu_threads import allowed_threads
from nrcscan.errors import InputError
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.formulas import stable_rank
from nrcscan.metrics.layer_values import LayerMetrics, Setting
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.metrics.standard_errors import model_errors
from nrcscan.metrics.target_spectrum import target_spectrum
from nrcscan.options.check import checked, one_path
from nrcscan.options.choices import Convention, Measures
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.measure_layers import features_at, measured, weight_matrix
from nrcscan.reporting.neighbouring_measures import Neighbouring, neighbouring
from nrcscan.reporting.notes_on_targets import not_predicted, notes_on_targets, r2_of_each
from nrcscan.reporting.report_document import Report
from nrcscan.verdict import doubtful_network
from nrcscan.verdict.answers import Answer, answers, reaches
from nrcscan.verdict.conclude import conclude
from nrcscan.verdict.depth import Step, are_inputs, steps
from nrcscan.verdict.onset import onset, runs
from nrcscan.verdict.verdict import NetworkFit

Options = ParamSpec("Options")


@names_keywords
@described(ReportOptions)
def report(
    extraction: str | os.PathLike[str],
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Unpack[ReportOptions],
) -> Report:
    """Compute the Deep NRC metrics from a file of `nrcscan extract`.

    Args:
        extraction: path of the file, or what `nrcscan.extract` or `nrcscan.merge` returned.
        on_progress: called with layers done, and in all, after every one.
        options: see `nrcscan.options.report_options`.

    Raises:
        InputError: the file cannot be used.
        UsageError: an option is out of range.
    """
    chosen = checked(ReportOptions, options, "report")
    return report_at(one_path(extraction), chosen, on_progress)


def report_at(
    path: Path,
    judgement: ReportOptions,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Compute the Deep NRC metrics from a file; see `report`."""
    with open_acts(path) as acts:
        return report_of(acts, **judgement, threads=allowed_threads(), on_progress=on_progress)


def _in_range(
    compute: Callable[Concatenate[MeasuredActs, Options], Report],
) -> Callable[Concatenate[MeasuredActs, Options], Report]:
    """Have statistics that no float64 arithmetic gets through be one message.

    Raises:
        InputError: the statistics are damaged, or numbers exceed what float64 holds.
    """

    @functools.wraps(compute)
    def told(acts: MeasuredActs, /, *given: Options.args, **options: Options.kwargs) -> Report:
        try:
            return compute(acts, *given, **options)
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            raise InputError(
                f"{acts.path}: its statistics cannot be computed with ({error.args[-1]}): they are"
                " damaged, or beyond float64; extract again, from data of a smaller scale"
            ) from error

    return told


@_in_range
def report_of(
    acts: MeasuredActs,
    *,
    signal_dim: int | Literal["t", "auto"],
    convention: Convention,
    thresholds: Thresholds | None,
    measures: Measures = "core",
    threads: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Compute the Deep NRC metrics from what was measured; see `report`.

    Args:
        acts: what was measured.
        signal_dim: see there, as what follows.
        convention: likewise.
        thresholds: likewise.
        measures: likewise.
        threads: how many of them work on it; they do not change a bit where no layer is wide.
        on_progress: called with layers done, and in all, after every one.
    """
    thresholds, each_r2 = thresholds or Thresholds(), r2_of_each(acts)
    directions, fit = target_spectrum(acts.target_mean, acts.target_covariance), _fit(acts)
    k, source = _signal_dim(signal_dim, len(acts.target_mean), directions.rank)
    setting = Setting(k, fit.mse, convention, acts.epsilon, directions.rank)
    found = measured(acts, setting, threads, on_progress)
    doubtful = _doubts(acts, found[-1], fit)
    in_depth = steps(acts.layers, found, acts.unmeasured, thresholds, learned=fit.learned)
    begins, stretches = _through_depth(in_depth)
    return Report(
        n_samples=fit.n_samples,
        signal_dim=k,
        signal_dim_source=source,
        convention=convention,
        mse=fit.mse,
        r2=fit.r2,
        target_variance=fit.target_variance,
        target_stable_rank=_target_stable_rank(acts),
        target_rank=directions.rank,
        n_targets=len(acts.target_mean),
        thresholds=thresholds,
        layers=tuple(_results(acts, found, in_depth, thresholds, learned=fit.learned)),
        onset=begins,
        runs=stretches,
        verdict=conclude(replace(fit, doubtful=bool(doubtful)), in_depth, thresholds),
        notes=(
            *acts.provenance.get("notes", ()),
            *doubtful,
            *notes_on_targets(acts, directions.rank, k, source),
            *not_predicted(each_r2, fit.r2),
            *([] if acts.no_blocks is None else [f"no error bars: {acts.no_blocks}"]),
        ),
        provenance=acts.provenance,
        doubts=doubtful,
        mse_error=fit.mse_error,
        r2_error=fit.r2_error,
        target_r2=each_r2,
        target_spectrum=directions,
        measures=_neighbouring(acts, found) if measures == "all" else None,
    )


def _fit(acts: MeasuredActs) -> NetworkFit:
    """Return how well the network predicts its targets."""
    made = acts.predictions
    mse = None if made is None else float(made.squared_error.mean())
    variance = float(np.trace(acts.target_covariance)) / len(acts.target_mean)
    r2 = 1 - mse / variance if variance > 0 and mse is not None else None
    errors = None if acts.block_targets is None else model_errors(acts.block_targets)
    mse_error, r2_error = (None, None) if errors is None else (errors.mse, errors.r2)
    return NetworkFit(acts.n_samples, mse, r2, variance, mse_error, r2_error)


def _target_stable_rank(acts: MeasuredActs) -> float | None:
    """Return the stable rank of the targets' covariance; None where they do not vary."""
    targets = spectrum(acts.target_covariance)
    return stable_rank(targets) if targets.values[0] > 0 else None


def _neighbouring(acts: MeasuredActs, metrics: Sequence[LayerMetrics]) -> Neighbouring:
    """Return the measures beside those of Deep NRC."""
    last = acts.layers[-1].position
    return neighbouring(
        acts,
        metrics,
        lambda position: features_at(acts.statistics(position), acts.product_epsilon),
        weight_matrix(acts, len(acts.layers) - 1, len(acts.variances(last))),
    )


def _doubts(acts: MeasuredActs, head: LayerMetrics, fit: NetworkFit) -> tuple[str, ...]:
    """Return why the network may be another than was trained; nothing if it was not inferred."""
    model = acts.provenance.get("model")
    if not isinstance(model, dict) or model.get("inferred") is not True or fit.mse is None:
        return ()
    head_mse = head_rank = None
    if model.get("head") == acts.layers[-1].name:  # which files of before do not tell
        head_mse, head_rank = head.get("linear_mse"), head.get("feature_rank")
    rank = None if head_rank is None else int(head_rank)
    found = doubtful_network.Fit(
        fit.r2, fit.mse, fit.target_variance, fit.n_samples, head_mse, rank
    )
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
    metrics: Sequence[LayerMetrics],
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
            metrics=of_layer,
            answers=answers(of_layer, thresholds, learned=learned),
            reach=reaches(of_layer, learned=learned),
            step=numbers.get(record.name),
            inputs=inputs[index],
            shortcut=record.shortcut,
        )
        for index, (record, of_layer) in enumerate(zip(acts.layers, metrics, strict=True))
    ]


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
