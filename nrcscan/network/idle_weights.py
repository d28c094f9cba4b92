"""Which weights of a network were not seen to run as layers, and what else they were used in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nrcscan.network.capture import Capture
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.trials import ProbeRun, Watched
from nrcscan.wording import listed


def idle_weights(watched: Watched, first: ProbeRun) -> Iterator[str]:
    """Say which weights ran neither as a layer of their own nor as part of a computed one."""
    layers, constants = watched
    called = {call.layer.name: call.layer for call, _ in first.calls}
    idle = []
    for layer in layers:
        twin = next((c for c in called.values() if c.weight is layer.weight), None)
        part = layer.name in constants.fed or layer.parameter in constants.used
        if twin is None and not part and _idle(layer, first.capture):
            whole = layer.standard and not layer.expected
            idle.append(layer.owner if whole else layer.name)
        elif twin is not None and twin is not layer:
            yield f"{layer.name} shares its weight with {twin.name} and is shown as its use"
    if idle:
        named = listed(dict.fromkeys(idle))
        yield f"not seen running with their own weight, so not measured: {named}"
    fed = [name for name, la in constants.fed.items() if la.parameter not in constants.used]
    if fed:
        yield f"run on constants that no sample has a part in, so not measured: {listed(fed)}"
    others = [
        unmeasured(layer, first.capture, called.values())
        for layer in layers
        if not (
            layer.known
            or layer.name in (*called, *constants.fed)
            or layer.parameter in constants.used
            or layer.owner in first.capture.packed
            or _idle(layer, first.capture)
        )
    ]
    if others:
        owners = listed(dict.fromkeys(others))
        yield f"not Linear, convolution or recurrent layers, so not measured: {owners}"


def _idle(layer: LayerWeight, capture: Capture) -> bool:
    """Whether a weight that is no computed one's part had a part in nothing, as a layer should."""
    return layer.expected or (not layer.known and layer.name not in capture.uses.last)


def unmeasured(layer: LayerWeight, capture: Capture, called: Iterable[LayerWeight]) -> str:
    """Return what to call a weight that is no layer: a part of a module, or all of it."""
    owners = {other.owner for other in called}
    if layer.recurrent and layer.owner in owners:
        return layer.name
    use = capture.uses.last.get(layer.name)
    if layer.standard or use is None:
        return layer.owner
    kind = layer.owner.rpartition("(")[2].rstrip(")")
    return f"{layer.name} ({kind}, used in {use})"
