"""From a rule's text to its parts, by recursive descent; every mistake is found here.

What needs a checkpoint, such as whether a layer exists, is left to `evaluate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn, get_args

from nrcscan.gating.rules import nodes
from nrcscan.gating.rules.nodes import Node
from nrcscan.gating.rules.tokens import RuleError, Token, tokens
from nrcscan.wording import listed

DEEPEST = 30
"""How deeply parentheses and `not` may be nested."""
_WORDS = ("and", "or", "not")


@dataclass(frozen=True)
class Rule:
    """A rule that has been read.

    Attributes:
        text: as it was written, without space around it.
        origin: where: "--require", or a file.
        root: its outermost part.
    """

    text: str
    origin: str = field(compare=False)
    root: Node = field(compare=False, repr=False)


def parse(text: str, origin: str = "--require") -> Rule:
    """Read a rule.

    Raises:
        RuleError: it cannot be read; the message points at the character.

    >>> parse("onset.all <= layers.10 and model.r2 >= 0.9").root.word
    'and'
    """
    text = text.strip()
    return Rule(text, origin, _Parser(text, origin).rule())


class _Parser:
    def __init__(self, text: str, origin: str) -> None:
        self._text = text
        self._origin = origin
        self._tokens = tokens(text, origin)
        self._at = 0
        self._depth = 0

    def rule(self) -> Node:
        if self._next.kind == "end":
            self._fail(self._next, "an empty rule", "write a rule such as 'model.r2 >= 0.9'")
        root = self._truth(self._either())
        if self._next.kind != "end":
            self._unexpected("join rules with and, or give each its own --require")
        return root

    def _either(self) -> Node:
        return self._joined("or")

    def _joined(self, word: Literal["and", "or"]) -> Node:
        """Read parts that `word` joins; `or` joins what `and` has joined."""
        part = self._every if word == "or" else self._negated
        parts = [part()]
        while self._take(word):
            self._truth(parts[-1])
            parts.append(self._truth(part()))
        if len(parts) == 1:
            return parts[0]
        return nodes.Junction("truth", parts[0].start, parts[-1].end, word, tuple(parts))

    def _every(self) -> Node:
        return self._joined("and")

    def _negated(self) -> Node:
        start = self._next.start
        if not self._take("not"):
            return self._comparison()
        self._deeper()
        of = self._truth(self._negated())
        self._depth -= 1
        return nodes.Not("truth", start, of.end, of)

    def _comparison(self) -> Node:
        left = self._sum()
        sign = next((s for s in get_args(nodes.Sign) if self._take(s)), None)
        if sign is None:
            return left
        right = self._sum()
        if self._next.text in get_args(nodes.Sign):
            self._unexpected("compare two things at a time, and join with and")
        self._comparable(left, right)
        return nodes.ComparisonTerm("truth", left.start, right.end, left, sign, right)

    def _sum(self) -> Node:
        return self._arithmetic("+", "-")

    def _arithmetic(self, *signs: str) -> Node:
        """Read terms, or the factors of one."""
        part = self._product if "+" in signs else self._signed
        first = part()
        rest = []
        while self._next.kind == "mark" and self._next.text in signs:
            self._number(first)
            sign = self._advance().text
            rest.append((sign, self._number(part())))
        if not rest:
            return first
        return nodes.Arithmetic("number", first.start, rest[-1][1].end, first, tuple(rest))

    def _product(self) -> Node:
        return self._arithmetic("*", "/")

    def _signed(self) -> Node:
        start = self._next.start
        if not self._take("-"):
            return self._primary()
        self._deeper()
        of = self._number(self._signed())
        self._depth -= 1
        return nodes.Negative("number", start, of.end, of)

    def _primary(self) -> Node:
        token = self._advance()
        if token.kind == "number":
            value = float(token.text)
            if math.isinf(value):
                self._fail(token, "a number out of range", "write one below 1e308")
            return nodes.Constant("number", token.start, token.end, value)
        if token.kind == "text":
            return nodes.LayerTerm("depth", token.start, token.end, token.text[1:-1])
        if token.kind == "name" and token.text not in _WORDS:
            return self._named(token)
        if token.text == "(":
            self._deeper()
            inner = self._either()
            self._depth -= 1
            end = self._expect(")", "close the parenthesis").end
            summed = isinstance(inner, nodes.Arithmetic)
            return replace(inner, start=token.start, end=end) if summed else inner
        self._at -= token.kind != "end"
        return self._unexpected("write a number, a field or a layer here")

    def _named(self, token: Token) -> Node:
        """Read what begins with a name: a field, the list of layers, a function or a layer."""
        start, end, (owner, _, name) = token.start, token.end, token.text.partition(".")
        if self._next.text == "[":
            if token.text != "layers":
                self._fail(
                    token,
                    "an index on what is no list",
                    "leave it out, as only layers[…] takes one",
                )
            return self._indexed(token)
        if self._next.text == "(":
            return self._fold(token)
        if owner == "onset" and name:
            if name not in nodes.ONSETS:
                self._fail(
                    token, "unknown field", f"choose a field of onset: {listed(nodes.ONSETS)}"
                )
            return nodes.Onset("depth", start, end, name)
        if owner == "model" and name in nodes.MODEL_FIELDS:
            return nodes.ModelField("truth" if name == "learned" else "number", start, end, name)
        return nodes.LayerTerm("depth", start, end, token.text)

    def _indexed(self, layers: Token) -> Node:
        self._advance()
        several = False
        first: int | str | None = None
        last: int | None = None
        if self._next.kind in ("text", "name"):
            token = self._advance()
            first = token.text[1:-1] if token.kind == "text" else token.text
        else:
            first = self._integer()
            several = self._take(":")
            if several:
                last = self._integer()
        if first is None and not several:
            self._unexpected('write a place such as -1, a name in quotes, or "-3:"')
        end = self._expect("]", "close the bracket").end
        if not self._take("."):
            if several:
                self._fail(layers, "several layers", "take a field of them: layers[-3:].cka")
            assert first is not None
            return nodes.LayerTerm("depth", layers.start, end, first)
        field = self._advance()
        if field.text not in (*nodes.LAYER_NUMBERS, *nodes.LAYER_TRUTHS):
            fields = listed((*nodes.LAYER_NUMBERS, *nodes.LAYER_TRUTHS))
            self._fail(field, "unknown field", f"choose a field of a layer: {fields}")
        truth = field.text in nodes.LAYER_TRUTHS
        if several:
            if truth:
                self._fail(field, "a condition of several layers", "ask one layer at a time")
            assert not isinstance(first, str)
            return nodes.LayerFields("numbers", layers.start, field.end, first, last, field.text)
        assert first is not None
        kind: nodes.Kind = "truth" if truth else "number"
        return nodes.LayerField(kind, layers.start, field.end, first, field.text)

    def _integer(self) -> int | None:
        """Read a whole number, if one is there."""
        negative = self._take("-")
        if self._next.kind == "number" and self._next.text.isdecimal():
            value = int(self._advance().text)
            return -value if negative else value
        if negative:
            self._unexpected("write a whole number")
        return None

    def _fold(self, function: Token) -> Node:
        if function.text not in nodes.FOLDS:
            self._fail(function, "unknown function", f"choose among {listed(nodes.FOLDS)}")
        self._advance()
        self._deeper()
        of = self._sum()
        self._depth -= 1
        end = self._expect(")", "close the parenthesis").end
        if not isinstance(of, nodes.LayerFields):
            remedy = f"write {function.text}(layers[-3:].cka)"
            self._fail(of, "one value where several are wanted", remedy)
        return nodes.Fold("number", function.start, end, function.text, of)

    def _comparable(self, left: Node, right: Node) -> None:
        if "depth" not in (left.kind, right.kind):
            self._number(left)
            self._number(right)
            return
        for side, other in ((left, right), (right, left)):
            if side.kind != "depth":  # a number beside a name: one of the two is a mistake
                if isinstance(other, nodes.LayerTerm):
                    self._number(other)
                remedy = "compare an onset with a layer, such as layers[-2], or another onset"
                self._fail(side, "something other than a layer", remedy)
        if not any(isinstance(side, nodes.Onset) for side in (left, right)):
            remedy = f"compare an onset with a layer: onset has {listed(nodes.ONSETS)}"
            self._fail(left, "two layers compared", remedy)

    def _truth(self, node: Node) -> Node:
        """Return a part that says yes or no."""
        if node.kind == "truth":
            return node
        if node.kind == "number":
            remedy = "compare it, as in model.r2 >= 0.9"
            self._fail(node, "a number where yes or no is wanted", remedy)
        if isinstance(node, nodes.Onset):
            self._fail(node, "an onset alone", "compare it, as in onset.all <= layers[-2]")
        return self._number(node)

    def _number(self, node: Node) -> Node:
        """Return a part that says a number."""
        if node.kind == "number":
            return node
        if node.kind == "numbers":
            self._fail(node, "several values", f"take {listed(nodes.FOLDS, 'or')} of them")
        if node.kind == "truth":
            remedy = "let it stand by itself, joined with and, or, not"
            self._fail(node, "a condition where a number is wanted", remedy)
        if isinstance(node, nodes.LayerTerm) and isinstance(node.which, str):
            self._no_field(node, node.which)
        return self._fail(node, "a layer where a number is wanted", "compare it with an onset")

    def _no_field(self, node: Node, name: str) -> NoReturn:
        """Say what to write instead of a name that is no field."""
        owner, _, last = name.rpartition(".")
        if owner == "model":
            self._fail(
                node, "unknown field", f"choose a field of model: {listed(nodes.MODEL_FIELDS)}"
            )
        if owner and last in nodes.LAYER_NUMBERS:
            self._fail(node, "a layer where a number is wanted", f'write layers["{owner}"].{last}')
        there = [f"model.{name}" for name in nodes.MODEL_FIELDS]
        there += [f"onset.{name}" for name in nodes.ONSETS]
        fields = f"{listed([*there, 'layers[…]'])}, and a layer has {listed(nodes.LAYER_NUMBERS)}"
        self._fail(node, "unknown field", f"choose among {fields}")

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _advance(self) -> Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _take(self, text: str) -> bool:
        """Step over a mark or word, if it is the next."""
        found = self._next.kind in ("mark", "name") and self._next.text == text
        self._at += found
        return found

    def _expect(self, text: str, remedy: str) -> Token:
        token = self._next
        if not self._take(text):
            self._unexpected(remedy)
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(self._next, f"more than {DEEPEST} levels", "write several rules")

    def _unexpected(self, remedy: str) -> NoReturn:
        what = "the rule stops" if self._next.kind == "end" else "unexpected"
        self._fail(self._next, what, remedy)

    def _fail(self, where: Node | Token, what: str, remedy: str) -> NoReturn:
        """Refuse the rule, pointing at a part of it.

        Raises:
            RuleError: the rule is not built as rules are, or has a name that means nothing.
        """
        raise RuleError(self._text, where.start, where.end, what, remedy, self._origin)
