"""A report: everything that a file says about where a network has collapsed, and its JSON."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nrcscan.metrics.degenerate import NO_PREDICTIONS
from nrcscan.metrics.quantities import learned
from nrcscan.metrics.target_spectrum import TargetSpectrum
from nrcscan.options.choices import Convention, Kind, Width
from nrcscan.options.report_options import Thresholds
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.neighbouring_measures import Neighbouring
from nrcscan.verdict.verdict import Verdict
from nrcscan.wording import counted, printable, some

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SCHEMA = "nrcscan.report/2"


@dataclass(frozen=True, repr=False)
class Report:
    """Everything that a file says about where a network has collapsed.

    A layer is an item, by its name or its index: `report["layers.6"]`, `report[-1]`.

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

    def __getitem__(self, layer: str | int) -> LayerResult:
        """Return a layer by its name, or by its index in execution order.

        Raises:
            KeyError: no layer has this name.
            IndexError: there are not so many.
        """
        if isinstance(layer, int):
            return self.layers[layer]
        names = [one.name for one in self.layers]
        if layer not in names:
            near = difflib.get_close_matches(str(layer), names, n=1)
            told = f"did you mean {near[0]}?" if near else f"they are {some(names)}"
            raise KeyError(f"there is no layer {layer!r}; {told}")
        return self.layers[names.index(layer)]

    def __contains__(self, layer: str) -> bool:
        return layer in [one.name for one in self.layers]

    def __iter__(self) -> Iterator[LayerResult]:
        return iter(self.layers)

    def __repr__(self) -> str:
        return f"<Report: {printable(self.verdict.text)}\n{self.size}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from nrcscan.reporting.notebook import of_report

        return of_report(self)

    def to_frame(self) -> pandas.DataFrame:
        """Return a row per layer, its name the index; see `nrcscan.reporting.frames`.

        Raises:
            UsageError: pandas is not installed.
        """
        from nrcscan.reporting.frames import frame

        return frame((layer.to_dict() for layer in self.layers), ["name"])

    @property
    def size(self) -> str:
        """How much was measured, in words."""
        return (
            f"{counted(len(self.layers), 'layer')}, {self.n_samples} samples,"
            f" {counted(self.n_targets, 'target')}, k = {self.signal_dim}"
        )

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

    def plot(
        self,
        path: str | Path | None = None,
        kind: Kind = "collapse",
        *,
        width: Width = "page",
        force: bool = False,
    ) -> Figure:
        """Draw the network over its depth; a notebook shows what is returned.

        Args:
            path: the file to write, a `.pdf`, `.svg` or `.png`; None writes none.
            kind: "collapse", "rank" or "spectrum"; see docs/figures.md.
            width: "column" (3.3 in) or "page" (6.75 in).
            force: replace an existing file.

        Returns:
            matplotlib's `Figure`, apart from pyplot.

        Raises:
            UsageError: matplotlib is missing, the kind is of scans, or the file exists already.
            OutputError: the folder of the file is missing, full, or cannot be written to.
        """
        from nrcscan.reporting.figures import plot_report

        return plot_report(self, path, kind=kind, width=width, force=force)

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
