"""What the network costs up to each position, and which positions are no places to cut."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from torch import nn

from nrcscan.acts_file.prefixes import Cost, Prefix, Prefixes
from nrcscan.inputs.branches import LeftOut, OtherUse, Surroundings
from nrcscan.network.computed_weights import memory
from nrcscan.network.lineage import Lineage
from nrcscan.network.multiply_adds import of_call
from nrcscan.network.trials import ProbeRun
from nrcscan.wording import some

NOT_KNOWN = "whether a branch leads past it is not known"


class _Work(NamedTuple):
    """What a weight costs in one use.

    Attributes:
        weight: which it is: the same wherever it is used.
        part: which rows of it, say.
        numbers: in that part.
        whole: numbers in all of it.
        multiply_adds: of all samples; None where not known.
    """

    weight: Hashable
    part: Hashable
    numbers: int
    whole: int
    multiply_adds: int | None


def prefixes(
    module: nn.Module,
    first: ProbeRun,
    lineage: Lineage,
    around: Sequence[Surroundings],
    readers: Iterable[int],
    n: int,
) -> Prefixes:
    """Return what the network costs up to each position.

    Args:
        module: the network.
        first: a run of it.
        lineage: followed that.
        around: where every call stands.
        readers: position → number of the first call that reads it.
        n: samples in that run.
    """
    calls, others = _works(module, first, lineage)
    whole = _cost([*calls, *(work for other in others for work in other)], n)
    found = []
    for number in readers:
        reached = around[number].reached
        if reached is None:
            found.append(Prefix(None, None, NOT_KNOWN))
            continue
        needed = [calls[at] for at in reached.calls]
        needed += [work for at in reached.others for work in others[at]]
        cost = _cost(needed, n)
        found.append(Prefix(cost.weights, cost.multiply_adds, _inside(number, first, around)))
    return Prefixes(whole, tuple(found))


def _works(
    module: nn.Module, first: ProbeRun, lineage: Lineage
) -> tuple[list[_Work], list[list[_Work]]]:
    """Return what every call costs, and what all else does that acts by weights."""
    keys: Sequence[Hashable] = [memory(call.layer.weight) for call, _ in first.calls]
    made: Sequence[int | None] = lineage.made
    uses: Sequence[OtherUse] = lineage.others
    origins = getattr(module, "origins", None)  # of a graph, which runs outside torch
    if origins is not None and len(origins) == len(first.calls):
        keys, uses = origins, module.other_uses  # type: ignore[assignment]
        made = module.made([tuple(features.shape) for _, features in first.calls])  # type: ignore[operator]
    calls = [
        _Work(
            key,
            (call.weight.storage_offset(), tuple(call.weight.shape)),
            call.weight.numel(),
            call.layer.weight.numel(),
            of_call(call, features, out),
        )
        for (call, features), key, out in zip(first.calls, keys, made, strict=True)
    ]
    others = [
        [
            _Work(key, None, size, size, 0 if number else use.multiply_adds)
            for number, (key, size) in enumerate(use.weights)
        ]
        for use in uses
    ]
    return calls, others


def _cost(works: Iterable[_Work], n: int) -> Cost:
    """Return what some uses of weights cost together, per sample of n."""
    parts: dict[Hashable, dict[Hashable, int]] = {}
    whole: dict[Hashable, int] = {}
    done: int | None = 0
    for work in works:
        parts.setdefault(work.weight, {})[work.part] = work.numbers
        whole[work.weight] = work.whole
        if done is not None:
            done = None if work.multiply_adds is None else done + work.multiply_adds
    weights = sum(min(whole[key], sum(own.values())) for key, own in parts.items())
    return Cost(weights, None if done is None else -(-done // n))


def _inside(number: int, first: ProbeRun, around: Sequence[Surroundings]) -> str | None:
    """Say why what reaches a call is no place to cut, whichever call reads it; None if it is."""
    source = first.calls[number][0].source
    for (call, _), there in zip(first.calls, around, strict=True):
        if call.source == source and there.reached is not None and there.reached.left_out:
            return _words(there.reached.left_out, first.names)
    return None


def _words(left_out: LeftOut, names: Sequence[str]) -> str:
    past = [names[number] for number in left_out.calls]
    if not past and not left_out.apart:
        return "a shortcut past it is not in what reaches it"
    if len(past) == 1 and not left_out.apart:
        return f"the shortcut past it, {past[0]}, is not in what reaches it"
    what = f"another branch, {some(past)}," if past else "another input,"
    return f"{what} joined after it, is left out of it"
