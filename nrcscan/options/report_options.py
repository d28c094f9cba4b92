"""Every option of a report, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from nrcscan.options.check import check
from nrcscan.options.choices import Convention
from nrcscan.options.measure_options import MeasuresOption
from nrcscan.options.option import Option, declared


@dataclass(frozen=True)
class Thresholds:
    """When a condition counts as met; the defaults are read off the paper's figures.

    Attributes:
        noise_max: NRC1 holds up to this noise component, 0 … 1.
        cka_min: NRC2 holds from this CKA on, 0 … 1.
        alignment_min: NRC3 holds from this alignment on, 0 … 1.
        error_ratio_max: ρ ≥ 1; NRC4 holds where linear MSE / network MSE is from 1/ρ to ρ.

    Raises:
        UsageError: one is no number, or out of range.
    """

    noise_max: Annotated[
        float,
        Option(
            help="NRC1 holds up to this noise component.",
            minimum=0,
            maximum=1,
            group="Judgement",
        ),
    ] = 0.2
    cka_min: Annotated[
        float,
        Option(
            help="NRC2 holds from this CKA on.",
            minimum=0,
            maximum=1,
            group="Judgement",
        ),
    ] = 0.65
    alignment_min: Annotated[
        float,
        Option(
            help="NRC3 holds from this alignment on.",
            minimum=0,
            maximum=1,
            group="Judgement",
        ),
    ] = 0.7
    error_ratio_max: Annotated[
        float,
        Option(
            help="NRC4 holds where linear MSE / network MSE is from 1 over this up to it.",
            minimum=1,
            group="Judgement",
        ),
    ] = 2.0

    def __post_init__(self) -> None:
        for name, field in declared(Thresholds).items():
            object.__setattr__(self, name, check(field, getattr(self, name), name))


class ReportOptions(TypedDict, total=False):
    """How metrics are defined, and when conditions hold."""

    signal_dim: Annotated[
        int | Literal["t", "auto"],
        Option(
            "t",
            help="k: the number of targets, their rank, or a number.",
            minimum=1,
            metavar="t|auto|INT",
            group="Judgement",
        ),
    ]
    convention: Annotated[
        Convention,
        Option(
            "default",
            help="Details as defined, or as in the authors' script.",
            group="Judgement",
        ),
    ]
    measures: MeasuresOption
    thresholds: Annotated[Thresholds | None, Option(Thresholds(), help="What counts as met.")]
