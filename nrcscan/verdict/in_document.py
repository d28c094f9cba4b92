"""A verdict and its answers as JSON has them, for those who have the document alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nrcscan.verdict.answers import Answer, together
from nrcscan.wording import ordinal

Layer = Mapping[str, Any]
"""A layer as the JSON report has it."""


def depth(layers: Sequence[Layer]) -> int:
    """Return how many steps in depth the verdict counts."""
    return max((layer["step"] or 0 for layer in layers), default=0)


def step_of(layers: Sequence[Layer], name: str | None) -> int | None:
    """Return the place of a layer among the steps, from 1; None where it has none."""
    return next((layer["step"] for layer in layers if layer["name"] == name), None)


def at_the_end(layers: Sequence[Layer], condition: str) -> Answer:
    """Return the answer for a condition at the last step: why it has no onset, where it has none.

    Of layers that share the step, it is what stands against the condition most.
    """
    last = depth(layers)
    here = [Answer(layer["answers"][condition]) for layer in layers if layer["step"] == last]
    return together(here) if last else Answer.NOT_JUDGED


def place(layers: Sequence[Layer], name: str) -> str:
    """Return how deep a layer is, such as "5th of 8"."""
    step = step_of(layers, name)
    return "not judged" if step is None else f"{ordinal(step)} of {depth(layers)}"


def brief(verdict: Mapping[str, Any], layers: Sequence[Layer]) -> str:
    """Return a verdict in a few words; its whole sentence is its `text`.

    >>> brief({"state": "partly"}, [])
    'partly'
    """
    if verdict["state"] == "collapsed":
        return f"collapsed from {verdict['onset']} ({place(layers, verdict['onset'])})"
    return str(verdict["state"])
