"""Measures beside those of Deep NRC, declared once: what `--measures all` adds to a report.

A measure is an entry of `MEASURES`; tables, CSV, JSON and docs/quantities.md follow from it.
Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One number, or list of numbers, of a layer.

    Attributes:
        name: in JSON and CSV.
        column: its heading in tables; None where it is told below them.
        formula: its definition.
        range: in words.
        collapsed: where a collapsed layer is; empty where it is nowhere in particular.
        source: where it is from.
        undefined: when there is no number.
        of_last: whether it is of the last layer alone.
        digits: after the point in a table.
    """

    name: str
    column: str | None
    formula: str
    range: str
    collapsed: str
    source: str
    undefined: str
    of_last: bool = False
    digits: int = 3


_ANDRIOPOULOS = "Andriopoulos et al., NeurIPS 2024 (arXiv 2409.04180)"
_NO_UNITS = (
    "the pass was without `--measures all`, or a sketch; the features do not vary; all have norm 0"
)
_SKETCHED = "the features do not vary; a sketch, which knows the top directions alone"

MEASURES = (
    Measure(
        name="explained_variance",
        column="EV(k)",
        formula="Σ_{i≤k} λ_i / Σ_i λ_i",
        range="0 … 1",
        collapsed="1",
        source="principal component analysis",
        undefined="the features do not vary",
    ),
    Measure(
        name="effective_rank",
        column="eff. rank",
        formula="exp(−Σ p_i ln p_i), p_i = λ_i / Σ_j λ_j",
        range="1 … d",
        collapsed="k or less",
        source="Roy & Vetterli, EUSIPCO 2007, of the covariance's eigenvalues",
        undefined=_SKETCHED,
        digits=2,
    ),
    Measure(
        name="participation_ratio",
        column="part. ratio",
        formula="(Σ λ_i)² / Σ λ_i²",
        range="1 … d",
        collapsed="k or less",
        source="Gao et al. 2017 (bioRxiv 214262)",
        undefined=_SKETCHED,
        digits=2,
    ),
    Measure(
        name="intrinsic_dimension",
        column="ID",
        formula="slope d of −ln(1 − F(μ)) over ln μ through the origin, μ = r₂ / r₁ the distances"
        " to the second and the first neighbour, F their empirical distribution, the largest"
        " tenth left out; of 2,000 samples at most, each distinct row once",
        range="> 0",
        collapsed="that of the targets or less",
        source="TwoNN: Facco et al., Scientific Reports 7, 2017; features against targets: arXiv"
        " 2510.01105",
        undefined="the features are not stored (`--no-activations`; in a scan, by default); they"
        " do not vary; fewer than 20 distinct samples; over a tenth of them repeated;"
        " neighbours closer than ten roundings of the values; samples spaced so evenly that the"
        " slope is 0, or over twice the number of features",
        digits=2,
    ),
    Measure(
        name="nrc1a",
        column=None,
        formula="mean ‖h̃ − U_t U_tᵀ h̃‖², h̃ = h / ‖h‖ not centred, U_t the top t eigenvectors of"
        " Σ_H",
        range="0 … 1",
        collapsed="0",
        source=f"NRC1 of {_ANDRIOPOULOS}",
        undefined=f"{_NO_UNITS}; d ≤ t: no direction is left",
        of_last=True,
    ),
    Measure(
        name="nrc2a",
        column=None,
        formula="mean ‖h̃ − P h̃‖², P onto the span of W's rows: its singular vectors above"
        " max(rows, d)·2⁻²³·σ₁",
        range="0 … 1",
        collapsed="0",
        source=f"NRC2 of {_ANDRIOPOULOS}",
        undefined=f"{_NO_UNITS}; W is zero or not known; its rows span all of the features' space",
        of_last=True,
    ),
    Measure(
        name="nrc3a",
        column=None,
        formula="min over 0 ≤ γ < λ_min(Σ_Y) of ‖W Wᵀ / ‖W Wᵀ‖ − B / ‖B‖‖², B = Σ_Y^{1/2} −"
        " γ^{1/2} I, Frobenius norms",
        range="0 … 2",
        collapsed="0",
        source=f"NRC3 of {_ANDRIOPOULOS}",
        undefined="t = 1, where it is 0 for any W; W is zero or not known, or has not one row per"
        " target; the targets do not vary",
        of_last=True,
    ),
)
"""In the order of the report."""

NAMES = tuple(measure.name for measure in MEASURES)

COLUMNS = {measure.name: measure for measure in MEASURES if measure.column is not None}
"""Those that a table has a column for."""

OF_LAST = tuple(measure.name for measure in MEASURES if measure.of_last)
"""Those of the last layer alone."""
