"""Finds out on a few samples which layers a network calls, in which order, on what.

The samples go through twice, the second time in another order and another of them twice: this
shows on which axis of a tensor they are, and whether what the network says of a sample is the
sample's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from nrcscan.acts_file.schema import LayerRecord
from nrcscan.errors import InputError
from nrcscan.inputs.arrays import Inputs, each, parts
from nrcscan.network.acting_layers import acting
from nrcscan.network.call import Call
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.capture import Capture
from nrcscan.network.features_from_tensor import Layout, layouts_of, placed
from nrcscan.network.find_layers import LayerWeight, find_layers, select
from nrcscan.network.forward import Forward
from nrcscan.network.idle_weights import idle_weights, unmeasured
from nrcscan.network.lineage import Lineage
from nrcscan.network.masks import MaskUse
from nrcscan.network.nothing_measured import nothing_measured
from nrcscan.network.padding_reach import MaskNotPlacedError, PaddingReach
from nrcscan.network.prefix_costs import prefixes
from nrcscan.network.probe_rows import APART, chosen_rows
from nrcscan.network.raw_inputs import RawInputs
from nrcscan.network.samples_apart import SamplesApart
from nrcscan.network.state_between_passes import state_of
from nrcscan.network.surroundings import surroundings
from nrcscan.network.trials import tried
from nrcscan.network.unmeasured_layers import (
    PACKED,
    left_out,
    unmeasured_calls,
    unmeasured_weights,
)
from nrcscan.wording import listed


class _Reached(NamedTuple):
    """A call that can be watched: its number, what reached it, and where the samples are there."""

    number: int
    call: Call
    features: Tensor
    layout: Layout
    mask: MaskUse | None

    @property
    def width(self) -> int:
        """Channels of what reached it, whatever the positions."""
        return int(self.features.shape[self.call.channel_axis])


class _Probing:
    """What the parts of a probe share.

    Args:
        run: the network, in its evaluation mode.
        layers: its weights.
        x: the first batch of inputs.
        note: called with what is not measured, and why.
    """

    def __init__(
        self, run: Forward, layers: list[LayerWeight], x: Inputs, note: Callable[[str], None]
    ) -> None:
        self.run, self._x, self.note = run, x, note
        self.reasons: dict[str, str] = {}
        """Call that is not measured → why."""
        named = run.named(x)
        run.masks.require_there(named)
        masks = run.masks.of(named)
        unsure = run.masks.unsure(named)
        self._changing = [name not in {*masks, *unsure} for name in named]
        # A sample with padding shows what a mask is for.
        padded = next((m for m in masks.values() if not bool(m.all())), None)
        self._begin = 0 if padded is None else int((~padded).sum(dim=1).argmax())
        try:
            self._begin_with(layers, self._changing)
        except InputError:  # whose cause may be what was changed
            self._begin_with(layers, None)
        before = state_of(run.module)
        self.reordered = tried(run, self.watched, self._reordered(self.inputs, self.order))
        self.stateless = not self.reordered.wrote and state_of(run.module) == before
        self.apart = SamplesApart(run, self.watched, self.inputs, self.order)
        self.apart.require(self.first, self.reordered)
        self.padding = PaddingReach(run, self.watched, self.inputs, self.first, x, note)

    def _begin_with(self, layers: list[LayerWeight], changing: list[bool] | None) -> None:
        """Run a few samples for the first time."""
        self.inputs, self.order = self._rows(changing)
        self.raw = RawInputs(self.inputs)
        self.watched, told = acting(self.run, layers, self.inputs)
        given = parts(self.inputs).values()
        masks = [x for x, may in zip(given, self._changing, strict=False) if not may]
        self.lineage = Lineage(given, masks)
        self.first = tried(self.run, self.watched, self.inputs, self.lineage)
        self.around = surroundings(self.run.module, self.first, self.lineage, self.raw)
        for text in told:
            self.note(text)

    def _leave_out(self, call: Call, why: str) -> None:
        self.note(f"{call.name} is left out: {why}")
        self.reasons[call.name] = why

    def readable(self, chosen: set[str]) -> Iterator[_Reached]:
        """Yield those of the chosen calls that the samples can be told apart in."""
        for owner in sorted(self.first.capture.packed):
            self.note(f"{owner} reads a packed sequence, which is not measured")
        both = zip(self.first.calls, self.reordered.calls, strict=True)
        unplaced: dict[str, list[str]] = {}
        for index, ((call, features), (_, other)) in enumerate(both):
            if call.name not in chosen:
                continue
            if features.is_complex():
                self._leave_out(call, "what reaches it are complex numbers")
                continue
            layouts = layouts_of(features, other, self.order)
            if len(layouts) > 1:
                layouts = self._among_others(index, layouts)
            packed = features.ndim == 2 and len(features) in self.first.capture.packed_rows
            if packed and (not layouts or layouts[0].startswith("flat")):
                self.note(f"{call.name} reads a packed sequence, which is not measured")
                self.reasons[call.name] = PACKED
            elif len(layouts) == 1:
                try:
                    mask = self.padding.use(index, call, layouts[0])
                except MaskNotPlacedError as told:
                    unplaced.setdefault(str(told), []).append(call.name)
                    self.reasons[call.name] = "which of its positions are padding is not known"
                    continue
                yield _Reached(index, call, features, layouts[0], mask)
            elif layouts:
                self._leave_out(
                    call,
                    f"what reaches it has shape {tuple(features.shape)}, the same for every sample,"
                    " so that their axis cannot be told",
                )
            else:
                self._leave_out(call, self.apart.why_not_watched(index, features))
        for positions, names in unplaced.items():
            self.note(
                f"left out: {listed(names)}, of {positions}, so that which of them are padding is"
                " not known; count all with --mask none"
            )

    def _among_others(self, index: int, layouts: tuple[Layout, ...]) -> tuple[Layout, ...]:
        """Return those of some layouts that hold for other samples too, and another number."""
        for changing in (None, [*self._changing]):
            inputs, order = self._rows(changing, more=1)
            try:
                one = tried(self.run, self.watched, inputs)
                other = tried(self.run, self.watched, self._reordered(inputs, order))
            except InputError:
                continue
            if one.names == other.names == self.first.names:
                found = layouts_of(one.calls[index][1], other.calls[index][1], order)
                layouts = tuple(layout for layout in layouts if layout in found)
            if len(layouts) <= 1:
                break
        return layouts

    def _rows(self, changing: list[bool] | None, *, more: int = 0) -> tuple[Any, list[int]]:
        """Return a few samples as the network takes them, and another order of them."""
        x, order = chosen_rows(
            self._x,
            fixed=self.run.fixed_batch,
            first=self._begin,
            apart=APART + more,
            changing=changing,
        )
        return self.run.inputs(x, 0), order

    @staticmethod
    def _reordered(inputs: Any, order: list[int]) -> Any:
        return each(inputs, lambda part: part[order])


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
        x: inputs, of which a few are taken that differ.
        include: globs of layer names to watch; all if there are none.
        exclude: globs of layer names to leave out.
        note: called with what is not measured, and why.

    Raises:
        InputError: the network does not run, or no layer of it can be measured.
        UsageError: the globs leave nothing, or no input is the mask that was asked for.
    """
    layers = find_layers(run.module)
    if not layers:
        raise InputError(
            "the network has no weights to watch (a frozen program keeps none apart, nor does a"
            " quantised one); name the factory of the network with --model"
        )
    probing = _Probing(run, layers, x, note)
    said = getattr(run.module, "said", None)  # of inputs, by a graph
    for told in filter(None, (said, run.output.remark(probing.first.output))):
        note(told)
    layers, constants = probing.watched
    computed = constants if constants.play_a_part else None
    plan = CallPlan(layers, probing.first.names, probing.stateless, computed)
    for told in idle_weights(probing.watched, probing.first):
        note(told)
    chosen = _chosen(plan, probing.first.capture, include, exclude)
    positions: dict[tuple[Any, ...], int] = {}
    for reached in probing.readable(chosen):
        source = (reached.call.channel_axis, reached.layout, reached.mask, *reached.call.source)
        _watch(plan, reached, positions.setdefault(source, len(positions)), probing)
    probing.padding.note_unused()
    plan.whole = probing.padding.required
    if not plan.records:
        raise nothing_measured(run, probing.first, len(probing.order), chosen)
    reasons = {n: why for n in plan.calls if (why := left_out(n, include, exclude)) is not None}
    read = [plan.calls.index(reader) for reader in plan.readers]
    n = len(probing.order)
    plan.prefixes = prefixes(run.module, probing.first, probing.lineage, probing.around, read, n)
    plan.unmeasured = [
        *unmeasured_calls(plan, probing.around, reasons | probing.reasons),
        *unmeasured_weights(run.module, plan, probing.first, constants.used),
    ]
    return plan


