"""A report: everything that a file says about where a network has collapsed, and its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from nrcscan.metrics.degenerate import NO_PREDICTIONS
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import QUANTITIES, learned
from nrcscan.metrics.target_spectrum import TargetSpectrum
from nrcscan.options.choices import Convention
from nrcscan.options.report_options import Thresholds
from nrcscan.reporting.neighbouring_measures import Neighbouring
from nrcscan.verdict.answers import Answer, Reach
from nrcscan.verdict.verdict import Verdict

SCHEMA = "nrcscan.report/2"


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
        answers: condition → whether it is met here.
        reach: condition → what the answer would be at other thresholds.
        step: its place in depth as the verdict counts it, from 1; None for what it leaves out.
        inputs: whether its features are the network's inputs, which are data.
        shortcut: whether it leads past the main branch of its block, which is what is judged.
    """

    index: int
    position: int
    name: str
    kind: str
    width: int
    metrics: LayerMetrics
    answers: dict[str, Answer]
    reach: dict[str, Reach]
    step: int | None = None
    inputs: bool = False
    shortcut: bool = False

    @property
    def met(self) -> dict[str, bool | None]:
        """Condition → whether it is met here; None where that is not known."""
        return {condition: answer.met for condition, answer in self.answers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as JSON has it."""
        return {
            "index": self.index,
            "position": self.position,
            "name": self.name,
            "kind": self.kind,
            "width": self.width,
            **{quantity: self.metrics.get(quantity) for quantity in QUANTITIES},
            "step": self.step,
            "inputs": self.inputs,
            "shortcut": self.shortcut,
            "met": self.met,
            "answers": {condition: answer.value for condition, answer in self.answers.items()},
            "reach": {condition: found.to_dict() for condition, found in self.reach.items()},
            "standard_error": self.metrics.standard_errors,
            "corrected": self.metrics.corrected,
            "chance": {
                quantity: {"level": chance.level, "quantile": chance.quantile}
                for quantity, chance in self.metrics.chance.items()
            },
            "floor": self.metrics.floor,
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
        target_rank: how many directions they have, see `target_spectrum`.
        n_targets: t.
        thresholds: what counts as met.
        layers: in execution order.
        onset: condition, or "all" → layer from which it is met through to the output, or None.
        runs: condition, or "all" → first and last layer of every stretch in which it is met.
        verdict: on the network.
        notes: of the extraction and of this report.
        provenance: of the file.
        doubts: why an inferred network may be another than was trained; among the notes too.
        mse_error: standard error of `mse` over samples; None where it is not known.
        r2_error: likewise of `r2`.
        target_r2: of the network on each target; None as for `r2`.
        target_spectrum: of their correlations.
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
    verdict: Verdict
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    doubts: tuple[str, ...] = ()
    mse_error: float | None = None
    r2_error: float | None = None
    target_r2: tuple[float | None, ...] = ()
    target_spectrum: TargetSpectrum | None = None
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
            "standard_error": {
                name: error
                for name, error in (("mse", self.mse_error), ("r2", self.r2_error))
                if error is not None
            },
            "doubts": list(self.doubts),
            "undefined": undefined,
        }

    @property
    def _targets(self) -> dict[str, Any]:
        """R² of each target, and how many directions they have."""
        found = self.target_spectrum
        return {
            "r2": list(self.target_r2),
            "spectrum": list(found.spectrum) if found else [],
            "explained": found.explained if found else None,
            "gap": found.gap if found else None,
        }

    @property
    def _no_r2(self) -> dict[str, str]:
        """Why a target has no R², or there is no gap."""
        why = {}
        if None in self.target_r2:
            why["r2"] = NO_PREDICTIONS if self.mse is None else "a target does not vary"
        if self.target_spectrum is None or self.target_spectrum.gap is None:
            why["gap"] = "there is no direction beside those that count"
        return why

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
                **self._targets,
                "undefined": {**no_rank, **self._no_r2},
            },
            "thresholds": asdict(self.thresholds),
            "layers": [layer.to_dict() for layer in self.layers],
            "verdict": self.verdict.to_dict(),
            "onset": self.onset,
            "runs": self.runs,
            "notes": list(self.notes),
            "provenance": self.provenance,
        }
        if self.measures is not None:
            self.measures.put_into(document)
        return document
