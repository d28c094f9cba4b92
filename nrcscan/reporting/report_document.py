"""A report: everything that a file says about where a network has collapsed, and its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from nrcscan.metrics.degenerate import NO_PREDICTIONS
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import QUANTITIES, learned
from nrcscan.options.choices import Convention
from nrcscan.options.report_options import Thresholds
from nrcscan.reporting.neighbouring_measures import Neighbouring
from nrcscan.verdict.conditions import Answer

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

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as JSON has it."""
        return {
            "index": self.index,
            "position": self.position,
            "name": self.name,
            "kind": self.kind,
            "width": self.width,
            **{quantity: self.metrics.get(quantity) for quantity in QUANTITIES},
            "met": self.met,
            "undefined": self.metrics.undefined,
            "bounds": self.metrics.bounds,
            "notes": self.metrics.notes,
        }


@dataclass(frozen=True)
class Report:
    """Everything that a file says about where a network has collapsed.

    Attributes:
        n_samples: N.
        signal_dim: k.
        signal_dim_source: "t", "auto" or "given": why k is what it is.
        convention: "default" or "published".
        mse: of the network on the samples, mean over samples and targets; None when it makes no
            predictions.
        r2: of the network; None then too, or when the targets do not vary.
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
        doubts: why an inferred network may be another than was trained; among the notes too.
        measures: those beside Deep NRC, where they were asked for.
    """

    n_samples: int
    signal_dim: int
    signal_dim_source: Literal["t", "auto", "given"]
    convention: Convention
    mse: float | None
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
    doubts: tuple[str, ...] = ()
    measures: Neighbouring | None = None

    @property
    def learned(self) -> bool | None:
        """Whether the network predicts anything; None where it makes no predictions."""
        return None if self.mse is None else learned(self.r2)

    @property
    def model(self) -> dict[str, Any]:
        """The network's fit as `mse`, `r2`, `learned` and `doubts`."""
        undefined = {} if self.r2 is not None else {"r2": "the targets do not vary"}
        if self.mse is None:
            undefined = dict.fromkeys(("mse", "r2", "learned"), NO_PREDICTIONS)
        return {
            "mse": self.mse,
            "r2": self.r2,
            "learned": self.learned,
            "doubts": list(self.doubts),
            "undefined": undefined,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it; see docs/report-json.md."""
        no_rank = (
            {}
            if self.target_stable_rank is not None
            else {"stable_rank": "the targets do not vary"}
        )
        document = {
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
            "layers": [layer.to_dict() for layer in self.layers],
            "onset": self.onset,
            "runs": self.runs,
            "notes": list(self.notes),
            "provenance": self.provenance,
        }
        if self.measures is not None:
            self.measures.put_into(document)
        return document
