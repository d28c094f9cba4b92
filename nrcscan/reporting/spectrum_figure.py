"""Eigenvalues of the features of every layer, beside the first of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nrcscan.drawing.shapes import DASHED, Axis, Curve, Drawing, Key, Level, Panel, Point
from nrcscan.reporting.profile import LONGEST_LABEL, Profile
from nrcscan.short_names import common_prefix, shortened, told_apart

ROUNDING = 2.0**-52
"""Of float64: shares below this times the width are nothing but rounding, and not drawn."""

WIDE = 20
"""More directions than this have a logarithmic axis."""

MOST_NAMED, LONGEST_NAME = 10, 24
"""Of more layers the key names the first and the last, and some between; and in so many letters."""


def spectrum_figure(profiles: Sequence[Profile]) -> Drawing:
    """Return the figure: a panel for each network, a curve for each layer."""
    panels: list[Panel] = []
    named: dict[str, float | None] = {}
    for one in profiles:
        curves = dict(_curves(one))
        widest = max((len(curve.points) for curve in curves.values()), default=1)
        k = one.signal_dim
        panels.append(
            Panel(
                shortened(one.label, LONGEST_LABEL),
                Axis("i, direction of the features", log=widest > WIDE, ends=(1.0, 1.0)),
                Axis("λᵢ / λ₁", log=True, ends=(0.1, 1.5)),
                tuple(curves.values()),
                () if k is None else (Level(k, DASHED, upright=True),),
            )
        )
        named |= {name: curve.shade for name, curve in curves.items()}
    shared, shown = common_prefix([*named], LONGEST_NAME), _some(list(named.items()))
    if len({tuple(_firsts(one)) for one in profiles}) > 1:
        shared, shown = "", [("first layer", 0.0), ("half-way", 0.5), ("last layer", 1.0)]
    names = told_apart([name.removeprefix(shared) for name, _ in shown], LONGEST_NAME)
    key = [Key(name, shade=shade) for name, (_, shade) in zip(names, shown, strict=True)]
    lines = [Key(f"layers: {shortened(shared, 30)}*")] if shared else []
    lines += [Key("k, the signal directions", dash=DASHED)]
    return Drawing(panels, (min(len(panels), 3), 1), head=lines, key=key)


def _some(named: Sequence[tuple[str, float | None]]) -> list[tuple[str, float | None]]:
    """Return the first, the last and some between."""
    last = len(named) - 1
    chosen = {round(i * last / (MOST_NAMED - 1)) for i in range(MOST_NAMED)}
    return [one for place, one in enumerate(named) if last < MOST_NAMED or place in chosen]


def _firsts(one: Profile) -> list[str]:
    """Return the layers, of those that read the same features the first."""
    firsts = {layer["position"]: str(layer["name"]) for layer in reversed(one.layers)}
    return [name for _, name in sorted(firsts.items())]


def _curves(one: Profile) -> Iterator[tuple[str, Curve]]:
    """Yield the curve of every layer whose features vary; of layers that share them, the first's.

    A layer's eigenvalues are looked at as shares of the first.
    """
    names = _firsts(one)
    for place, name in enumerate(names):
        values = one.spectra.get(name, ())
        if not len(values) or values[0] <= 0:
            continue
        least = ROUNDING * len(values)
        shares = [value / values[0] for value in values]
        points = tuple(Point(i, share) for i, share in enumerate(shares, 1) if share > least)
        shade = place / max(len(names) - 1, 1)
        yield name, Curve(points, place, marked=len(points) == 1, shade=shade)
