"""The four conditions over depth: what figure 4 of Rangamani & Unal, CPAL 2026, shows."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.drawing.shapes import (
    DASHED,
    DOTTED,
    Axis,
    Curve,
    Drawing,
    Face,
    Key,
    Level,
    Panel,
    Span,
)
from nrcscan.metrics.quantities import JUDGED, Condition
from nrcscan.reporting.headings import heading
from nrcscan.reporting.profile import (
    MARK_WORDS,
    Places,
    Profile,
    depth_of,
    head,
    points_of,
    share_axis,
    span_of,
)

MANY = 24
"""Of more layers, half as many panels stand abreast."""


def collapse_figure(profiles: Sequence[Profile]) -> Drawing:
    """Return the figure: a panel for each condition, a curve for each network."""
    depth = depth_of(profiles)
    panels = [_panel(condition, profiles, depth) for condition in JUDGED]
    curves = [curve for panel in panels for curve in panel.curves]
    faces = {point.face for curve in curves for point in curve.points}
    if any(curve.missing for curve in curves):
        faces.add(Face.UNKNOWN)
    key = [Key(word, face=face) for face, word in MARK_WORDS.items() if face in faces]
    dashes = [level.dash for panel in panels for level in panel.levels]
    if DOTTED in dashes:
        key.append(Key("threshold", dash=DOTTED))
    key.append(Key("the network's own error", dash=DASHED))
    if len(profiles) > 1 and any(panel.spans for panel in panels):
        key.append(Key("collapsed", look=0, span=True))
    many = len(depth.axis.names) > MANY
    return Drawing(panels, abreast=(2, 1) if many else (4, 2), head=head(profiles), key=key)


def _panel(condition: Condition, profiles: Sequence[Profile], depth: Places) -> Panel:
    """Return the panel of a condition, with thresholds where all networks have the same."""
    told = {one.thresholds.get(condition.option) for one in profiles}
    alike = told.pop() if len(told) == 1 else None
    levels = [] if alike is None else [Level(at, DOTTED) for at in condition.limits(alike)]
    if condition.both_sides:
        levels.append(Level(1.0, DASHED))
    curves: list[Curve] = []
    spans: list[Span] = []
    for look, (one, places) in enumerate(zip(profiles, depth.places, strict=True)):
        points, missing = points_of(one, places, condition.quantity, condition.name)
        curves.append(Curve(points, look, missing))
        spans += span_of(one, places, look)
    return Panel(
        heading(condition, {} if alike is None else {condition.option: alike}),
        depth.axis,
        Axis(log=True) if condition.both_sides else share_axis(condition.quantity),
        tuple(curves),
        tuple(levels),
        tuple(spans),
    )
