"""Where collapse begins: a pure rule from per-layer conditions to onsets and runs.

The onset of a condition is the first position in depth from which it holds at every later
one (Rangamani & Unal, CPAL 2026, section 4). A position where a condition cannot be judged,
because its quantity is undefined there, neither begins a stretch nor breaks one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nrcscan.errors import UsageError

if TYPE_CHECKING:  # the thresholds' defaults are part of --help, which imports nothing heavy
    from nrcscan.metrics.layer_metrics import LayerMetrics

CONDITIONS = ("nrc1", "nrc2", "nrc3", "nrc4")

QUANTITIES = (
    "noise_component",
    "cka",
    "cka_full",
    "alignment",
    "noise_alignment",
    "weight_signal_energy",
    "linear_mse",
    "excess",
    "feature_stable_rank",
    "weight_stable_rank",
    "feature_rank",
    "weight_rank",
)
"""Every quantity of a layer, in the order of the report."""

LEARNED_R2 = 0.1
"""A network below this R² predicts nothing, and NRC4 says nothing about it."""

Answer = bool | None
"""Whether a condition holds somewhere; None where it cannot be judged."""


@dataclass(frozen=True)
class Thresholds:
    """When a condition counts as met; the defaults are read off the paper's figures.

    Attributes:
        noise_max: NRC1 holds up to this noise component, 0 … 1.
        cka_min: NRC2 holds from this CKA on, 0 … 1.
        alignment_min: NRC3 holds from this alignment on, 0 … 1.
        excess_max: NRC4 holds up to this excess (linear MSE − network MSE) / target variance.
    """

    noise_max: float = 0.2
    cka_min: float = 0.65
    alignment_min: float = 0.7
    excess_max: float = 0.05

    def __post_init__(self) -> None:
        for name in ("noise_max", "cka_min", "alignment_min"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name} is {value}: give a number from 0 to 1")
        if not self.excess_max >= 0:
            raise UsageError(f"excess_max is {self.excess_max}: give a number from 0 up")


def conditions(
    metrics: LayerMetrics, thresholds: Thresholds, *, learned: bool, alignment: float | None
) -> dict[str, Answer]:
    """Return which conditions hold at a layer.

    Args:
        metrics: of the layer.
        thresholds: what counts as met.
        learned: whether the network predicts anything (R² ≥ 0.1); NRC4 is not met otherwise.
        alignment: the alignment to judge NRC3 by: the layer's own, or its position's mean.
    """
    if not metrics.varies:
        return dict.fromkeys(CONDITIONS, False)
    noise, cka, excess = (metrics.get(q) for q in ("noise_component", "cka", "excess"))
    return {
        "nrc1": None if noise is None else noise <= thresholds.noise_max,
        "nrc2": None if cka is None else cka >= thresholds.cka_min,
        "nrc3": None if alignment is None else alignment >= thresholds.alignment_min,
        "nrc4": None if excess is None else learned and excess <= thresholds.excess_max,
    }


def together(held: Sequence[Answer]) -> Answer:
    """Return whether all hold: False beats None beats True.

    >>> together([True, None]), together([False, None]), together([True, True])
    (None, False, True)
    """
    if any(h is False for h in held):
        return False
    return None if any(h is None for h in held) else True


def onset(held: Sequence[Answer]) -> int | None:
    """Return the first position from which a condition holds through to the output.

    >>> onset([True, False, True, None, True])
    2
    >>> onset([True, True, False]) is None
    True
    """
    start = None
    for position, holds in enumerate(held):
        if holds is False:
            start = None
        elif holds and start is None:
            start = position
    return start


def runs(held: Sequence[Answer]) -> list[tuple[int, int]]:
    """Return the first and last position of every stretch in which a condition holds.

    >>> runs([True, None, True, False, True, None])
    [(0, 2), (4, 4)]
    """
    found: list[tuple[int, int]] = []
    broken = True
    for position, holds in enumerate(held):
        if holds is False:
            broken = True
        elif holds:
            first = position if broken else found.pop()[0]
            found.append((first, position))
            broken = False
    return found
