"""Axes of figures: from a quantity to a place, and where its ticks are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

from nrcscan.publishing.markup import Markup, element
from nrcscan.wording import power_of_ten

DECADES = 5
"""Ticks that an axis of decades has at most, beside the first."""


@dataclass(frozen=True)
class SvgAxis:
    """An axis.

    Attributes:
        low: the value at its start; above 0 if it is logarithmic.
        high: the value at its end.
        start: where `low` is, in the figure's units.
        end: where `high` is.
        logarithmic: whether equal steps are equal factors.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return where a value is; what is off the axis is at its nearer end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = log10(value / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return values and their labels."""
        if not self.logarithmic:
            return [(share, f"{share:g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        first, last = round(log10(self.low)), round(log10(self.high))
        every = max(1, ceil((last - first) / DECADES))
        return [(10.0**n, power_of_ten(n)) for n in range(last, first - 1, -every)]


def share_axis(start: float, end: float) -> SvgAxis:
    """Return an axis from 0 to 1."""
    return SvgAxis(0.0, 1.0, start, end)


def decades(values: Iterable[float], start: float, end: float, *, least: float = 1e-16) -> SvgAxis:
    """Return a logarithmic axis of whole decades that has all values above `least` on it."""
    on_it = [min(value, 1e16) for value in values if value > least] or [1.0]
    low, high = floor(log10(min(on_it))), ceil(log10(max(on_it)))
    return SvgAxis(10.0**low, 10.0 ** (high if high > low else low + 1), start, end, True)


def whole_ticks(first: int, last: int, most: int = 8) -> list[int]:
    """Return whole numbers between two, evenly apart and few; the first one is among them.

    >>> whole_ticks(1, 7), whole_ticks(1, 50)
    ([1, 2, 3, 4, 5, 6, 7], [1, 10, 20, 30, 40, 50])
    """
    every = next(n for n in _ROUND if (last - first) / n < most)
    return [first, *(n for n in range(every, last + 1, every) if n - first > every / 2)]


def label(words: str, x: float, y: float, anchor: str = "middle") -> Markup:
    """Return words beside an axis."""
    return element("text", words, class_="tick", x=round(x, 1), y=round(y, 1), text_anchor=anchor)


_ROUND = tuple(m * 10**n for n in range(9) for m in (1, 2, 5, 10))
