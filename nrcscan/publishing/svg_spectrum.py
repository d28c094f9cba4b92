"""The eigenvalues of a layer's features, as shares of the first, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from nrcscan.publishing.markup import Markup, element, text
from nrcscan.publishing.svg_axes import SvgAxis, decades, label, whole_ticks

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 32
LEAST = 1e-16
"""Smaller shares are rounding."""
MOST_POINTS = 120


def spectrum_figure(eigenvalues: Sequence[float], signal_dim: int) -> Markup:
    """Return λ_i/λ_1 of a layer, with a line behind the k-th; nothing for a single one or zeros.

    Args:
        eigenvalues: descending, (d,) or as many as a sketch knows.
        signal_dim: k.
    """
    if len(eigenvalues) < 2 or eigenvalues[0] <= 0:
        return Markup()
    shares = [float(value / eigenvalues[0]) for value in eigenvalues]
    y = decades([*shares, 0.1], HEIGHT - BOTTOM, TOP, least=LEAST)
    x = SvgAxis(0.5, len(shares) + 0.5, LEFT, WIDTH - RIGHT)
    shown = [i for i in _thinned(len(shares)) if shares[i] > LEAST]
    points = [f"{x.at(i + 1)} {y.at(shares[i])}" for i in shown]
    parts: list[Markup] = []
    for value, words in y.ticks():
        at = y.at(value)
        parts.append(element("path", class_="grid", d=f"M{LEFT} {at}H{WIDTH - RIGHT}"))
        parts.append(label(words, LEFT - 5, at + 3.5, "end"))
    for n in whole_ticks(1, len(shares)):
        parts.append(label(str(n), x.at(n), HEIGHT - BOTTOM + 13))
    if signal_dim < len(shares):
        at = x.at(signal_dim + 0.5)
        parts.append(element("path", class_="threshold", d=f"M{at} {TOP}V{HEIGHT - BOTTOM}"))
        parts.append(label(f"k = {signal_dim}", at + 4, HEIGHT - BOTTOM - 5, "start"))
    parts.append(element("path", class_="curve", d="M" + "L".join(points)))
    dots = "".join(f"M{point}h0" for point in points)
    parts.append(element("path", class_="dots", d=dots))
    below = len(shares) - sum(share > LEAST for share in shares)
    left_out = f"; {below} more under 10⁻¹⁶" if below else ""
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(label("direction i", middle, HEIGHT - 3))
    return element(
        "figure",
        element("figcaption", element("b", "spectrum"), f" λ_i / λ_1 of the features{left_out}"),
        element(
            "svg",
            *parts,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=text(_in_words(shares, signal_dim)),
        ),
        class_="spectrum",
    )


def _in_words(shares: Sequence[float], signal_dim: int) -> str:
    first = ", ".join(f"{share:.2g}" for share in shares[: signal_dim + 2])
    return f"eigenvalues as shares of the first: {first}, of {len(shares)}"


def _thinned(n: int) -> list[int]:
    """Return which of n points are drawn: all first ones, then evenly on a logarithmic scale."""
    if n <= MOST_POINTS:
        return list(range(n))
    steps = range(MOST_POINTS + 1)
    return sorted({*range(20), *(round(10 ** (log10(n) * i / MOST_POINTS)) - 1 for i in steps)})
