"""From a file of `nrcscan extract` to the result that every output is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.reading import open_acts
from nrcscan.acts_file.schema import LayerRecord
from nrcscan.cpu_threads import WIDE, allowed_threads, blas_threads
from nrcscan.errors import InputError
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.error_bounds import resolution, spectrum_of
from nrcscan.metrics.layer_metrics import (
    LayerMetrics,
    input_matrix,
    layer_metrics,
    stable_rank,
    vanished,
)
from nrcscan.metrics.quantities import CONDITIONS, LEARNED_R2, QUANTITIES
from nrcscan.options.check import checked
from nrcscan.options.choices import Convention
from nrcscan.options.describe import described
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.statistics.moments import Array
from nrcscan.statistics.sketch import Sketched
from nrcscan.verdict.conditions import Answer, conditions
from nrcscan.verdict.onset import onset, runs, together
from nrcscan.wording import listed

SCHEMA = "nrcscan.report/1"


@dataclass(frozen=True)
class LayerResult:
    """One layer of a report.

    Attributes:
        index: in execution order, from 0.
        position: in depth, from 0; layers that read the same features share one.
        name: in the network.
        kind: "Linear", "Conv2d", ….
        width: number of features, d.
        metrics: every quantity, or why it is undefined.
        met: condition → whether it holds here; None where it cannot be judged.
    """

    index: int
    position: int
    name: str
    kind: str
    width: int
    metrics: LayerMetrics
    met: dict[str, Answer]


@dataclass(frozen=True)
class Report:
    """Everything that a file says about where a network has collapsed.

    Attributes:
        n_samples: N.
        signal_dim: k.
        signal_dim_source: "t", "auto" or "given": why k is what it is.
        convention: "default" or "published".
        mse: of the network on the samples, mean over samples and targets.
        r2: of the network; None when the targets do not vary.
        target_variance: mean over targets.
        target_stable_rank: of Σ_Y; None when the targets do not vary.
        target_rank: numerical rank of Σ_Y.
        n_targets: t.
        thresholds: what counts as met.
        layers: in execution order.
        onset: condition, or "all" → layer from which it holds through to the output, or None.
        runs: condition, or "all" → first and last layer of every stretch that holds.
        notes: of the extraction and of this report.
        provenance: of the file.
    """

    n_samples: int
    signal_dim: int
    signal_dim_source: Literal["t", "auto", "given"]
    convention: Convention
    mse: float
    r2: float | None
    target_variance: float
    target_stable_rank: float | None
    target_rank: int
    n_targets: int
    thresholds: Thresholds
    layers: tuple[LayerResult, ...]
    onset: dict[str, str | None]
    runs: dict[str, list[list[str]]]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def learned(self) -> bool:
        """Whether the network predicts anything, which takes R² ≥ 0.1."""
        return self.r2 is not None and self.r2 >= LEARNED_R2

    @property
    def model(self) -> dict[str, Any]:
        """The network's fit as `mse`, `r2` and `learned`."""
        undefined = {} if self.r2 is not None else {"r2": "the targets do not vary"}
        return {"mse": self.mse, "r2": self.r2, "learned": self.learned, "undefined": undefined}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it; see docs/report-json.md."""
        no_rank = (
            {}
            if self.target_stable_rank is not None
            else {"stable_rank": "the targets do not vary"}
        )
        return {
            "schema": SCHEMA,
            "n_samples": self.n_samples,
            "signal_dim": self.signal_dim,
            "signal_dim_source": self.signal_dim_source,
            "convention": self.convention,
            "model": self.model,
            "targets": {
                "n_targets": self.n_targets,
                "variance": self.target_variance,
                "stable_rank": self.target_stable_rank,
                "rank": self.target_rank,
                "undefined": no_rank,
            },
            "thresholds": asdict(self.thresholds),
            "layers": [_layer_dict(layer) for layer in self.layers],
            "onset": self.onset,
            "runs": self.runs,
            "notes": list(self.notes),
            "provenance": self.provenance,
        }


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
        return report_of(acts, **chosen, n_threads=allowed_threads())


def report_of(
    acts: MeasuredActs,
    *,
    signal_dim: int | Literal["t", "auto"],
    convention: Convention,
    thresholds: Thresholds | None,
    n_threads: int = 1,
) -> Report:
    """Compute the Deep NRC metrics from what was measured; see `report`.

    Args:
        acts: what was measured.
        signal_dim: see there, as what follows.
        convention: likewise.
        thresholds: likewise.
        n_threads: how many threads work on it; they do not change a bit where no layer is wide.
    """
    thresholds = thresholds or Thresholds()
    t = len(acts.target_mean)
    targets = spectrum(acts.target_covariance)
    varies = bool(targets.values[0] > 0)
    target_rank = targets.rank if varies else 0
    k, source = _signal_dim(signal_dim, t, target_rank)
    mse = float(acts.predictions.squared_error.mean())
    variance = float(np.trace(acts.target_covariance)) / t
    r2 = 1 - mse / variance if varies else None
    learned = r2 is not None and r2 >= LEARNED_R2
    layers = _measure(acts, k, mse, convention, thresholds, learned=learned, n_threads=n_threads)
    held, names = _by_position(layers, thresholds, learned=learned)
    onsets = {name: onset(column) for name, column in held.items()}
    return Report(
        n_samples=acts.n_samples,
        signal_dim=k,
        signal_dim_source=source,
        convention=convention,
        mse=mse,
        r2=r2,
        target_variance=variance,
        target_stable_rank=stable_rank(targets.values) if varies else None,
        target_rank=target_rank,
        n_targets=t,
        thresholds=thresholds,
        layers=tuple(layers),
        onset={c: None if at is None else names[at][0] for c, at in onsets.items()},
        runs={c: [[names[a][0], names[b][-1]] for a, b in runs(held[c])] for c in held},
        notes=(*acts.provenance.get("notes", ()), *_target_notes(acts, target_rank, k, source)),
        provenance=acts.provenance,
    )


def _signal_dim(
    asked: int | Literal["t", "auto"], n_targets: int, target_rank: int
) -> tuple[int, Literal["t", "auto", "given"]]:
    """Return k, and why."""
    if isinstance(asked, int):
        return asked, "given"
    return (n_targets, "t") if asked == "t" else (max(target_rank, 1), "auto")


def _measure(
    acts: MeasuredActs,
    k: int,
    mse: float,
    convention: Convention,
    thresholds: Thresholds,
    *,
    learned: bool,
    n_threads: int,
) -> list[LayerResult]:
    """Return every layer's result, the features' eigenvectors computed once per position."""
    variances = [acts.variances(p) for p in range(acts.n_positions)]
    output = float(np.trace(acts.predictions.covariance))
    targets = float(np.trace(acts.target_covariance))
    dead = vanished([float(v.mean()) for v in variances], output / targets if targets else math.inf)

    def at(position: int) -> list[LayerResult]:
        statistics = acts.statistics(position)
        sketched = isinstance(statistics, Sketched)
        if isinstance(statistics, Sketched):
            features = spectrum_of(statistics, acts.product_epsilon)
        else:
            features = spectrum(statistics.feature_covariance)
        width = len(statistics.feature_mean)
        found = []
        for index, record in enumerate(acts.layers):
            if record.position != position:
                continue
            metrics = layer_metrics(
                statistics,
                features,
                _matrix(acts, index, record, width),
                signal_dim=k,
                model_mse=mse,
                convention=convention,
                epsilon=acts.epsilon,
                dead=dead[position],
                known=resolution(features, acts.product_epsilon, sketched=sketched),
            )
            met = conditions(
                metrics, thresholds, learned=learned, alignment=metrics.get("alignment")
            )
            found.append(
                LayerResult(index, position, record.name, record.kind, width, metrics, met)
            )
        return found

    wide = max(map(len, variances)) >= WIDE  # one after the other then, on all threads
    of_blas, of_layers = (n_threads, 1) if wide else (1, n_threads)
    with blas_threads(of_blas), ThreadPoolExecutor(of_layers) as pool:
        results = [layer for found in pool.map(at, range(acts.n_positions)) for layer in found]
    return sorted(results, key=lambda layer: layer.index)


def _matrix(acts: MeasuredActs, index: int, record: LayerRecord, width: int) -> Array | None:
    """Return a layer's weight as a matrix (rows, width), or None if the features are flattened."""
    if record.flattened:
        return None
    weight = acts.weight(index)
    matrix = input_matrix(weight, groups=record.groups, transposed=record.transposed)
    if matrix.shape[1] != width:
        raise InputError(
            f"{acts.path}: damaged: the weight of {record.name} does not act on {width} features;"
            " run nrcscan extract again"
        )
    return matrix


