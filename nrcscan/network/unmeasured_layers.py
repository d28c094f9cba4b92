"""The weight layers that run and are not measured: which, why, and where in depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from nrcscan.acts_file.schema import Unmeasured
from nrcscan.inputs.branches import Surroundings
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.trials import ProbeRun

PACKED = "it reads a packed sequence, which is not measured"


def left_out(name: str, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    """Return why a call is not among those asked for, or None if it is.

    >>> left_out("head", ["layers.*"], []), left_out("head", [], ["head"]), left_out("x", [], [])
    ('not among --layers', 'left out by --exclude', None)
    """
    if include and not any(fnmatchcase(name, glob) for glob in include):
        return "not among --layers"
    if any(fnmatchcase(name, glob) for glob in exclude):
        return "left out by --exclude"
    return None


def unmeasured_calls(
    plan: CallPlan, around: Sequence[Surroundings], reasons: Mapping[str, str]
) -> Iterator[Unmeasured]:
    """Yield the calls of layers that are not measured, in order.

    Args:
        plan: with those that are.
        around: where every call stands.
        reasons: call that is not measured → why.
    """
    for at, (name, there) in enumerate(zip(plan.calls, around, strict=True)):
        if name in reasons:
            begun, why = _begun(plan, at), reasons[name]
            yield Unmeasured(name, why, begun, there.shortcut, there.on_inputs)


def unmeasured_weights(
    module: nn.Module, plan: CallPlan, first: ProbeRun, used: frozenset[str]
) -> Iterator[Unmeasured]:
    """Yield what acts on features by a weight, and not as a layer that can be measured.

    Args:
        module: the network.
        plan: with what is measured.
        first: the run in which that was found.
        used: parameters of which weights are computed, which are no layers of their own.
    """
    for node in getattr(module, "others", ()):  # of a graph, which runs outside torch
        if not node.looks_up:
            why = f"{node.op_type} is not measured"
            yield Unmeasured(node.name, why, _begun(plan, node.layers_before))
    called = [call.layer for call, _ in first.calls]
    told = set()
    for layer in plan.layers:
        use = first.capture.uses.products.get(layer.name)
        ran = any(layer is own or layer.weight is own.weight for own in called)
        name = _module(layer)
        if use is None or ran or layer.parameter in used or name in told:
            continue
        told.add(name)
        why = f"its weight acts in {use.operation}, which is not measured"
        packed = layer.owner in first.capture.packed
        yield Unmeasured(name, PACKED if packed else why, _begun(plan, use.calls_before))


def _begun(plan: CallPlan, calls_before: int) -> int:
    """Return how many positions that are measured begin within the first calls."""
    return sum(plan.calls.index(reader) < calls_before for reader in plan.readers)


def _module(layer: LayerWeight) -> str:
    """Return the name of a layer: of torch's own modules of several weights the module's."""
    path, _, _ = layer.owner.rpartition(" (")
    return (path or layer.owner) if layer.standard else layer.name
