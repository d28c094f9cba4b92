"""Finds out on a few samples which layers a network calls, in which order, on what.

The samples go through twice, the second time in another order: this shows on which axis of a
tensor they are, and whether what the network says of a sample is the sample's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nrcscan.acts_file.schema import LayerRecord
from nrcscan.errors import InputError
from nrcscan.inputs.arrays import Inputs, each, length
from nrcscan.network.adapters import Seen, find_adapted, low_rank, settle
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.capture import Call, Capture
from nrcscan.network.computed_weights import Constants
from nrcscan.network.features_from_tensor import Layout, find_layout
from nrcscan.network.find_layers import LayerWeight, find_layers, select
from nrcscan.network.forward import Forward
from nrcscan.network.state_between_passes import state_of
from nrcscan.wording import listed

PROBE_ROWS = 3
"""Samples of the pass that finds out which layers run, in which order, on what."""


class _Trial(NamedTuple):
    """One run of the few samples.

    Attributes:
        calls: every call of a layer, with a copy of what reached it.
        output: what the network returned.
        wrote: whether the network wrote to its own buffers.
    """

    calls: list[tuple[Call, Tensor]]
    output: Any
    wrote: bool

    @property
    def names(self) -> list[str]:
        """Names of the calls, in order."""
        return [call.name for call, _ in self.calls]


class _Reached(NamedTuple):
    """A call that can be watched: what reached it, and where the samples are in that."""

    call: Call
    features: Tensor
    layout: Layout

    @property
    def width(self) -> int:
        """Channels of what reached it, whatever the positions."""
        return int(self.features.shape[self.call.channel_axis])


def probe(
    run: Forward,
    x: Inputs,
    include: Sequence[str],
    exclude: Sequence[str],
    note: Callable[[str], None],
) -> CallPlan:
    """Run a few samples to find out which layers run, in which order, on what.

    Args:
        run: the network, in its evaluation mode.
        x: inputs, of which the first few are taken.
        include: globs of layer names to watch; all if there are none.
        exclude: globs of layer names to leave out.
        note: called with what is not measured, and why.

    Raises:
        InputError: the network does not run, or no layer of it can be measured.
        UsageError: the globs leave nothing.
    """
    layers = find_layers(run.module)
    if not layers:
        raise InputError(
            "the network has no weights to watch (a frozen program keeps none apart, nor does a"
            " quantised one)"
        )
    inputs = run.inputs(each(x, lambda part: part[:PROBE_ROWS]), 0)
    order = [*range(1, length(inputs)), 0]
    layers, constants = _acting(run, layers, inputs, note)
    first = _tried(run, layers, inputs, constants)
    if (said := getattr(run.module, "said", None)) is not None:  # of inputs, by a graph
        note(said)
    before = state_of(run.module)
    reordered = _tried(run, layers, each(inputs, lambda part: part[order]), constants)
    _require_apart(run, first, reordered, order)
    stateless = not reordered.wrote and state_of(run.module) == before
    plan = CallPlan(layers, first.names, stateless, constants if constants.play_a_part else None)
    _note_idle(layers, [call for call, _ in first.calls], constants, note)
    chosen = _chosen(plan, include, exclude)
    positions: dict[tuple[Any, ...], int] = {}
    for reached in _readable(first, reordered, order, chosen, note):
        source = (reached.call.channel_axis, reached.layout, *reached.call.source)
        _watch(plan, reached, positions.setdefault(source, len(positions)), run, inputs)
    watched = [features for call, features in first.calls if call.name in chosen]
    if not plan.records and all(features.is_complex() for features in watched):
        raise InputError(
            "what reaches every layer are complex numbers, and features are real; a factory that"
            " computes with real and imaginary parts side by side can be measured"
        )
    if not plan.records:
        raise InputError(
            "the samples are on no axis of what reaches any layer, so none can be measured"
        )
    return plan


def _acting(
    run: Forward, layers: list[LayerWeight], inputs: Any, note: Callable[[str], None]
) -> tuple[list[LayerWeight], Constants]:
    """Return the layers with the weights that act, and what else the network holds."""
    adapted = find_adapted(run.module, layers)
    if not adapted and not any(map(low_rank, layers)):
        return layers, Constants(run.module, layers)
    with ExitStack() as stack:
        for one in adapted:
            one.watch(stack)
        trial = _tried(run, layers, inputs, Constants(run.module, layers))
    settled = settle(
        layers, adapted, [Seen(c.layer, f, c.source, c.weight) for c, f in trial.calls]
    )
    if settled.together:
        note(
            f"{listed(settled.together)}: the weight that acts on the features is that of layer"
            " and adapters together (of LoRA W + scale·BA), read off the module"
        )
    if settled.unknown:
        note(
            f"{listed(settled.unknown)}: adapters act on the features beside the weight, not as a"
            " linear map that can be read off, so the alignment is not judged"
        )
    return settled.layers, Constants(run.module, settled.layers, settled.hidden)


def _tried(
    run: Forward, layers: Sequence[LayerWeight], inputs: Any, constants: Constants
) -> _Trial:
    """Run a few samples."""
    calls: list[tuple[Call, Tensor]] = []
    capture = Capture(
        layers,
        lambda call, features: calls.append((call, features.clone())),
        constants=constants,
        trace_sources=True,
    )
    output = run.call(inputs, capture)
    return _Trial(calls, output, capture.wrote_to(run.module.buffers()))


def _require_apart(run: Forward, first: _Trial, reordered: _Trial, order: list[int]) -> None:
    """Refuse a network whose way or prediction for a sample is not the sample's alone."""
    heads = zip(run.output.heads(first.output), run.output.heads(reordered.output), strict=True)
    for before, after in heads:
        # Of the wrong shape it is refused when the targets are at hand.
        if before.ndim == 0 or len(before) != len(order) or before.shape != after.shape:
            continue
        close = 1e-3 * float(before.abs().nan_to_num().max())
        if not torch.allclose(before[order], after, rtol=1e-3, atol=close, equal_nan=True):
            raise InputError(
                "the predictions change when the samples come in another order: the network mixes"
                " samples, takes them on another axis than the first, or is random; statistics"
                " need a prediction that is the sample's alone"
            )
    if first.names != reordered.names:
        raise InputError(
            "the network calls other layers when its samples come in another order;"
            " statistics need the same path for every sample"
        )


