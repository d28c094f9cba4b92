"""Other thresholds, tried on the page: what a script compares, and with what.

The rule is that of `nrcscan.verdict.answers`: a page carries, of every condition at every layer,
between which thresholds it is undecided, and a script compares the reader's threshold with these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nrcscan.metrics.quantities import CONDITIONS, JUDGED
from nrcscan.options.option import declared
from nrcscan.options.report_options import Thresholds
from nrcscan.publishing.marks_on_page import Layer, style
from nrcscan.publishing.markup import Markup, element, together
from nrcscan.reporting.headings import title
from nrcscan.reporting.marks import MARKS
from nrcscan.verdict.answers import Answer

_CODES = list(Answer)


def remarking(
    checkpoints: Sequence[Sequence[Layer]], thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """Return what a script needs, as JSON can have it.

    Args:
        checkpoints: the layers of each.
        thresholds: those of the report, by their option's name.
    """
    return {
        "answers": [[MARKS[a][0], a.value, style(a)] for a in _CODES],
        "conditions": [
            {
                "name": c.name,
                "option": c.option,
                "flag": declared(Thresholds)[c.option].flag,
                "threshold": thresholds.get(c.option),
                "atMost": c.at_most,
                "bothSides": c.both_sides,
            }
            for c in JUDGED
        ],
        "reach": [[_reach(layer) for layer in layers] for layers in checkpoints],
    }


def can_be_remarked(layers: Sequence[Layer], thresholds: Mapping[str, float]) -> bool:
    """Say whether there is all that it takes; scans of before do not tell."""
    told = all("reach" in layer for layer in layers)
    return told and all(c.option in thresholds for c in JUDGED)


def _reach(layer: Layer) -> list[Any] | int:
    """Return, of every condition: lower, upper, the answer that no threshold changes, open."""
    found = layer.get("reach")
    if found is None or layer["step"] is None:
        return 0
    return [_compact(found[name]) for name in CONDITIONS]


def _compact(reach: Mapping[str, Any]) -> list[Any]:
    lower, upper = reach["undecided_between"]
    always = reach["always"]
    code = -1 if always is None else _CODES.index(Answer(always))
    return [lower, upper, code, int(reach["open"])]


def form(thresholds: Mapping[str, float], again: str) -> Markup:
    """Return the form, which a script shows; without one the thresholds are said elsewhere.

    Args:
        thresholds: those of the report, by their option's name.
        again: what gives a verdict at others.
    """
    fields = []
    for condition in JUDGED:
        option = declared(Thresholds)[condition.option].option
        sign = "1/ρ … ρ, ρ =" if condition.both_sides else "≤" if condition.at_most else "≥"
        entry = element(
            "input",
            type="number",
            id=f"t-{condition.name}",
            value=f"{thresholds[condition.option]:g}",
            min=option.minimum,
            max=option.maximum,
            step="any",
            required=True,
        )
        label = together(element("b", title(condition)), f" {sign} ")
        fields.append(element("label", label, entry))
    return element(
        "form",
        element("h2", "Other thresholds"),
        element("div", *fields, element("button", "Reset", type="reset"), class_="fields"),
        element("p", "", role="status", id="remarked", data_again=again),
        id="thresholds",
        hidden=True,
    )
