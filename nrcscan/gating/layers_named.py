"""Layers that rules name: one that no checkpoint has is a mistake in the rule."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import fields

from nrcscan.errors import UsageError
from nrcscan.gating.rules import nodes
from nrcscan.gating.rules.nodes import Node
from nrcscan.gating.rules.parsing import Rule
from nrcscan.gating.rules.tokens import shortened
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import listed

LISTED = 12
"""Layers that a message names, at most."""


def require_layers(scan: ScanDocument, rules: Sequence[Rule]) -> None:
    """Refuse a rule on a layer that none of a scan's checkpoints has, whichever are judged.

    A layer that some have fails the rule on the others, see `evaluate`.

    Raises:
        UsageError: a rule names a layer that no checkpoint has.
    """
    usable = [entry for entry in scan["checkpoints"] if entry["status"] == "ok"]
    if not usable:
        return
    names = list(dict.fromkeys(layer["name"] for c in usable for layer in c["layers"]))
    deepest = max(len(checkpoint["layers"]) for checkpoint in usable)
    for rule in rules:
        for which in _layers_of(rule.root):
            if isinstance(which, str) and which not in names:
                near = difflib.get_close_matches(which, names, n=3)
                remedy = f"write {listed(near, 'or')}" if near else _there(names)
                raise UsageError(
                    f"{rule.origin} {shortened(rule.text)!r}: no checkpoint has a layer {which};"
                    f" {remedy}"
                )
            if isinstance(which, int) and not -deepest <= which < deepest:
                raise UsageError(
                    f"{rule.origin} {shortened(rule.text)!r}: no checkpoint has layers[{which}];"
                    f" give a place from {-deepest} to {deepest - 1}"
                )


def _layers_of(node: Node) -> Iterator[str | int]:
    """Yield every layer that is named in a part of a rule, by name or by place."""
    if isinstance(node, nodes.LayerTerm | nodes.LayerField):
        yield node.which
    for field in fields(node):
        yield from _within(getattr(node, field.name))


def _within(value: object) -> Iterator[str | int]:
    if isinstance(value, Node):
        yield from _layers_of(value)
    elif isinstance(value, tuple):
        for one in value:
            yield from _within(one)


def _there(names: Sequence[str]) -> str:
    """Return what to choose among: the layers that there are, the first of many."""
    if len(names) <= LISTED:
        return f"choose among {listed(names)}"
    return f"choose among {', '.join(names[:LISTED])} and {len(names) - LISTED} more"
