"""A rule on one checkpoint: true, false, or undefined, and what decided it.

Logic has three values, as in Kleene's: what is undefined decides nothing. `and` is false if a
part is, `or` is true if a part is, whatever the undefined part would have been; otherwise an
undefined part leaves the whole undefined, and so does `not`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from nrcscan.gating.onset_of_checkpoint import NEVER, Depth, depth_of, onset_of
from nrcscan.gating.rules import nodes
from nrcscan.gating.rules.nodes import Node
from nrcscan.gating.rules.parsing import Rule
from nrcscan.metrics.quantities import JUDGED_BY
from nrcscan.verdict.answers import Answer
from nrcscan.wording import listed

Value = float | str | bool | None

Truth = bool | None
"""Whether something holds; None where what it needs is undefined."""

LISTED = 12
"""Layers that a message names, at most."""
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class RuleOutcome:
    """What a rule, or a part of one, comes to on a checkpoint.

    Attributes:
        holds: None where a value that it needs is undefined.
        because: the comparisons that decided it, each with its values.
        values: what those looked up → number, truth, layer name, "never", or None if undefined.
    """

    holds: Truth
    because: tuple[str, ...]
    values: dict[str, Value]


def evaluate(rule: Rule, checkpoint: Mapping[str, Any]) -> RuleOutcome:
    """Apply a rule to a checkpoint of a scan.

    A layer that the checkpoint does not have makes the whole rule undefined, wherever in it the
    layer is named: it is taken for a mistake, not for a value.

    Args:
        rule: of `parse`.
        checkpoint: with status "ok", as scan.json has it: `model`, `onset`, `layers`.
    """
    try:
        return _Evaluation(rule.text, checkpoint).outcome(rule.root)
    except _Missing as missing:
        return RuleOutcome(None, (str(missing),), {})


def missing_layer(rule: Rule, checkpoint: Mapping[str, Any]) -> str | None:
    """Return which layer a rule names that a checkpoint does not have, in words; None if none."""
    try:
        _Evaluation(rule.text, checkpoint).outcome(rule.root)
    except _Missing as missing:
        return str(missing)
    return None


class _Missing(Exception):
    """The checkpoint does not have what a rule names."""


@dataclass(frozen=True)
class _Undefined:
    reason: str


class _Evaluation:
    def __init__(self, text: str, checkpoint: Mapping[str, Any]) -> None:
        self._text = text
        self._checkpoint = checkpoint
        self._layers: list[Mapping[str, Any]] = checkpoint["layers"]
        self._values: dict[str, Value] = {}

    def outcome(self, node: Node) -> RuleOutcome:
        if isinstance(node, nodes.Junction):
            return self._junction(node)
        if isinstance(node, nodes.Not):
            of = self.outcome(node.of)
            return RuleOutcome(None if of.holds is None else not of.holds, of.because, of.values)
        self._values = {}
        holds, because = self._decide(node)
        return RuleOutcome(holds, (because,), self._values)

    def _junction(self, node: nodes.Junction) -> RuleOutcome:
        parts = [self.outcome(part) for part in node.parts]
        flip = node.word == "or"  # a or b is not (not a and not b)
        held = [part.holds if part.holds is None else part.holds is not flip for part in parts]
        all_hold = False if False in held else None if None in held else True
        holds = all_hold if all_hold is None else all_hold is not flip
        decided = [part for part in parts if part.holds is holds]
        values = {name: value for part in decided for name, value in part.values.items()}
        return RuleOutcome(holds, tuple(b for part in decided for b in part.because), values)

    def _decide(self, node: Node) -> tuple[Truth, str]:
        """Return whether a comparison, or a condition by itself, holds, and the words for it."""
        if not isinstance(node, nodes.ComparisonTerm):
            value = self._looked_up(node)
            if isinstance(value, _Undefined):
                return None, value.reason
            return bool(value), f"{self._source(node)} is {str(bool(value)).lower()}"
        sides = (node.left, node.right)
        left, right = (self._looked_up(side) for side in sides)
        for value in (left, right):
            if isinstance(value, _Undefined):
                return None, value.reason
        if all(isinstance(value, Depth) and math.isinf(value.position) for value in (left, right)):
            return None, f"neither {' nor '.join(map(self._source, sides))} ever comes"
        compare = _SIGNS[node.sign]
        holds, *others = [compare(a, b) for a, b in product(_numbers(left), _numbers(right))]
        if any(other is not holds for other in others):
            open_ = [(s, v) for s, v in zip(sides, (left, right), strict=True) if _why(v)]
            return None, "; ".join(f"{self._source(s)} is {_why(v)}" for s, v in open_)
        shown = [_short(side, v) for side, v in zip(sides, (left, right), strict=True)]
        if not isinstance(left, Depth) and compare(float(shown[0]), float(shown[1])) != holds:
            shown = [repr(left), repr(right)]  # rounded, they would seem to compare otherwise
        x, y = (self._told(side, text) for side, text in zip(sides, shown, strict=True))
        return holds, f"{x} {node.sign} {y}" if holds else f"{x}, not {node.sign} {y}"

    def _told(self, node: Node, value: str) -> str:
        """Return a side of a comparison with its value, unless it is its own value."""
        if _is_constant(node):
            return self._source(node)
        if isinstance(node, nodes.LayerTerm) and isinstance(node.which, str):
            return value
        return f"{self._source(node)} = {value}"

    def _looked_up(self, node: Node) -> float | bool | Depth | _Undefined:
        """Return what a part says, and keep what was looked up for it."""
        match node:
            case nodes.Constant():
                return node.value
            case nodes.Negative():
                of = self._looked_up(node.of)
                return of if isinstance(of, _Undefined) else -_number(of)
            case nodes.Arithmetic():
                return self._arithmetic(node)
            case nodes.ModelField():
                model = self._checkpoint["model"]
                return self._kept(node, self._defined(model, node.name, self._source(node)))
            case nodes.Onset():
                return self._kept(node, self._onset(node))
            case nodes.LayerTerm():
                layer = self._layer(node, node.which)
                return depth_of(layer)
            case nodes.LayerField():
                layer = self._layer(node, node.which)
                return self._kept(node, self._defined(layer, node.field, self._source(node)))
            case nodes.Fold():
                return self._kept(node, self._fold(node))
        raise AssertionError(node)

    def _kept(
        self, node: Node, value: float | bool | Depth | _Undefined
    ) -> float | bool | Depth | _Undefined:
        simple: Value
        if isinstance(value, Depth):
            simple = NEVER if math.isinf(value.position) else value.name
        else:
            simple = None if isinstance(value, _Undefined) else value
        self._values[self._source(node)] = simple
        return value

    def _arithmetic(self, node: nodes.Arithmetic) -> float | _Undefined:
        values = [self._looked_up(part) for part in (node.first, *(p for _, p in node.rest))]
        for value in values:
            if isinstance(value, _Undefined):
                return value
        result, *numbers = (_number(value) for value in values)
        for (sign, part), number in zip(node.rest, numbers, strict=True):
            if sign == "/" and number == 0:
                return _Undefined(f"{self._source(part)} is 0, and divides")
            result = _ARITHMETIC[sign](result, number)
        if not math.isfinite(result):
            return _Undefined(f"{self._source(node)} is out of a number's range")
        return result

    def _fold(self, node: nodes.Fold) -> float | _Undefined:
        layers = self._layers[node.of.first : node.of.last]
        if not layers:
            return _Undefined(f"{self._source(node.of)}: none of {len(self._layers)} layers")
        numbers = []
        for layer in layers:
            value = self._defined(layer, node.of.field, f"{node.of.field} of {layer['name']}")
            if isinstance(value, _Undefined):
                return value
            numbers.append(_number(value))
        if node.function == "mean":
            return math.fsum(numbers) / len(numbers)
        return min(numbers) if node.function == "min" else max(numbers)

    def _onset(self, node: nodes.Onset) -> Depth | _Undefined:
        """Return where an onset is; one that is not known is undefined."""
        found = onset_of(self._checkpoint, node.condition)
        return _Undefined(found) if isinstance(found, str) else found

    def _layer(self, node: Node, which: str | int) -> Mapping[str, Any]:
        if isinstance(which, str):
            for layer in self._layers:
                if layer["name"] == which:
                    return layer
            names = [str(layer["name"]) for layer in self._layers]
            raise _Missing(f"no layer is called {which}; {_listed_layers(names)}")
        try:
            return self._layers[which]
        except IndexError:
            n = len(self._layers)
            raise _Missing(f"{self._source(node)}: there are {n} layers, 0 to {n - 1}") from None

    def _defined(self, holder: Mapping[str, Any], field: str, what: str) -> float | _Undefined:
        """Return a number or a truth, or why there is none."""
        if field.startswith("met."):
            condition = field.removeprefix("met.")
            value, quantity = holder["met"][condition], JUDGED_BY[condition]
        else:
            value, quantity = holder[field], field
        if value is not None and math.isfinite(value):
            return value
        if field.startswith("met.") and holder["answers"][condition] == Answer.UNDECIDED.value:
            return _Undefined(
                f"{what} is undecided: {quantity} is too close to its threshold or to chance"
            )
        why = holder.get("undefined", {}).get(quantity, "no reason is recorded")
        return _Undefined(f"{what} is undefined: {why}")

    def _source(self, node: Node) -> str:
        return self._text[node.start : node.end]


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def _is_constant(node: Node) -> bool:
    of = node.of if isinstance(node, nodes.Negative) else node
    return isinstance(of, nodes.Constant)


def _numbers(value: float | bool | Depth | _Undefined) -> tuple[float, ...]:
    """Return all that a side of a comparison may be."""
    return value.positions if isinstance(value, Depth) else (_number(value),)


def _why(value: float | bool | Depth | _Undefined) -> str:
    """Say what keeps a side from being known; empty where it is."""
    return value.why if isinstance(value, Depth) else ""


def _short(node: Node, value: float | Depth | _Undefined) -> str:
    if isinstance(value, float) and not _is_constant(node):
        return f"{value:.3g}"
    return str(value)


def _listed_layers(names: list[str]) -> str:
    """Return the layers that there are, the first of many."""
    if len(names) <= LISTED:
        return f"there are {listed(names)}"
    return f"the first of {len(names)} are {', '.join(names[:LISTED])}"


def _number(value: float | bool | Depth | _Undefined) -> float:
    assert isinstance(value, float | int)
    return value
