"""Names and numbers along axes, so many of them as there is room for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axis import Axis as AnyAxis
from matplotlib.axis import XAxis
from matplotlib.ticker import MaxNLocator, NullLocator

from nrcscan.drawing.look import LETTER, LINE
from nrcscan.drawing.shapes import Axis
from nrcscan.drawing.words import NAME, drawn
from nrcscan.short_names import told_apart
from nrcscan.wording import power_of_ten

DECADES = 4
"""So many powers of ten have their name on a logarithmic axis, at least and about."""


def put_names(axis: AnyAxis, names: Sequence[str], room: float, *, shown: bool = True) -> float:
    """Name the places 0, 1, … along an axis, in `room` inches, and return how much they reach out.

    Upright where they are long; of too many, every second, third, ….
    """
    texts = told_apart([drawn(name) for name in names], NAME)
    widest = max(map(len, texts), default=0) * LETTER
    pitch = room / max(len(texts), 1)
    flat = not isinstance(axis, XAxis) or widest + LETTER < pitch * max(1, len(texts) // 8)
    needs = widest + LETTER if flat and isinstance(axis, XAxis) else LINE
    every = max(1, math.ceil(needs / pitch))
    crowded = len(texts) > 60
    places = range(0, len(texts), every if crowded else 1)
    axis.set_ticks(list(places))
    labels = axis.set_ticklabels([texts[i] if shown and i % every == 0 else "" for i in places])
    for label in labels:
        label.set_parse_math(False)
        label.set_rotation(0 if flat else 90)
    return LINE if flat else widest


def put_numbers(axis: AnyAxis, wanted: Axis) -> None:
    """Number an axis."""
    low, high = axis.get_view_interval()
    if wanted.ends is not None:
        low, high = min(low, wanted.ends[0]), max(high, wanted.ends[1])
    if wanted.bounds is not None:
        low, high = max(low, wanted.bounds[0]), min(high, wanted.bounds[1])
    (axis.axes.set_xlim if isinstance(axis, XAxis) else axis.axes.set_ylim)(low, high)
    if wanted.log:
        put_log_numbers(axis, *axis.get_view_interval())
    elif not wanted.names:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=isinstance(axis, XAxis)))


def put_log_numbers(axis: AnyAxis, low: float, high: float) -> None:
    """Number a logarithmic axis at some powers of ten; between few of them, at 2 and 5 too."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / DECADES))
    within = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    powers = range(-(-first // every) * every, last + 1, every)
    places = [10.0**exponent * factor for exponent in powers for factor in within]
    shown = [place for place in places if low <= place * 1.001 and place <= high * 1.001]
    axis.set_ticks(shown, labels=[power(place) for place in shown])
    axis.set_minor_locator(NullLocator())


def power(value: float) -> str:
    """Return a number as a logarithmic axis has it.

    >>> power(0.001), power(1.0), power(10.0), power(0.5)
    ('10⁻³', '1', '10', '0.5')
    """
    exponent = round(math.log10(value)) if value > 0 else 0
    return power_of_ten(exponent) if math.isclose(value, 10.0**exponent) else f"{value:g}"