def _chosen(plan: CallPlan, include: Sequence[str], exclude: Sequence[str]) -> set[str]:
    """Return the names of the calls to watch."""
    chosen = set(select(plan.calls, include, exclude))
    if not chosen:
        owners = listed(dict.fromkeys(layer.owner for layer in plan.layers))
        raise InputError(
            f"none of the network's weights, of {owners}, was seen running in a Linear or"
            " convolution layer; a network that casts or recomputes its weights, or is made"
            " of other layers, cannot be measured"
        )
    return chosen


def _readable(
    first: _Trial,
    reordered: _Trial,
    order: list[int],
    chosen: set[str],
    note: Callable[[str], None],
) -> Iterator[_Reached]:
    """Yield those of the chosen calls that the samples can be told apart in."""
    for (call, features), (_, other) in zip(first.calls, reordered.calls, strict=True):
        if call.name not in chosen:
            continue
        if features.is_complex():
            note(f"{call.name} is left out: what reaches it are complex numbers")
            continue
        layout = find_layout(features, other, order)
        if layout is not None:
            yield _Reached(call, features, layout)
        else:
            note(
                f"{call.name} is left out: what reaches it has shape {tuple(features.shape)},"
                f" and the {len(order)} samples are on none of its axes"
            )


def _watch(plan: CallPlan, reached: _Reached, position: int, run: Forward, inputs: Any) -> None:
    """Have a plan watch a call, whose features are those of a position."""
    call, features, layout = reached
    n = length(inputs)
    rows, counts = run.rows(features, call, layout, inputs)
    width = rows.shape[1]
    plan.layouts[call.name] = layout
    plan.work = max(plan.work, features.numel() / reached.width / n * call.weight.numel())
    plan.largest = max(plan.largest, features.numel() / n)
    if position == len(plan.widths):  # the first call that reads it
        plan.readers[call.name] = position
        plan.widths.append(width)
        plan.per_token.append(counts is not None)
    plan.weights.append(call.weight)
    plan.records.append(
        LayerRecord(
            name=call.name,
            kind=call.kind,
            position=position,
            groups=call.groups,
            transposed=call.transposed,
            flattened=run.pool == "flatten" and width != reached.width,
            acts_alone=call.layer.acts_alone,
        )
    )


def _note_idle(
    layers: Sequence[LayerWeight],
    calls: Sequence[Call],
    constants: Constants,
    note: Callable[[str], None],
) -> None:
    """Say which weights ran neither as a layer of their own nor as part of a computed one."""
    called = {call.layer.name: call.layer for call in calls}
    idle = []
    for layer in layers:
        twin = next((c for c in called.values() if c.weight is layer.weight), None)
        part = layer.name in constants.fed or layer.parameter in constants.used
        if twin is None and layer.expected and not part:
            idle.append(layer.name)
        elif twin is not None and twin is not layer:
            note(f"{layer.name} shares its weight with {twin.name} and is shown as its use")
    if idle:
        note(f"not seen running with their own weight, so not measured: {listed(idle)}")
    others = [
        la.name if la.recurrent and la.owner in {c.owner for c in called.values()} else la.owner
        for la in layers
        if not (la.known or la.name in (*called, *constants.fed) or la.parameter in constants.used)
    ]
    fed = [name for name, la in constants.fed.items() if la.parameter not in constants.used]
    if fed:
        note(f"run on constants that no sample has a part in, so not measured: {listed(fed)}")
    if others:
        owners = listed(dict.fromkeys(others))
        note(f"not Linear, convolution or recurrent layers, so not measured: {owners}")