def _by_position(
    layers: Sequence[LayerResult], thresholds: Thresholds, *, learned: bool
) -> tuple[dict[str, list[Answer]], list[list[str]]]:
    """Return, per condition and for all together, where it holds; and the layers at each position.

    Layers that read the same features are one position, judged by their mean alignment.
    """
    held: dict[str, list[Answer]] = {c: [] for c in (*CONDITIONS, "all")}
    names = []
    for position in sorted({layer.position for layer in layers}):
        here = [layer for layer in layers if layer.position == position]
        alignments = [
            a for a in (layer.metrics.get("alignment") for layer in here) if a is not None
        ]
        mean = sum(alignments) / len(alignments) if alignments else None
        met = conditions(here[0].metrics, thresholds, learned=learned, alignment=mean)
        for condition in CONDITIONS:
            held[condition].append(met[condition])
        held["all"].append(together(list(met.values())))
        names.append([layer.name for layer in here])
    return held, names


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


def _layer_dict(layer: LayerResult) -> dict[str, Any]:
    numbers: dict[str, Any] = {q: layer.metrics.get(q) for q in QUANTITIES}
    for rank in ("feature_rank", "weight_rank"):
        numbers[rank] = None if numbers[rank] is None else int(numbers[rank])
    return {
        "index": layer.index,
        "position": layer.position,
        "name": layer.name,
        "kind": layer.kind,
        "width": layer.width,
        **numbers,
        "met": layer.met,
        "undefined": layer.metrics.undefined,
        "bounds": layer.metrics.bounds,
        "notes": layer.metrics.notes,
    }
