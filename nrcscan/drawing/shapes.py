"""What a figure is made of, in plain numbers and words: nothing here knows who draws it, or why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Face(Enum):
    """How a point's mark is filled, which grey print and every eye can tell."""

    FULL = "full"
    HALF = "half"
    HOLLOW = "hollow"
    CROSS = "cross"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        x: its place, in the panel's units.
        y: its value.
        face: how its mark is filled; a cross is joined to nothing, and stands
            for what is not judged.
        bar: both ends of its error bar; None where there is none.
    """

    x: float
    y: float
    face: Face = Face.FULL
    bar: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curve:
    """Points of one kind.

    Attributes:
        points: from left to right.
        look: which colour, mark and line it has, from 0; figures go by this, from curve to curve.
        missing: places where there is no value; the line is broken there.
        marked: whether its points are marked, or the line is all there is.
        shade: its place between the first of many and the last, 0 … 1, in place of `look`.
        band: around it, by place: from where to where.
    """

    points: tuple[Point, ...]
    look: int = 0
    missing: tuple[float, ...] = ()
    marked: bool = True
    shade: float | None = None
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Level:
    """A straight line across a panel.

    Attributes:
        at: where it is.
        dash: how it is drawn.
        upright: whether `at` is a place, or a value.
        look: of the curve that it belongs to; None if it belongs to all.
    """

    at: float
    dash: str
    upright: bool = False
    look: int | None = None


DOTTED, DASHED = "dotted", "dashed"


@dataclass(frozen=True)
class Span:
    """A stretch in depth, from the first place to the last, of the curves of a look."""

    first: float
    last: float
    look: int


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        label: what is along it.
        names: of the places 0, 1, …; without them it has numbers.
        log: whether it is logarithmic.
        ends: what it has to show at least; None leaves it to the points.
        bounds: what it shows at most, so that no error bar leads out of where values can be.
    """

    label: str = ""
    names: tuple[str, ...] = ()
    log: bool = False
    ends: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Key:
    """A line of the key: a curve's look, a mark, a line, a stretch, an edge or a band, in words."""

    label: str
    look: int | None = None
    face: Face | None = None
    dash: str | None = None
    span: bool = False
    edge: bool = False
    shade: float | None = None
    band: bool = False


@dataclass(frozen=True)
class HeatMap:
    """Values by row and column.

    Attributes:
        title: above it.
        rows: names, from the top.
        columns: names, from the left.
        values: a row of them for every row; None where there is no value.
        faces: likewise, how every value is marked.
        scale: which of the figure's scales its colours are on.
        line: for every column the row at whose upper edge the line is; None where there is none.
        second: likewise, of another line.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    faces: tuple[tuple[Face, ...], ...]
    scale: int
    line: tuple[int | None, ...]
    second: tuple[int | None, ...]


@dataclass(frozen=True)
class ColourScale:
    """What colours mean; the brightest is collapsed.

    Attributes:
        label: what the values are.
        ends: the least and the greatest value that colours tell apart.
        log: whether it is logarithmic.
        bright: where it is brightest: at its lower end, its upper end, or between the two.
        open: whether there are values beyond its ends.
    """

    label: str
    ends: tuple[float, float]
    log: bool
    bright: str
    open: bool = False


LOW, MIDDLE, HIGH = "low", "middle", "high"


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        panels: in reading order.
        abreast: how many of them stand side by side on a page, and in a column.
        head: the key above the panels: the curves.
        key: the key below them: marks and lines.
    """

    panels: Sequence[Panel]
    abreast: tuple[int, int]
    head: Sequence[Key] = ()
    key: Sequence[Key] = ()


@dataclass(frozen=True)
class HeatMaps:
    """A figure of heat maps.

    Attributes:
        maps: in reading order, those of a run beside each other.
        titles: of every run, above its maps; empty if there is one without a name.
        scales: a run has a map on each.
        x: what columns are.
        y: what rows are.
        key: below them.
    """

    maps: Sequence[HeatMap]
    titles: Sequence[str]
    scales: Sequence[ColourScale]
    x: str
    y: str
    key: Sequence[Key] = ()
