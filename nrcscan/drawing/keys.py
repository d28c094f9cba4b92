"""The key of a figure, and what marks, lines and colours of curves are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from nrcscan.drawing.look import BAND, COLOURS, EDGE, FAINT, LETTER, LINES, MARKS, RC, SHADE, WIDTHS
from nrcscan.drawing.shapes import DASHED, Curve, Face, Key
from nrcscan.drawing.words import drawn, folded
from nrcscan.options.choices import Width

Where = Literal["outside upper left", "outside lower left"]


def put_key(figure: Figure, lines: Sequence[Key], where: Where, width: Width) -> int:
    """Put a key beside the panels, and return how many lines it has."""
    if not lines:
        return 0
    letters = int(WIDTHS[width] / (0.9 * LETTER))  # prose is narrower than names
    texts = [folded(drawn(line.label), letters - 8) for line in lines]
    widest = max(len(part) for text in texts for part in text.split("\n"))
    columns = max(1, min(len(lines), letters // (widest + 8)))
    legend = figure.legend(
        [_handle(line) for line in lines],
        texts,
        loc=where,
        ncols=columns,
        handlelength=2.4,
        handletextpad=0.5,
        columnspacing=1.0,
        labelspacing=0.25,
        borderaxespad=0.2,
        borderpad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return math.ceil(len(lines) / columns) + sum(text.count("\n") for text in texts) + 1


def _handle(line: Key) -> Line2D | Patch:
    if line.span and line.look is not None:
        return Line2D([], [], color=FAINT, linewidth=3)
    if line.span:
        return Patch(color=SHADE, linewidth=0)
    if line.band:
        return Patch(color=FAINT, alpha=BAND, linewidth=0)
    if line.shade is not None:
        return Line2D([], [], color=shaded(line.shade))
    if line.edge:
        return Line2D([], [], color=EDGE, linestyle=edge_dash(line.dash is not None), lw=1.3)
    if line.dash is not None:
        dash: Any = (0, (4, 2)) if line.dash == DASHED else (0, (1, 1.5))
        return Line2D([], [], color=FAINT, linestyle=dash, linewidth=0.8)
    if line.face is not None:
        return Line2D([], [], **mark(line.look or 0, line.face, "#303030", 4.0))
    if line.look is None:
        return Line2D([], [], linestyle="none")
    look = line.look
    style = {**mark(look, Face.FULL, colour_of(look), 4.0), "linestyle": LINES[look % len(LINES)]}
    return Line2D([], [], linewidth=0.9, **style)


def curve_colour(curve: Curve) -> str:
    """Return the colour of a curve: of its look, or of its place among many."""
    return colour_of(curve.look) if curve.shade is None else shaded(curve.shade)


def colour_of(look: int) -> str:
    """Return the colour of a look."""
    return COLOURS[look % len(COLOURS)]


def shaded(share: float) -> str:
    """Return a colour between the first of many and the last, from dark to light."""
    return to_hex(colormaps["viridis"](0.9 * share))


def mark(look: int, face: Face, colour: str, size: float) -> dict[str, Any]:
    """Return how a point is marked, as matplotlib's lines take it."""
    common: dict[str, Any] = {
        "color": colour,
        "linestyle": "none",
        "markersize": size,
        "mew": 0.7,
        "marker": MARKS[look % len(MARKS)],
        "markeredgecolor": colour,
    }
    if face is Face.CROSS:
        return {**common, "marker": "x"}
    if face is Face.UNKNOWN:
        return {**common, "marker": _question_mark(), "markersize": 1.4 * size, "mew": 0}
    if face is Face.HOLLOW:
        return {**common, "markerfacecolor": "white"}
    if face is Face.HALF:
        return {**common, "fillstyle": "left", "markerfacecoloralt": "white"}
    return common


def _question_mark() -> Path:
    """Return the outline of a question mark about the origin."""
    outline = TextPath((0, 0), "?", prop=FontProperties(family=RC["font.family"]))
    return outline.transformed(Affine2D().translate(*-outline.get_extents().get_points().mean(0)))


def edge_dash(second: bool) -> Any:
    """Return how a step line across a heat map is drawn, or the other one beside it."""
    return (0, (1, 1)) if second else "solid"
