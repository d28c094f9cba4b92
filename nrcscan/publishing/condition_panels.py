"""The four conditions over depth, a panel each: what the paper's figures show, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nrcscan.metrics.quantities import ENTRIES, JUDGED, Condition
from nrcscan.publishing.marks_on_page import Layer, answer_of, depth_of, mark_of, style
from nrcscan.publishing.markup import Markup, element, together
from nrcscan.publishing.svg_axes import SvgAxis, decades, label, share_axis, whole_ticks
from nrcscan.reporting.headings import title
from nrcscan.reporting.numbers import number
from nrcscan.verdict.answers import BAR, Answer

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 34
CROWDED = 20
"""Steps from which on there is no room for the first beside the inputs."""


@dataclass(frozen=True)
class LayersInDepth:
    """The layers of a network as figures place them.

    Attributes:
        layers: in execution order.
        thresholds: by their option's name.
        shaded: first and last step of the stretch in which the verdict has all four met.
    """

    layers: Sequence[Layer]
    thresholds: Mapping[str, float]
    shaded: tuple[int, int] | None

    @property
    def steps(self) -> int:
        """How many there are."""
        return max((layer["step"] or 0 for layer in self.layers), default=0)

    @property
    def axis(self) -> SvgAxis:
        """Of depth: inputs at 0, then the steps."""
        first = 0 if any(layer.get("inputs") for layer in self.layers) else 1
        return SvgAxis(first - 0.5, max(self.steps, first) + 0.5, LEFT, WIDTH - RIGHT)

    def places(self) -> list[float]:
        """Return where every layer is: one that is left out is behind the step before it."""
        found, last = [], 0.0
        for layer in self.layers:
            last = last if layer["step"] is None else float(layer["step"])
            aside = layer["step"] is None and not layer.get("inputs")
            found.append(0.0 if layer.get("inputs") else last + 0.5 * aside)
        return found


def panels(depth: LayersInDepth) -> Markup:
    """Return the four figures."""
    return element("div", *(_panel(depth, c) for c in JUDGED), class_="panels")


def _panel(depth: LayersInDepth, condition: Condition) -> Markup:
    threshold = depth.thresholds.get(condition.option)
    y = _values_axis(depth, condition, threshold)
    named = title(condition)
    met = "" if threshold is None else f" met at {condition.met_at(threshold)}"
    drawn = element(
        "svg",
        _shade(depth),
        _frame(depth, y),
        _chance(depth, condition, y),
        *([] if threshold is None else _threshold_lines(condition, threshold, y)),
        _curve(depth, condition, y),
        *_points(depth, condition, y),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{named} over depth: {_in_words(depth, condition)}",
    )
    caption = element(
        "figcaption",
        element("b", named),
        element("span", met, class_="within", data_within=condition.name),
        " ",
        element("small", ENTRIES[condition.quantity].words),
    )
    return element("figure", caption, drawn, class_="panel")


def _in_words(depth: LayersInDepth, condition: Condition) -> str:
    """Return what the panel shows for those who hear it; the table has every number."""
    judged = [layer for layer in depth.layers if layer["step"] is not None]
    known = [layer for layer in judged if layer[condition.quantity] is not None]
    met = sum(answer_of(layer, condition.name) is Answer.MET for layer in judged)
    if not known:
        return "defined nowhere"
    digits = ENTRIES[condition.quantity].digits
    first, last = (number(one[condition.quantity], digits) for one in (known[0], known[-1]))
    return f"{first} at first, {last} at last, met at {met} of {len(judged)} layers"


def _interval(layer: Layer, condition: Condition) -> tuple[float, float, float] | None:
    """Return a value and the ends of its error bar; nothing where it is undefined."""
    value = layer[condition.quantity]
    if value is None:
        return None
    spread = BAR * layer.get("standard_error", {}).get(condition.quantity, 0.0)
    return value - spread, value, value + spread


def _values_axis(depth: LayersInDepth, condition: Condition, threshold: float | None) -> SvgAxis:
    bottom, top = HEIGHT - BOTTOM, TOP
    if ENTRIES[condition.quantity].unit == "share" and condition.quantity != "noise_component":
        return share_axis(bottom, top)
    found = [_interval(layer, condition) for layer in depth.layers]
    values = [value for ends in found if ends is not None for value in ends[1:]]
    marks = [] if threshold is None else [threshold]
    if condition.both_sides:
        values += [0.5, 2.0]
        marks += [1 / one for one in marks]
    return decades([*values, *marks], bottom, top)


def _shade(depth: LayersInDepth) -> Markup:
    if depth.shaded is None:
        return Markup()
    start, end = (depth.axis.at(depth.shaded[0] - 0.5), depth.axis.at(depth.shaded[1] + 0.5))
    width = round(end - start, 1)
    height = HEIGHT - TOP - BOTTOM
    return element("rect", class_="shade", x=start, y=TOP, width=width, height=height)


def _frame(depth: LayersInDepth, y: SvgAxis) -> Markup:
    parts = []
    for value, words in y.ticks():
        at = y.at(value)
        parts.append(element("path", class_="grid", d=f"M{LEFT} {at}H{WIDTH - RIGHT}"))
        parts.append(label(words, LEFT - 5, at + 3.5, "end"))
    x, baseline = depth.axis, HEIGHT - BOTTOM
    parts.append(element("path", class_="axis", d=f"M{LEFT} {baseline}H{WIDTH - RIGHT}"))
    ticks = [(float(n), str(n)) for n in whole_ticks(1, depth.steps)] if depth.steps else []
    if any(layer.get("inputs") for layer in depth.layers):
        ticks[: depth.steps > CROWDED] = [(0.0, "in")]
    for place, words in ticks:
        at = x.at(place)
        parts.append(label(words, at, baseline + 14))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(label("depth", middle, HEIGHT - 4))
    return together(*parts)


def _threshold_lines(condition: Condition, threshold: float, y: SvgAxis) -> list[Markup]:
    """Return the dotted lines; a script moves them by what they say of the axis."""
    ends = condition.limits(threshold)
    lines = [
        element(
            "path",
            class_="threshold",
            d=f"M{LEFT} 0H{WIDTH - RIGHT}",
            transform=f"translate(0 {y.at(end)})",
            data_threshold=condition.name,
            data_inverse=end != threshold,
            data_axis=f"{y.low:g} {y.high:g} {y.start:g} {y.end:g} {int(y.logarithmic)}",
        )
        for end in dict.fromkeys(ends)
    ]
    if condition.both_sides:
        lines.append(element("path", class_="network", d=f"M{LEFT} {y.at(1)}H{WIDTH - RIGHT}"))
    return lines


def _chance(depth: LayersInDepth, condition: Condition, y: SvgAxis) -> Markup:
    """Return short strokes at what one unrelated network in a hundred is beyond."""
    strokes = []
    for layer, place in zip(depth.layers, depth.places(), strict=True):
        found = layer.get("chance", {}).get(condition.quantity)
        if found is not None:
            at, half = depth.axis.at(place), min(7.0, 120 / max(depth.steps, 1))
            strokes.append(f"M{at - half:g} {y.at(found['quantile'])}h{2 * half:g}")
    return element("path", class_="chance", d="".join(strokes)) if strokes else Markup()


def _curve(depth: LayersInDepth, condition: Condition, y: SvgAxis) -> Markup:
    """Return the line through the first layer of every step."""
    seen: dict[int, str] = {}
    for layer in depth.layers:
        value = layer[condition.quantity]
        if layer["step"] is not None and layer["step"] not in seen:
            at = depth.axis.at(layer["step"])
            seen[layer["step"]] = "" if value is None else f"{at} {y.at(value)}"
    pieces = [f"{'L' if seen.get(n - 1) else 'M'}{at}" for n, at in seen.items() if at]
    return element("path", class_="curve", d="".join(pieces)) if pieces else Markup()


def _points(depth: LayersInDepth, condition: Condition, y: SvgAxis) -> list[Markup]:
    points = []
    radius = 4 if depth.steps <= 30 else 2.8
    for layer, place in zip(depth.layers, depth.places(), strict=True):
        ends = _interval(layer, condition)
        x, floor = depth.axis.at(place), HEIGHT - BOTTOM
        if ends is None:
            shape = element("text", "?", class_="lost", x=x, y=floor - 4, text_anchor="middle")
        else:
            low, at, high = (y.at(end) for end in ends)
            bar = element("path", class_="bar", d=f"M{x} {low}V{high}") if low != high else ""
            shape = together(bar, element("circle", cx=x, cy=at, r=radius))
        told = element("title", tooltip(layer, condition))
        judged = layer["step"] is not None
        point = element(
            "g",
            told,
            shape,
            class_=f"point {style(answer_of(layer, condition.name))}" if judged else "point aside",
            data_r=mark_of(0, layer, condition.name),
        )
        points.append(element("a", point, href=f"#layer-{layer['index']}", tabindex="-1"))
    return points


def tooltip(layer: Layer, condition: Condition) -> str:
    """Return a value in words, with its error."""
    value = number(layer[condition.quantity], ENTRIES[condition.quantity].digits)
    error = layer.get("standard_error", {}).get(condition.quantity)
    spread = "" if error is None else f" ± {error:.1g}"
    where = f"{layer['name']} ({depth_of(layer)})"
    if layer["step"] is None:
        return f"{where}: {value}{spread}, not judged"
    return f"{where}: {value}{spread}, {answer_of(layer, condition.name).value}"
