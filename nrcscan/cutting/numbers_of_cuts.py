"""The numbers of cuts as text: shares that are kept, errors, and by how much these change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from nrcscan.cutting.cuts import Estimate

LARGE = 1e6
"""Numbers from which on they are written in powers of ten."""

MANIFOLD = 9.0
"""A change from which on it is told how many times as much it is: ten times and more."""


def share(value: float) -> str:
    """Return a share in percent.

    >>> share(0.05), share(0.125)
    ('5%', '12.5%')
    """
    return f"{100 * value:g}%"


def power(ridge: float) -> str:
    """Return a ridge by its power of ten.

    >>> power(3.2e-6), power(1e-10), power(0.0)
    ('3e-6', '1e-10', '0')
    """
    return f"{ridge:.0e}".replace("e-0", "e-") if ridge else "0"


def kept(part: int | None, whole: int | None) -> str:
    """Return the share that is kept; nothing less than all reads as all.

    >>> kept(17408, 99584), kept(99, 100_000), kept(99_999, 100_000), kept(5, 5), kept(None, 5)
    ('17.5%', '0.1%', '99.9%', '100%', '—')
    """
    if part is None or not whole:
        return "—"
    percent = 100 * part / whole
    if percent < 1:
        return f"{percent:.1g}%"
    return (
        "100%"
        if part == whole
        else f"{percent:.0f}%"
        if part > whole
        else f"{min(percent, 99.9):.1f}%"
    )


def pair(estimate: Estimate | None, show: Callable[[float], str]) -> tuple[str, str]:
    """Return a number and its error bar, written in a table's way; see `alike`."""
    if estimate is None:
        return "—", ""
    error = estimate.standard_error
    if error is None:
        return show(estimate.value), ""
    shown = show(error)
    return show(estimate.value), f"±{shown if float(shown) or not error else f'{error:.1g}'}"


def change(estimate: Estimate | None) -> tuple[str, str]:
    """Return a relative change in percent, or how many times as much it is, and its error bar.

    >>> change(Estimate(-0.7801, 0.0213)), change(Estimate(151.2, 13.3)), change(None)
    (('-78.0%', '±2%'), ('×152', '±13'), ('—', ''))
    >>> change(Estimate(2.5e7, None)), change(Estimate(0.051, 0.00004))
    (('×2.5e+07', ''), ('+5.1%', '±0.004%'))
    """
    if estimate is None:
        return "—", ""
    value, error = estimate.value, estimate.standard_error
    if value >= MANIFOLD:
        bar = "" if error is None else f"±{_plain(error)}"
        return f"×{_plain(1 + value)}", bar
    bar = "" if error is None else f"±{_plain(100 * error)}%"
    return f"{100 * value:+.1f}%", bar


def _plain(value: float) -> str:
    return f"{value:.0f}" if 9.5 <= value < LARGE else f"{value:.{1 + (value >= LARGE)}g}"


def alike(estimates: Iterable[Estimate | None]) -> Callable[[float], str]:
    """Return how to write errors of one table: with so many digits that the least has three.

    >>> show = alike([Estimate(0.1295, None), Estimate(0.02851, None)])
    >>> show(0.1295), show(0.02851), alike([Estimate(2.5e-9, None)])(2.5e-9)
    ('0.1295', '0.0285', '2.50e-09')
    """
    values = [one.value for one in estimates if one is not None and one.value > 0]
    exponents = [math.floor(math.log10(value)) for value in values] or [0]
    digits = max(2 - min(exponents), 0)
    if digits > 6 or max(exponents) > 6:
        return lambda value: f"{value:.2e}"
    return lambda value: f"{value:.{digits}f}"
