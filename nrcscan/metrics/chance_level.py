"""What a quantity is by chance alone: a value near it says nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chance:
    """What a quantity comes to where nothing was learned, at the same d, k, t and N.

    Attributes:
        level: its mean.
        quantile: what it is beyond in one case of a hundred, on the side of collapse.
    """

    level: float
    quantile: float
