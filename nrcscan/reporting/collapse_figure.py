"""The four conditions over depth: what figures 1, 2 and 4 of Rangamani & Unal, CPAL 2026, show."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.drawing.shapes import DASHED, DOTTED, Axis, Drawing, Face, Key, Level, Panel
from nrcscan.metrics.quantities import JUDGED, Condition
from nrcscan.reporting.headings import heading
from nrcscan.reporting.networks_over_depth import Networks, networks
from nrcscan.reporting.profile import Profile, share_axis

MANY = 24
"""Of more layers, half as many panels stand abreast."""


def collapse_figure(profiles: Sequence[Profile]) -> Drawing:
    """Return the figure: a panel for each condition, a curve for each network or label."""
    shown = networks(profiles)
    panels = [_panel(condition, shown) for condition in JUDGED]
    curves = [curve for panel in panels for curve in panel.curves]
    faces = {point.face for curve in curves for point in curve.points}
    if any(curve.missing for curve in curves):
        faces.add(Face.UNKNOWN)
    key = shown.key(faces)
    dashes = [level.dash for panel in panels for level in panel.levels]
    if DOTTED in dashes:
        key.append(Key("threshold", dash=DOTTED))
    key.append(Key("the network's own error", dash=DASHED))
    if len(profiles) > 1 and any(panel.spans for panel in panels):
        key.append(Key("collapsed", look=0, span=True))
    many = len(shown.depth.axis.names) > MANY
    return Drawing(panels, abreast=(2, 1) if many else (4, 2), head=shown.head(), key=key)


def _panel(condition: Condition, shown: Networks) -> Panel:
    """Return the panel of a condition, with thresholds where all networks have the same."""
    told = {one.thresholds.get(condition.option) for one in shown.profiles}
    alike = told.pop() if len(told) == 1 else None
    levels = [] if alike is None else [Level(at, DOTTED) for at in condition.limits(alike)]
    if condition.both_sides:
        levels.append(Level(1.0, DASHED))
    return Panel(
        heading(condition, {} if alike is None else {condition.option: alike}),
        shown.depth.axis,
        Axis(log=True) if condition.both_sides else share_axis(condition.quantity),
        tuple(shown.curves(condition.quantity, condition.name)),
        tuple(levels),
        tuple(shown.spans()),
    )
