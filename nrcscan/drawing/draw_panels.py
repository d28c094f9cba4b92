"""Draws panels with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from nrcscan.drawing.axes import put_names, put_numbers
from nrcscan.drawing.keys import colour_of, curve_colour, mark, put_key
from nrcscan.drawing.look import (
    BAND,
    FAINT,
    GRID,
    LINE,
    LINES,
    SHADE,
    SMALL,
    WIDTHS,
)
from nrcscan.drawing.shapes import DASHED, Curve, Drawing, Face, Level, Panel, Point
from nrcscan.drawing.words import drawn
from nrcscan.options.choices import Width

HEIGHT: dict[Width, float] = {"column": 1.15, "page": 1.5}
"""Of the inside of a panel, in inches."""

TINY = 1e-300
"""Where an error bar ends that reaches 0 on a logarithmic axis: below its edge."""

MOST_ABREAST = 14
"""Below so many points in a panel's inch, marks stand apart."""


def draw_panels(drawing: Drawing, figure: Figure, width: Width) -> None:
    """Draw panels in rows, the key of curves above and that of marks below."""
    abreast = min(drawing.abreast[width == "column"], len(drawing.panels))
    rows = math.ceil(len(drawing.panels) / abreast)
    inside = WIDTHS[width] / abreast - 0.35
    head = put_key(figure, drawing.head, "outside upper left", width)
    key = put_key(figure, drawing.key, "outside lower left", width)
    below = 0.0
    for number, panel in enumerate(drawing.panels):
        axes = figure.add_subplot(rows, abreast, number + 1)
        last = number + abreast >= len(drawing.panels)
        below = max(below, _draw(panel, axes, inside, named=last))
    height = rows * (HEIGHT[width] + 0.4) + below + (head + key) * LINE + 0.1
    figure.set_size_inches(WIDTHS[width], height)


def _draw(panel: Panel, axes: Axes, inside: float, *, named: bool) -> float:
    """Draw a panel, and return how much room the names below it take."""
    pad = 4 + (2 + 4.5 * len(panel.spans) if panel.spans and len(panel.curves) > 1 else 0)
    axes.set_title(drawn(panel.title), pad=pad, parse_math=False)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.4)
    axes.set_axisbelow(True)
    strips = len(panel.curves) > 1
    for number, span in enumerate(panel.spans):
        ends = (span.first - 0.5, span.last + 0.5)
        if strips:  # one above another, between the title and the panel
            low = 1.02 + 0.04 * number
            axes.axvspan(*ends, low, low + 0.025, color=colour_of(span.look), lw=0, clip_on=False)
        else:
            axes.axvspan(*ends, color=SHADE, linewidth=0, zorder=0)
    if panel.y.log:
        axes.set_yscale("log")
    for curve in panel.curves:
        _draw_curve(curve, axes, panel, inside)
    for level in panel.levels:
        _draw_level(level, axes)
    below = _draw_axes(panel, axes, inside, named=named)
    _draw_missing(panel, axes)
    return below


def _draw_axes(panel: Panel, axes: Axes, inside: float, *, named: bool) -> float:
    if panel.x.names:
        beside = max(0.6, 0.015 * len(panel.x.names))
        axes.set_xlim(-beside, len(panel.x.names) - 1 + beside)
        below = put_names(axes.xaxis, panel.x.names, inside, shown=named)
    else:
        if panel.x.log:
            axes.set_xscale("log")
        put_numbers(axes.xaxis, panel.x)
        below = 0.1
    put_numbers(axes.yaxis, panel.y)
    if named:
        axes.set_xlabel(drawn(panel.x.label), parse_math=False)
        below += LINE
    axes.set_ylabel(drawn(panel.y.label), parse_math=False)
    return below


def _draw_curve(curve: Curve, axes: Axes, panel: Panel, inside: float) -> None:
    colour = curve_colour(curve)
    shown = [p for p in curve.points if p.y > 0 or not panel.y.log]
    joined = [point for point in shown if point.face is not Face.CROSS]
    _draw_band(curve, axes, panel, {point.x for point in joined})
    for stretch in _stretches(joined, curve.missing):
        axes.plot(
            [p.x for p in stretch],
            [p.y for p in stretch],
            color=colour,
            linestyle=LINES[curve.look % len(LINES)] if curve.shade is None else "solid",
            linewidth=0.9,
            zorder=2,
        )
    if not curve.marked:
        return
    crowd = len(shown) / inside
    size = 4.0 if crowd < MOST_ABREAST else max(1.8, 4.0 * MOST_ABREAST / crowd)
    bars = [(point.x, *point.bar) for point in shown if point.bar is not None]
    if bars:
        lines = [[(x, max(low, TINY) if panel.y.log else low), (x, high)] for x, low, high in bars]
        drawn_bars = LineCollection(lines, colors=colour, linewidths=0.6, zorder=2.5)
        axes.add_collection(drawn_bars, autolim=False)  # values alone make the axis
    for face in Face:
        alike = [point for point in shown if point.face is face]
        if alike:
            style = mark(curve.look, face, colour, size)
            axes.plot([p.x for p in alike], [p.y for p in alike], **style, zorder=3)


def _draw_band(curve: Curve, axes: Axes, panel: Panel, places: set[float]) -> None:
    """Draw what is around a curve, where it is joined by a line."""
    band = [Point(x, high, bar=(low, high)) for x, low, high in curve.band if x in places]
    for stretch in _stretches(band, curve.missing):
        ends = [point.bar for point in stretch if point.bar is not None]
        axes.fill_between(
            [point.x for point in stretch],
            [max(low, TINY) if panel.y.log else low for low, _ in ends],
            [high for _, high in ends],
            color=curve_colour(curve),
            alpha=BAND,
            linewidth=0,
            zorder=1.5,
        )


def _stretches(points: Sequence[Point], missing: Sequence[float]) -> Iterable[list[Point]]:
    """Yield points that a line joins: nothing is missing between them."""
    stretch: list[Point] = []
    for point in points:
        if stretch and any(stretch[-1].x < place < point.x for place in missing):
            yield stretch
            stretch = []
        stretch.append(point)
    if stretch:
        yield stretch


def _draw_level(level: Level, axes: Axes) -> None:
    colour = FAINT if level.look is None else colour_of(level.look)
    dash: Any = (0, (4, 2)) if level.dash == DASHED else (0, (1, 1.5))
    line = axes.axvline if level.upright else axes.axhline
    line(level.at, color=colour, linestyle=dash, linewidth=0.8, zorder=1.5)


def _draw_missing(panel: Panel, axes: Axes) -> None:
    """Write along the lower edge where a value is missing, or is nothing on a logarithmic axis."""
    below, lines = axes.get_xaxis_transform(), 0
    for curve in panel.curves:
        zeros = [(p.x, "0") for p in curve.points if p.y <= 0 and panel.y.log]
        words = [*zeros, *((x, "?") for x in curve.missing)]
        style: dict[str, Any] = {"color": curve_colour(curve), "size": SMALL, "ha": "center"}
        for x, word in words:
            axes.text(x, 0.02 + 0.07 * lines, word, transform=below, parse_math=False, **style)
        lines += bool(words)
