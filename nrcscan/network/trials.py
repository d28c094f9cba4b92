"""Runs of a network on a few samples, and what can be told from two of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nrcscan.network.call import Call
from nrcscan.network.capture import Capture
from nrcscan.network.computed_weights import Constants
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.forward import Forward
from nrcscan.network.lineage import Lineage


class ProbeRun(NamedTuple):
    """One run of the few samples.

    Attributes:
        calls: every call of a layer, with a copy of what reached it.
        output: what the network returned.
        wrote: whether the network wrote to its own buffers.
        capture: has seen more of it.
    """

    calls: list[tuple[Call, Tensor]]
    output: Any
    wrote: bool
    capture: Capture

    @property
    def names(self) -> list[str]:
        """Names of the calls, in order."""
        return [call.name for call, _ in self.calls]


class Watched(NamedTuple):
    """What to look out for in a network.

    Attributes:
        layers: its weights, as they act.
        constants: what else it holds, of which it may compute weights as it runs.
    """

    layers: list[LayerWeight]
    constants: Constants


def tried(run: Forward, watched: Watched, inputs: Any, lineage: Lineage | None = None) -> ProbeRun:
    """Run a few samples.

    Args:
        run: the network.
        watched: what to look out for in it.
        inputs: the samples, as the network takes them.
        lineage: of these inputs, to follow what depends on them.

    Raises:
        InputError: the network does not take them.
    """
    calls: list[tuple[Call, Tensor]] = []
    capture = Capture(
        watched.layers,
        lambda call, features: calls.append((call, features.clone())),
        constants=watched.constants,
        trace_sources=True,
        lineage=lineage,
    )
    output = run.call(inputs, capture)
    return ProbeRun(calls, output, capture.wrote_to(run.module.buffers()), capture)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors agree but for what the order of adding does to them."""
    if one.shape != other.shape:
        return False
    close = 1e-3 * float(one.abs().nan_to_num().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=close, equal_nan=True)
