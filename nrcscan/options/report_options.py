"""Every option of a report, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nrcscan.errors import UsageError
from nrcscan.options.choices import Convention


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


@dataclass(frozen=True)
class Judgement:
    """The options of `nrcscan.report`, which describes them."""

    signal_dim: int | Literal["t", "auto"]
    convention: Convention
    thresholds: Thresholds
