"""Where the calls of layers stand among each other, as tensors showed it or a graph tells it."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.inputs.branches import Surroundings
from nrcscan.network.call import Call
from nrcscan.network.forward import Forward
from nrcscan.network.trials import ProbeRun


def surroundings(run: Forward, first: ProbeRun) -> list[Surroundings]:
    """Return where every call of a run stands, in order."""
    told = getattr(run.module, "surroundings", None)  # by a graph, which runs outside torch
    if told is None:
        return first.lineage.around()
    return list(told) if len(told) == len(first.calls) else [Surroundings()] * len(first.calls)


def shortcut_of(call: Call, first: ProbeRun, around: Sequence[Surroundings]) -> bool:
    """Say whether a call is of a layer that leads past others, each time that it is used.

    So the layers of a recurrent network, written step by step, are none: each step's input leads
    past all steps before it.
    """
    return all(
        there.shortcut
        for (other, _), there in zip(first.calls, around, strict=True)
        if other.layer is call.layer
    )
