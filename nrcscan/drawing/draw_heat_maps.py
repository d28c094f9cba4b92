"""Draws heat maps with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure

from nrcscan.drawing.axes import put_log_numbers, put_names
from nrcscan.drawing.keys import edge_dash, mark, put_key
from nrcscan.drawing.look import EDGE, LETTER, LINE, SMALL, WIDTHS
from nrcscan.drawing.shapes import HIGH, LOW, ColourScale, Face, HeatMap, HeatMaps, Key
from nrcscan.drawing.words import NAME, drawn
from nrcscan.options.choices import Width
from nrcscan.short_names import told_apart

ROW, LEAST, MOST = 0.12, 0.5, 2.6
"""Height of a row of cells, and of all of them together, at least and at most, in inches."""

MARKED = 0.075
"""Cells of fewer inches have no marks."""

UNKNOWN = "#BDBDBD"


def draw_heat_maps(drawing: HeatMaps, figure: Figure, width: Width) -> None:
    """Draw the maps of every run beside each other, or two by two in a column."""
    kinds = len(drawing.scales)
    abreast = kinds if width == "page" else 2
    rows = math.ceil(len(drawing.maps) / abreast)
    tall = max(len(one.rows) for one in drawing.maps)
    short = (told_apart([drawn(row) for row in one.rows], NAME) for one in drawing.maps)
    names = max(len(name) for own in short for name in own)
    beside = names * LETTER + 0.3
    inside = ((WIDTHS[width] - beside) / abreast - 0.12, min(MOST, max(LEAST, tall * ROW)))
    marked = any(_cell(one, inside) >= MARKED for one in drawing.maps)
    shown = [line if marked else _unmarked(line) for line in drawing.key]
    key = put_key(figure, [line for line in shown if line is not None], "outside lower left", width)
    own: list[list[Axes]] = [[] for _ in drawing.scales]
    below = 0.0
    for number, one in enumerate(drawing.maps):
        axes = figure.add_subplot(rows, abreast, number + 1)
        own[one.scale].append(axes)
        first = number % abreast == 0
        reach = _draw_map(one, drawing.scales[one.scale], axes, inside, named=first)
        below = max(below, reach)
        axes.set_xlabel(drawn(drawing.x), parse_math=False)
        if first:
            axes.set_ylabel(drawn(drawing.y), parse_math=False)
        if number % kinds == 0 and drawing.titles:
            _put_title(drawing.titles[number // kinds], axes)
    for scale, many in zip(drawing.scales, own, strict=True):
        _put_scale(scale, many if width == "page" else many[-1:], figure)
    titles = len(drawing.titles) * LINE
    bars = 0.45 * (1 if width == "page" else 2)
    each = inside[1] + below + 0.5
    figure.set_size_inches(WIDTHS[width], rows * each + titles + bars + key * LINE)


def _put_title(title: str, axes: Axes) -> None:
    axes.annotate(
        drawn(title),
        (0, 1),
        (0, SMALL + 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontweight="bold",
        parse_math=False,
    )


def _cell(one: HeatMap, inside: tuple[float, float]) -> float:
    """Return the smaller side of a map's cells, in inches."""
    return min(inside[0] / len(one.columns), inside[1] / len(one.rows))


def _unmarked(line: Key) -> Key | None:
    """Return a line of the key where cells are too small for marks; None if it is of one."""
    if line.face is Face.UNKNOWN:
        return Key(f"grey: {line.label}")
    return line if line.face is None else None


def _draw_map(
    one: HeatMap,
    scale: ColourScale,
    axes: Axes,
    inside: tuple[float, float],
    *,
    named: bool,
) -> float:
    """Draw a map, its rows named if it is the first of several; return the room of names below."""
    values = np.array([[np.nan if v is None else v for v in row] for row in one.values])
    low, high = scale.ends
    colours, norm = _colours(scale), _norm(scale)
    axes.imshow(
        np.ma.masked_invalid(np.clip(values, low, high)),
        cmap=colours,
        norm=norm,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_title(drawn(one.title), parse_math=False)
    axes.set_facecolor(UNKNOWN)
    put_names(axes.yaxis, one.rows, inside[1], shown=named)
    below = put_names(axes.xaxis, one.columns, inside[0])
    if _cell(one, inside) >= MARKED:
        for marked, cells in _marks(one, colours, norm):
            rows, columns = zip(*cells, strict=True)
            axes.plot(columns, rows, **marked)
    for second, line in enumerate((one.line, one.second)):
        for xs, ys in _steps(line):
            style: dict[str, Any] = {"solid_capstyle": "butt", "clip_on": False}
            axes.plot(xs, ys, color="white", lw=2.4, zorder=3, **style)
            axes.plot(
                xs, ys, color=EDGE, lw=1.3, zorder=4, linestyle=edge_dash(bool(second)), **style
            )
    axes.set_xlim(-0.5, len(one.columns) - 0.5)
    axes.set_ylim(len(one.rows) - 0.5, -0.5)
    return below


def _in_cell(face: Face, ink: str) -> dict[str, Any]:
    style = mark(0, face, ink, 2.6)
    for name in ("markerfacecolor", "markerfacecoloralt"):
        if style.get(name) == "white":
            style[name] = "none"
    return style


def _marks(
    one: HeatMap, colours: Colormap, norm: Normalize
) -> Iterator[tuple[dict[str, Any], list[tuple[int, int]]]]:
    """Yield how cells are marked, dark on bright and bright on dark, and which are marked so."""
    found: dict[tuple[Face, str], list[tuple[int, int]]] = {}
    low = norm.vmin or 0.0
    for row, (values, faces) in enumerate(zip(one.values, one.faces, strict=True)):
        for column, (value, face) in enumerate(zip(values, faces, strict=True)):
            here = to_rgba(UNKNOWN) if value is None else colours(norm(max(value, low)))
            ink = "black" if _brightness(here) > 0.5 else "white"
            found.setdefault((face, ink), []).append((row, column))
    for (face, ink), cells in found.items():
        yield _in_cell(face, ink), cells


def _brightness(colour: Sequence[float]) -> float:
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _steps(line: Sequence[int | None]) -> Iterator[tuple[list[float], list[float]]]:
    """Yield the corners of every unbroken stretch of a step line."""
    xs: list[float] = []
    ys: list[float] = []
    for column, row in enumerate([*line, None]):
        if row is not None:
            xs += [column - 0.5, column + 0.5]
            ys += [row - 0.5] * 2
        elif xs:
            yield xs, ys
            xs, ys = [], []


def _colours(scale: ColourScale) -> Colormap:
    names = {LOW: "cividis_r", HIGH: "cividis"}
    return colormaps[names.get(scale.bright, "PuOr_r")]


def _norm(scale: ColourScale) -> Normalize:
    return (LogNorm if scale.log else Normalize)(*scale.ends, clip=True)


def _put_scale(scale: ColourScale, axes: Sequence[Axes], figure: Figure) -> None:
    bar = figure.colorbar(
        ScalarMappable(_norm(scale), _colours(scale)),
        ax=list(axes),
        location="bottom",
        aspect=18,
        pad=0.03,
        fraction=0.08,
        extend="both" if scale.open else "neither",
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.minorticks_off()
    if scale.log:
        put_log_numbers(bar.ax.xaxis, *scale.ends)
    bar.set_label(drawn(scale.label), parse_math=False)
