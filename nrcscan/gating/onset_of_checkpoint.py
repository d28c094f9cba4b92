"""Where an onset of a checkpoint is, as its JSON has it, or why that is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.verdict.answers import Answer, together
from nrcscan.verdict.in_document import Layer, at_the_end, step_of
from nrcscan.wording import listed, ordinal, some

NEVER = "never"
_IS = {
    Answer.MET: "is met, though that has no onset,",
    Answer.NOT_MET: "is not met",
    Answer.UNDECIDED: "is undecided",
    Answer.NOT_JUDGED: "cannot be judged",
}


@dataclass(frozen=True)
class Depth:
    """A layer, or where an onset is.

    Attributes:
        position: in depth, from 0; infinite for an onset that never comes.
        name: of the layer.
        step: its place as the verdict counts it, from 1; None for what that leaves out.
        earlier: positions where an onset may already be: nothing from there on is surely not met.
        why: what keeps that from being known.
    """

    position: float
    name: str
    step: int | None = None
    earlier: tuple[float, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if math.isinf(self.position):
            return NEVER
        return self.name if self.step is None else f"{self.name} ({ordinal(self.step)})"

    @property
    def positions(self) -> tuple[float, ...]:
        """All positions where it may be."""
        return (self.position, *self.earlier)


def depth_of(layer: Layer) -> Depth:
    """Return where a layer is."""
    return Depth(layer["position"], layer["name"], layer["step"])


def onset_of(checkpoint: Mapping[str, Any], condition: str) -> Depth | str:
    """Return where an onset is, or why it is not known whether it ever comes.

    Args:
        checkpoint: with status "ok", as scan.json has it.
        condition: its name, or "all".
    """
    layers: Sequence[Layer] = checkpoint["layers"]
    name = checkpoint["onset"][condition]
    if name is None:
        why = _why_not_known(checkpoint, condition)
        return Depth(math.inf, NEVER) if why is None else why
    layer = next(layer for layer in layers if layer["name"] == name)
    here = depth_of(layer)
    conditions = CONDITIONS if condition == "all" else (condition,)
    before = step_of(layers, name) or 1
    earlier: list[Depth] = []
    open_: list[str] = []
    while before > 1 and (at := _answer(layers, before - 1, conditions)) is not Answer.NOT_MET:
        before -= 1
        earlier += [depth_of(next(layer for layer in layers if layer["step"] == before))]
        if at is not Answer.MET:
            open_.append(f"{earlier[-1]} {_IS[at]}")
    if not earlier:
        return here
    open_ = open_ or [f"{name} was not measured" for name in checkpoint["verdict"]["unmeasured"]]
    why = f"{here} or already {earlier[-1]}: {some(open_)}"
    return replace(here, earlier=tuple(one.position for one in earlier), why=why)


def _answer(layers: Sequence[Layer], step: int, conditions: Sequence[str]) -> Answer:
    """Return whether conditions are met at a step; of layers that share it, the closest to met."""
    here = [layer["answers"] for layer in layers if layer["step"] == step]
    order = (Answer.MET, Answer.UNDECIDED, Answer.NOT_JUDGED, Answer.NOT_MET)
    return together(min((Answer(a[c]) for a in here), key=order.index) for c in conditions)


def _why_not_known(checkpoint: Mapping[str, Any], condition: str) -> str | None:
    """Say why it is not known that a condition, or all, has no onset; None if it is known."""
    verdict = checkpoint["verdict"]
    if condition == "all":
        open_ = verdict["state"] in (Answer.UNDECIDED.value, Answer.NOT_JUDGED.value)
        return f"onset.all is not known: {verdict['text']}" if open_ else None
    end = at_the_end(checkpoint["layers"], condition)
    if end is Answer.NOT_MET:
        return None
    if verdict.get("unmeasured"):
        left_out = listed(verdict["unmeasured"])
        return f"onset.{condition} cannot be judged: {left_out} not measured"
    return f"onset.{condition} is not known: {condition.upper()} {_IS[end]} at the last layer"