def _chosen(
    plan: CallPlan, capture: Capture, include: Sequence[str], exclude: Sequence[str]
) -> set[str]:
    """Return the names of the calls to watch.

    Raises:
        InputError: all layers are of a kind, or are called in a way, that is not measured.
    """
    chosen = set(select(plan.calls, include, exclude))
    if not chosen and capture.packed:
        raise InputError(
            f"no layer can be measured: {listed(sorted(capture.packed))} reads a packed sequence,"
            " and nothing else runs; have a factory call it on padded sequences"
        )
    if not chosen:
        owners = listed(dict.fromkeys(unmeasured(la, capture, ()) for la in plan.layers))
        raise InputError(
            f"none of the network's weights, of {owners}, was seen running in a Linear or"
            " convolution layer; name a factory of such layers that neither casts nor recomputes"
            " its weights"
        )
    return chosen


def _watch(plan: CallPlan, reached: _Reached, position: int, probing: _Probing) -> None:
    """Have a plan watch a call, whose features are those of a position."""
    number, call, features, layout, mask = reached
    run, n, around = probing.run, len(probing.order), probing.around[number]
    if mask is not None:
        plan.masks[call.name] = mask
    there = placed(features, call.channel_axis, layout, n)
    rows, counts = run.rows(there, mask, probing.padding.keeps)
    width = rows.shape[1]
    plan.layouts[call.name] = layout
    plan.work = max(plan.work, features.numel() / reached.width / n * call.weight.numel())
    plan.largest = max(plan.largest, features.numel() / n)
    if position == len(plan.widths):  # the first call that reads it
        plan.readers[call.name] = position
        plan.widths.append(width)
        plan.per_token.append(counts is not None)
    plan.weights.append(call.weight)
    beside = around.beside
    plan.beside.append(None if beside is None else beside.double().cpu().numpy())
    plan.records.append(
        LayerRecord(
            name=call.name,
            kind=call.kind,
            position=position,
            groups=call.groups,
            transposed=call.transposed,
            flattened=run.pool == "flatten" and width != reached.width,
            acts_alone=call.layer.acts_alone,
            shortcut=around.shortcut,
            reads_inputs=around.on_inputs,
        )
    )
