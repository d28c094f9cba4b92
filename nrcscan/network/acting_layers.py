"""Which weights act on the features of each layer: its own, or with those beside it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from nrcscan.network.adapters import Seen, find_adapted, low_rank, settle
from nrcscan.network.computed_weights import Constants
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.forward import Forward
from nrcscan.network.trials import Watched, tried
from nrcscan.wording import listed


def acting(run: Forward, layers: list[LayerWeight], inputs: Any) -> tuple[Watched, list[str]]:
    """Return the layers with the weights that act, what else the network holds, and what to say.

    Args:
        run: the network, in its evaluation mode.
        layers: its weights.
        inputs: a few samples, as the network takes them.

    Raises:
        InputError: the network does not take them.
    """
    plain = Watched(layers, Constants(run.module, layers))
    adapted = find_adapted(run.module, layers)
    if not adapted and not any(map(low_rank, layers)):
        return plain, []
    with ExitStack() as stack:
        for one in adapted:
            one.watch(stack)
        trial = tried(run, plain, inputs)
    settled = settle(
        layers, adapted, [Seen(c.layer, f, c.source, c.weight) for c, f in trial.calls]
    )
    told = []
    if settled.together:
        told.append(
            f"{listed(settled.together)}: the weight that acts on the features is that of layer"
            " and adapters together (of LoRA W + scale·BA), read off the module"
        )
    if settled.unknown:
        told.append(
            f"{listed(settled.unknown)}: adapters act on the features beside the weight, not as a"
            " linear map that can be read off, so the alignment is not judged"
        )
    constants = Constants(run.module, settled.layers, settled.hidden)
    return Watched(settled.layers, constants), told
