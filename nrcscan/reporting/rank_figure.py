"""Ranks over depth, and what is measured at the targets' rank: figure 3 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.drawing.shapes import DASHED, DOTTED, Axis, Drawing, Face, Key, Level, Panel
from nrcscan.metrics.quantities import ENTRIES, OF_RANK
from nrcscan.reporting.networks_over_depth import Networks, networks
from nrcscan.reporting.profile import Profile, share_axis

RANKS = ("feature_stable_rank", "weight_stable_rank")
BESIDE = ("noise_component", "alignment", "noise_alignment")
"""What is shown at k and at r directions, where the two differ."""

TO_NOISE = "noise align"
"""What figures call the alignment with all but the features' top directions."""

MANY = 20
"""Ranks above this have a logarithmic axis."""


def rank_figure(profiles: Sequence[Profile]) -> Drawing:
    """Return the figure: stable ranks; where r is less than k, also what is measured at both."""
    shown = networks(profiles)
    low = any(
        one.target_rank is not None
        and one.signal_dim is not None
        and one.target_rank < one.signal_dim
        for one in profiles
    )
    panels = []
    for at, rank in zip("kr", RANKS, strict=True):
        panels.append(_ranks(rank, shown))
        for name in BESIDE if low else ():
            panels.append(_at(at, name, shown))
    key = [Key(f"{ENTRIES[rank].column}: {ENTRIES[rank].words}") for rank in RANKS]
    if low:
        key.append(Key(f"{TO_NOISE}: {ENTRIES['noise_alignment'].words}"))
    dashes = {level.dash for panel in panels for level in panel.levels}
    if DASHED in dashes:
        key.append(Key("k, the signal directions", dash=DASHED))
    if DOTTED in dashes:
        key.append(Key("the targets' stable rank", dash=DOTTED))
    missing = any(curve.missing for panel in panels for curve in panel.curves)
    key += shown.key({Face.UNKNOWN} if missing else set())
    return Drawing(panels, (4, 2) if low else (2, 2), shown.head(), key)


def _ranks(name: str, shown: Networks) -> Panel:
    curves = tuple(shown.curves(name))
    levels = {Level(k, DASHED) for one in shown.profiles if (k := one.signal_dim) is not None}
    of_targets = (one.target_stable_rank for one in shown.profiles)
    levels |= {Level(rank, DOTTED) for rank in of_targets if rank is not None}
    most = max((p.y for c in curves for p in c.points), default=1.0)
    most = max(most, *(level.at for level in levels), 1.0)
    log = most > MANY
    return Panel(
        str(ENTRIES[name].column),
        shown.depth.axis,
        Axis(log=log, ends=(0.9 if log else 0.0, 1.08 * most)),
        curves,
        tuple(sorted(levels, key=lambda level: (level.dash, level.at))),
    )


def _at(at: str, name: str, shown: Networks) -> Panel:
    """Return a panel of what is measured at k, or at r directions."""
    quantity = name if at == "k" else next(r for r, k in OF_RANK.items() if k == name)
    known = {one.signal_dim if at == "k" else one.target_rank for one in shown.profiles}
    number = f" = {known.pop()}" if len(known) == 1 and None not in known else ""
    return Panel(
        f"{ENTRIES[name].column or TO_NOISE} at {at}{number}",
        shown.depth.axis,
        share_axis(name if ENTRIES[name].column else "alignment"),
        tuple(shown.curves(quantity)),
    )
