"""Where the calls of layers stand among each other, as tensors showed it or a graph tells it."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from nrcscan.inputs.branches import Surroundings
from nrcscan.network.lineage import Lineage
from nrcscan.network.raw_inputs import RawInputs
from nrcscan.network.trials import ProbeRun


def surroundings(
    module: nn.Module, first: ProbeRun, lineage: Lineage, raw: RawInputs
) -> list[Surroundings]:
    """Return where every call of a run stands, in order.

    A layer that is called several times is a shortcut if it is one each time. So the layers of a
    recurrent network, written step by step, are none: there each step's input leads past all steps
    before it.

    Args:
        module: the network.
        first: its run.
        lineage: followed that.
        raw: the inputs of that run.
    """
    found = getattr(module, "surroundings", None)  # of a graph, which runs outside torch
    if found is None:
        found = lineage.around()
    if len(found) != len(first.calls):
        found = [Surroundings() for _ in first.calls]
    both = list(zip(first.calls, found, strict=True))
    main = {call.layer.name for (call, _), there in both if not there.shortcut}
    return [
        replace(
            there,
            shortcut=call.layer.name not in main,
            on_inputs=there.on_inputs and raw.are(features),
        )
        for (call, features), there in both
    ]
