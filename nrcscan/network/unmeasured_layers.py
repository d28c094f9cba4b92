"""The weight layers that run and are not measured: which, why, and where in depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from nrcscan.acts_file.schema import Unmeasured
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


def unmeasured_layers(
    module: nn.Module,
    plan: CallPlan,
    first: ProbeRun,
    reasons: Mapping[str, str],
    used: frozenset[str],
) -> list[Unmeasured]:
    """Return every weight layer that ran and is not in the plan, in the order in which they ran.

    Args:
        module: the network.
        plan: with the calls that are measured.
        first: the run in which they were found.
        reasons: call that is not → why.
        used: parameters of which weights are computed, which are no layers of their own.
    """
    names = first.names
    begins = [names.index(reader) for reader in plan.readers]

    def position(calls_before: int) -> int:
        return sum(begin < calls_before for begin in begins)

    found = [
        (at, Unmeasured(name, reasons[name], position(at)))
        for at, name in enumerate(names)
        if name in reasons
    ]
    for node in getattr(module, "others", ()):  # of a graph, which runs outside torch
        if not node.looks_up:
            reason = f"{node.op_type} is not measured"
            at = node.layers_before
            found.append((at, Unmeasured(node.name, reason, position(at))))
    called = [call.layer for call, _ in first.calls]
    others = {}
    for layer in plan.layers:
        use = first.capture.uses.products.get(layer.name)
        ran = any(layer is own or layer.weight is own.weight for own in called)
        if use is None or ran or layer.parameter in used:
            continue
        name, at = _module(layer), use.calls_before
        reason = f"its weight acts in {use.operation}, which is not measured"
        if layer.owner in first.capture.packed:
            reason = PACKED
        others[name] = (at, Unmeasured(name, reason, position(at)))
    return [one for _, one in sorted([*found, *others.values()], key=lambda each: each[0])]


def _module(layer: LayerWeight) -> str:
    """Return the name of a layer: of torch's own modules of several weights the module's."""
    path, _, _ = layer.owner.rpartition(" (")
    return (path or layer.owner) if layer.standard else layer.name
