"""Every quantity of a layer and every condition, declared once; all else that lists them follows.

A quantity is an entry of `CATALOGUE` and the function of its name in `formulas`. Reports, tables,
CSV, rules and comparisons take it from here, and `quantity_tables` the tables of README.md and
docs/metrics.md. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf, log
from typing import Any, Literal

from nrcscan.options.report_options import Thresholds


class Need(Enum):
    """What a quantity cannot do without; each says when a layer lacks it."""

    WEIGHT = (
        "the weight is zero, or does not act on these features (`--pool flatten`), or not alone"
        " (adapters)"
    )
    FEATURES = "the features do not vary, as above"
    SIGNAL = "N ≤ k + 1: the samples themselves have no more than k directions"
    NOISE = "d ≤ k: no direction is left for noise"
    FEATURES_APART = (
        "the k-th and the next direction of the features are equally strong, as in whitened ones:"
        " their top k are arbitrary"
    )
    WEIGHT_APART = (
        "the k-th and the next singular value of the weight are equal, as in an orthogonal one:"
        " its top k directions are arbitrary"
    )
    TARGETS = "the targets do not vary"
    NORMS = (
        "the squared norms of samples were not kept: by a sketch, or in a file of before; or N < 4"
    )
    WHOLE_WEIGHT = "a sketch: of a wide weight only the top k directions are looked for"
    RANK = "what they are named after is, with the targets' rank r for k"
    PLAIN_COVARIANCE = "a sketch, in the published convention"
    PREDICTIONS = "the network makes no predictions: an encoder without a head"
    SPARE_SAMPLES = "features of rank N − 1: any targets would be fitted"
    HALF_THE_SAMPLES = "features of rank over N/2: a fit on other samples says little"
    ERRORS = "the network's MSE is nothing but rounding of its precision: it errs nowhere"


Values = Any
"""A number, or an array of them: what is imported here is light, and knows of no array."""

Unit = Literal["share", "directions", "Y²", "var Y", "ratio"]
"""A share of a whole; a number of directions; the targets' unit, squared; their variance; how many
times another number."""


@dataclass(frozen=True)
class Quantity:
    """One number of a layer.

    Attributes:
        name: in JSON, CSV and rules, and of its function in `formulas`.
        column: its heading in tables; None where they do without it.
        words: what it is, in a line; a table's page says it.
        formula: its definition.
        lower: the least it can be; None if it has no bound.
        upper: the most: a number, or d for the width; None if it has no bound.
        collapsed: where a collapsed layer is; empty where it is nowhere in particular.
        worse: whether more or less of it is farther from collapse; None where neither is.
        unit: also decides how wide an error bound may be.
        needs: what it cannot do without.
        error: what bounds its error where the covariance is known to a resolution only; empty
            where it is exact, or where no bound is known and it is refused.
        digits: after the point in a table; 0 for a whole number.
        sampled: whether samples move it, by less than whole numbers: then it has an error bar.
    """

    name: str
    column: str | None
    words: str
    formula: str
    lower: float | None
    upper: float | Literal["d"] | None
    collapsed: str
    worse: Literal["higher", "lower"] | None
    unit: Unit
    needs: frozenset[Need]
    error: str = ""
    digits: int = 3
    sampled: bool = True

    @property
    def range(self) -> str:
        """Its range in words, such as 0 … 1."""
        if self.lower is None:
            return "" if self.upper is None else f"≤ {self.upper}"
        return f"≥ {self.lower:g}" if self.upper is None else f"{self.lower:g} … {self.upper}"


_FROM_FEATURES = frozenset({Need.FEATURES})
_FROM_WEIGHT = frozenset({Need.WEIGHT})
_SIGNAL_AND_NOISE = frozenset({Need.FEATURES, Need.SIGNAL, Need.NOISE})
_TOP = _SIGNAL_AND_NOISE | {Need.FEATURES_APART} | _FROM_WEIGHT
_FIT = frozenset(
    {Need.FEATURES, Need.SIGNAL, Need.TARGETS, Need.PLAIN_COVARIANCE, Need.SPARE_SAMPLES}
)
_OF_NORMS = "from s, from tr E against the norms in the formula, and from the rounding of Σ_HY"
_OF_FIT = (
    "to first order, ‖E‖/λ of each direction's share; the whole share of a direction on the"
    " cut-off; what is left of Σ_HY beside the known directions, over the cut-off, where others"
    " could count; the rounding of Σ_HY"
)
_OF_HELD_OUT = (
    "that of `linear_mse`, scaled; with fits without blocks also (δ + ‖E‖·‖β‖)/√λ_min of their"
    " predictions, and refused where an eigenvalue is within twice the cut-off"
)

CATALOGUE = (
    Quantity(
        name="noise_component",
        column="noise",
        words="share of the features' variance outside their top k directions",
        formula="Σ_{i>k} λ_i / Σ_i λ_i",
        lower=0,
        upper=1,
        collapsed="0",
        worse="higher",
        unit="share",
        needs=_SIGNAL_AND_NOISE,
        error="tr E / tr Σ_H; a smaller value is shown as this bound, with a note",
    ),
    Quantity(
        name="cka",
        column="CKA",
        words="alignment of the features, on those k directions, with the targets",
        formula="‖U_kᵀ Σ_HY‖² / (√(Σ_{i≤k} λ_i²) ‖Σ_Y‖), Frobenius norms",
        lower=0,
        upper=1,
        collapsed="1",
        worse="lower",
        unit="share",
        needs=frozenset(
            {
                Need.FEATURES,
                Need.SIGNAL,
                Need.FEATURES_APART,
                Need.TARGETS,
                Need.PLAIN_COVARIANCE,
            }
        ),
        error=_OF_NORMS,
    ),
    Quantity(
        name="cka_full",
        column=None,
        words="alignment of the features, on all their directions, with the targets",
        formula="‖Σ_HY‖² / (‖Σ_H‖ ‖Σ_Y‖)",
        lower=0,
        upper=1,
        collapsed="1",
        worse="lower",
        unit="share",
        needs=frozenset({Need.FEATURES, Need.TARGETS}),
        error=_OF_NORMS,
    ),
    Quantity(
        name="cka_debiased",
        column=None,
        words="the same without what chance adds for few samples or many features",
        formula="HSIC₁(H, Y) / √(HSIC₁(H, H) HSIC₁(Y, Y)), HSIC₁ unbiased for N samples",
        lower=-1,
        upper=1,
        collapsed="1",
        worse="lower",
        unit="share",
        needs=frozenset({Need.FEATURES, Need.TARGETS, Need.NORMS}),
        error="that of `cka_full`, times the ratio of its denominator to the debiased one",
    ),
    Quantity(
        name="alignment",
        column="align",
        words="alignment of the features' top directions with the weight's",
        formula="mean of the singular values of U_kᵀ V_k, V_k the top k right singular vectors"
        " of W",
        lower=0,
        upper=1,
        collapsed="1",
        worse="lower",
        unit="share",
        needs=_TOP | {Need.WEIGHT_APART},
        error="√2·s; refused where it is open how many directions count",
    ),
    Quantity(
        name="noise_alignment",
        column=None,
        words="alignment of the weight's top directions with all but the features' top ones",
        formula="mean of the singular values of (I − U_k U_kᵀ) V_k",
        lower=0,
        upper=1,
        collapsed="0",
        worse="higher",
        unit="share",
        needs=_TOP | {Need.WEIGHT_APART},
        error="s; likewise",
    ),
    Quantity(
        name="noise_component_r",
        column=None,
        words="share of the features' variance outside their top r directions, r the targets' rank",
        formula="`noise_component` with min(k, r) for k",
        lower=0,
        upper=1,
        collapsed="0",
        worse="higher",
        unit="share",
        needs=_FROM_FEATURES | {Need.RANK},
        error="tr E / tr Σ_H; a smaller value is shown as this bound, with a note",
    ),
    Quantity(
        name="alignment_r",
        column=None,
        words="alignment of the features' top r directions with the weight's",
        formula="`alignment` with min(k, r) for k",
        lower=0,
        upper=1,
        collapsed="1",
        worse="lower",
        unit="share",
        needs=_FROM_FEATURES | _FROM_WEIGHT | {Need.RANK},
        error="√2·s; refused where it is open how many directions count",
    ),
    Quantity(
        name="noise_alignment_r",
        column=None,
        words="alignment of the weight's top r directions with all but the features' top r",
        formula="`noise_alignment` with min(k, r) for k",
        lower=0,
        upper=1,
        collapsed="0",
        worse="higher",
        unit="share",
        needs=_FROM_FEATURES | _FROM_WEIGHT | {Need.RANK},
        error="s; likewise",
    ),
    Quantity(
        name="weight_signal_energy",
        column=None,
        words="share of the weight that acts on the features' top directions",
        formula="‖W U_k‖² / ‖W‖²; about k/d for an unrelated weight",
        lower=0,
        upper=1,
        collapsed="1",
        worse="lower",
        unit="share",
        needs=_TOP,
        error="s; likewise",
    ),
    Quantity(
        name="linear_mse",
        column="lin. MSE",
        words="error of the best linear prediction of the targets from the features",
        formula="mean over N and t of the squared error of the least-squares prediction of Y from"
        " H, both centred; directions of H under 1e-3 of its largest singular value left out",
        lower=0,
        upper=None,
        collapsed="the network's MSE",
        worse="higher",
        unit="Y²",
        needs=_FIT,
        error=_OF_FIT,
    ),
    Quantity(
        name="linear_mse_held_out",
        column=None,
        words="error of linear predictions on samples that they were not fitted to",
        formula="each block of samples predicted by the fit on all others; without blocks"
        " `linear_mse` / (1 − (rank + 1)/N)²",
        lower=0,
        upper=None,
        collapsed="the network's MSE",
        worse="higher",
        unit="Y²",
        needs=_FIT | {Need.HALF_THE_SAMPLES},
        error=_OF_HELD_OUT,
    ),
    Quantity(
        name="error_ratio",
        column="ratio",
        words="error of linear predictions, as a multiple of the network's",
        formula="`linear_mse_held_out` / network MSE",
        lower=0,
        upper=None,
        collapsed="1",
        worse=None,
        unit="ratio",
        needs=_FIT | {Need.HALF_THE_SAMPLES, Need.PREDICTIONS, Need.ERRORS},
        error=_OF_HELD_OUT,
        digits=2,
    ),
    Quantity(
        name="excess",
        column=None,
        words="how much worse than the network the best linear prediction is",
        formula="(`linear_mse` − network MSE) / mean target variance",
        lower=None,
        upper=None,
        collapsed="0",
        worse="higher",
        unit="var Y",
        needs=_FIT | {Need.PREDICTIONS},
        error=_OF_FIT,
    ),
    Quantity(
        name="feature_stable_rank",
        column="SR(H)",
        words="stable rank of the features' covariance",
        formula="Σ λ_i² / λ₁²",
        lower=1,
        upper="d",
        collapsed="k or less",
        worse=None,
        unit="directions",
        needs=_FROM_FEATURES,
        error="from tr E against the norms in the formula",
        digits=2,
    ),
    Quantity(
        name="weight_stable_rank",
        column="SR(W)",
        words="stable rank of the weight",
        formula="‖W‖² / ‖W‖₂²",
        lower=1,
        upper="d",
        collapsed="",
        worse=None,
        unit="directions",
        needs=_FROM_WEIGHT,
        digits=2,
        sampled=False,
    ),
    Quantity(
        name="feature_rank",
        column=None,
        words="directions of the features that count",
        formula="how many singular values of the centred H are above 1e-3 of the largest",
        lower=1,
        upper="d",
        collapsed="k",
        worse=None,
        unit="directions",
        needs=_FROM_FEATURES,
        error="0; refused where an eigenvalue could be on either side of the cut-off",
        digits=0,
        sampled=False,
    ),
    Quantity(
        name="weight_rank",
        column=None,
        words="directions of the weight that count",
        formula="how many singular values of W are above 1e-3 of the largest",
        lower=1,
        upper="d",
        collapsed="k",
        worse=None,
        unit="directions",
        needs=_FROM_WEIGHT | {Need.WHOLE_WEIGHT},
        digits=0,
        sampled=False,
    ),
)
"""In the order of the report."""

QUANTITIES = tuple(quantity.name for quantity in CATALOGUE)
"""Their names."""

ENTRIES = {quantity.name: quantity for quantity in CATALOGUE}

COLUMNS = {quantity.name: quantity.column for quantity in CATALOGUE if quantity.column is not None}
"""The quantities that a table shows, and what it calls them."""


@dataclass(frozen=True)
class Condition:
    """One of the four conditions of collapse.

    Attributes:
        name: in JSON, CSV and rules.
        quantity: which it judges; met on the threshold and on the side that is not worse.
        option: the threshold's name.
        of_learned: whether it cannot be met by a network that predicts nothing.
        both_sides: whether the threshold ρ means from 1/ρ to ρ.
    """

    name: str
    quantity: str
    option: str
    of_learned: bool = False
    both_sides: bool = False

    @property
    def at_most(self) -> bool:
        """Whether it is met up to the threshold, not from there on."""
        return self.both_sides or ENTRIES[self.quantity].worse == "higher"

    def margin(self, value: float, thresholds: Thresholds) -> float:
        """Return how far a value is inside the threshold; negative where it is outside.

        In the quantity's unit, or between two sides in the logarithm of the ratio.
        """
        threshold = float(getattr(thresholds, self.option))
        if self.both_sides:
            return log(threshold) - abs(log(value)) if value > 0 else -inf
        return threshold - value if self.at_most else value - threshold

    def inside(self, values: Values, thresholds: Thresholds) -> Values:
        """Say of one value, or of an array of them, whether it is inside the threshold."""
        threshold = float(getattr(thresholds, self.option))
        if self.both_sides:
            return (values * threshold >= 1) & (values <= threshold)
        return values <= threshold if self.at_most else values >= threshold

    def limits(self, threshold: float) -> tuple[float, ...]:
        """Return the values at which it turns, ascending."""
        return (1 / threshold, threshold) if self.both_sides else (threshold,)

    def met_at(self, threshold: float) -> str:
        """Return where it is met, such as "≤ 0.2" or "0.5 to 2"."""
        if self.both_sides:
            return f"{1 / threshold:.3g} to {threshold:g}"
        return f"{'≤' if self.at_most else '≥'} {threshold:g}"

    def slope(self, value: float) -> float:
        """Return by how much the margin moves with the value."""
        return 1 / value if self.both_sides and value > 0 else 1.0


JUDGED = (
    Condition("nrc1", "noise_component", "noise_max"),
    Condition("nrc2", "cka", "cka_min"),
    Condition("nrc3", "alignment", "alignment_min"),
    Condition("nrc4", "error_ratio", "error_ratio_max", of_learned=True, both_sides=True),
)
"""In the order of the report."""

OF_RANK = {f"{name}_r": name for name in ("noise_component", "alignment", "noise_alignment")}
"""What is measured with the targets' rank r for k → what it is with k."""

CONDITIONS = tuple(condition.name for condition in JUDGED)
"""Their names."""

JUDGES = {condition.quantity: condition for condition in JUDGED}
"""Quantity → the condition that judges it."""

JUDGED_BY = {condition.name: condition.quantity for condition in JUDGED}
"""Condition → the quantity that it judges."""

NEED_PREDICTIONS = tuple(
    condition.name for condition in JUDGED if Need.PREDICTIONS in ENTRIES[condition.quantity].needs
)
"""The conditions that are not judged of a network that makes no predictions."""

LEARNED_R2 = 0.1
"""A network below this R² predicts nothing, and NRC4 says nothing about it."""


def learned(r2: float | None) -> bool:
    """Say whether a network predicts anything; with targets that do not vary it cannot."""
    return r2 is not None and r2 >= LEARNED_R2
