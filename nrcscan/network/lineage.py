"""Follows through one pass which layers the tensors depend on, and what outputs are added to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nrcscan.inputs.branches import Branches, OtherUse, Surroundings, Value
from nrcscan.network.call import Call
from nrcscan.network.computed_weights import memory, place, tensors
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.multiply_adds import of_other_use
from nrcscan.network.recurrence import RECURRENT, Recurrence

_aten = torch.ops.aten

_SUMS = (_aten.add, _aten.add_, _aten.sub, _aten.sub_)
_BIASES = {_aten.linear: 2, _aten.addmm: 0, _aten.convolution: 2, _aten._convolution: 2} | {
    getattr(_aten, f"conv{turned}{axes}d"): 2 for turned in ("", "_transpose") for axes in (1, 2, 3)
}

_LOOK_UPS = {_aten.embedding, _aten.embedding_bag, _aten.index, _aten.index_select, _aten.gather}
"""Operations that make values of what chooses them."""

_SHAPED = {
    getattr(_aten, name)
    for what in ("zeros", "ones", "full", "empty")
    for name in (f"{what}_like", f"new_{what}")
}
"""Operations that take no more than the shape of what they are given."""

_NOWHERE = 0
"""Where the storage of every empty tensor is."""


class Lineage:
    """What each live tensor depends on, by where its storage is.

    It keeps no tensor alive: whatever is made in a storage takes the place of what was there.
    Should anything go wrong, it stops, and nothing is known; the pass goes on.

    A tensor that only chooses, such as a mask or indices, leaves nothing out where it is joined.

    Args:
        inputs: the tensors that the network is given.
        masks: those of them that are masks.
    """

    def __init__(self, inputs: Iterable[Any], masks: Iterable[Any] = ()) -> None:
        self._branches = Branches()
        given = {place(x) for x in inputs if isinstance(x, Tensor)} - {_NOWHERE}
        self._choices = {place(x) for x in masks if isinstance(x, Tensor)}
        """Storages of what only chooses."""
        self._on = {at: self._branches.source(chooses=at in self._choices) for at in sorted(given)}
        self._parts = dict(self._on)
        """Storage → what is in it directly, see `Value`."""
        self.made: list[int | None] = []
        """Call → numbers in what its operation returned, if that is one tensor."""
        self.others: list[OtherUse] = []
        """Operations with weights of the network that are no layers', in order."""
        self._bare: dict[int, int] = {}
        """Storage → the call whose output it is, to which nothing but a constant was added."""
        self._calls: list[Call] = []
        self._bits: list[int] = []
        self._reached: list[Value] = []
        """Call → what reaches it."""
        self._made_last = 0
        """What is in the results of the operation directly, or of its level that was last."""
        self._per_level = 2
        """Weights of a level of a recurrent operation."""
        self._squares: dict[int, Tensor] = {}
        """Call → mean squares of what its outputs are added to."""
        self._read = 0
        self._given: set[int] = set()
        self._only_chooses = False
        """Whether all that the operation has to do with the samples only chooses."""
        self._begun = 0
        self._summed: int | None = None
        self._lost = False

    def around(self) -> list[Surroundings]:
        """Return where every call of the pass stands, in order."""
        if self._lost:
            return [Surroundings() for _ in self._calls]
        found = []
        for number, bit in enumerate(self._bits):
            squares = self._squares.get(number)
            found.append(self._branches.around(bit, None if squares is None else squares.sqrt()))
        return found

    @property
    def of_samples(self) -> bool:
        """Whether the operation that has begun has to do with the samples."""
        return self._lost or bool(self._read)

    def begins(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Take note of an operation before it runs."""
        self._begun, self._read, self._summed = len(self._calls), 0, None
        if self._lost:
            return
        try:
            if func.overloadpacket is _aten.lift_fresh:  # made a moment ago, of plain numbers
                self._on.pop(place(args[0]), None)
                self._parts.pop(place(args[0]), None)
            given = list(tensors((*args, *kwargs.values())))
            self._given = set(map(place, given))
            for at in self._given:
                self._read |= self._on.get(at, 0)
            joined = [self._value(x) for x in given if self._of(x) and not self._chooses(x)]
            self._only_chooses = not joined and func.overloadpacket not in _LOOK_UPS
            self._branches.join(joined)
            self._made_last = 0
            for one in joined or map(self._value, given):
                self._made_last |= one.parts
            recurs = func.overloadpacket in RECURRENT and func._overloadname == "input"
            self._per_level = 4 if recurs and Recurrence(*args).both_ways else 2
            if func.overloadpacket in _SUMS:
                self._sum(args[0], args[1])
        except Exception:  # of tensors that are not laid out as torch's own
            self._lost = True

    def call(self, call: Call, features: Tensor) -> None:
        """Take note that the operation is a call of a layer, or of the next weight of one.

        Args:
            call: the call.
            features: what reaches it.
        """
        read, before = self._read, self._bits[self._begun :]
        for bit in before:
            read |= bit
        begun = range(self._begun, len(self._calls))
        twin = next((n for n in begun if self._calls[n].source == call.source), None)
        itself = call.kind in RECURRENT.values() and len(before) % 2 == 1
        reached = Value(read, self._made_last)
        if itself:  # the recurrent weight, which reads the states that both make
            reached = Value(self._reached[-1].on | before[-1], before[-1])
        elif twin is not None:
            reached = self._reached[twin]
        elif not self._lost and place(features) in self._given:
            reached = self._value(features)
        self._bits.append(self._branches.call(read, reached, itself=itself))
        self._reached.append(reached)
        self._calls.append(call)
        self.made.append(None)
        if itself and not (len(before) + 1) % self._per_level:
            self._end_of_level()

    def _end_of_level(self) -> None:
        """Take note that a level of a recurrent network has been seen, in all its ways."""
        self._made_last, ways = 0, []
        for number in range(len(self._bits) - self._per_level, len(self._bits), 2):
            parts = self._bits[number] | self._bits[number + 1]
            ways.append(Value(self._reached[number].on | parts, parts))
            self._made_last |= parts
        self._branches.join(ways)

    def ended(
        self,
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        out: Any,
        acting: Sequence[LayerWeight] = (),
    ) -> None:
        """Take note of what an operation has made.

        Args:
            func: the operation.
            args: its arguments.
            kwargs: those by name.
            out: what it returned.
            acting: weights of the network that acted on features in it, or were looked up in.
        """
        if self._lost:
            return
        try:
            if acting and self._begun == len(self._calls):
                self._made_last = self._branches.other(Value(self._read, self._made_last))
                self._read |= self._made_last
                weights = ((memory(one.weight), one.weight.numel()) for one in acting)
                done = of_other_use(func.overloadpacket, args, out)
                self.others.append(OtherUse(tuple(weights), done))
            self._made(func, args, kwargs, out)
        except Exception:
            self._lost = True

    def _made(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        depends, called = self._read, range(self._begun, len(self._calls))
        for number in called:
            depends |= self._bits[number]
        parts = self._made_last
        if called and func.overloadpacket not in RECURRENT:
            parts = depends & ~self._read
        written = {place(tensor) for tensor in _written(func, args, kwargs)}
        only = called[0] if len(called) == 1 and isinstance(out, Tensor) else self._summed
        made = {place(tensor) for tensor in tensors((out,))} - self._given
        chooses = (self._only_chooses and not called) or func.overloadpacket in _SHAPED
        for at in (written | made) - {_NOWHERE}:
            self._on[at] = depends | (self._on.get(at, 0) if at in written else 0)
            self._parts[at] = parts | (self._parts.get(at, 0) if at in written else 0)
            self._bare.pop(at, None)
            self._choices.discard(at)
            if only is not None:
                self._bare[at] = only
            if chooses:
                self._choices.add(at)
        if len(called) == 1 and isinstance(out, Tensor):
            self.made[called[0]] = out.numel()
        if len(called) == 1 and func.overloadpacket in _BIASES:
            where = _BIASES[func.overloadpacket]
            bias = args[where] if len(args) > where else kwargs.get("bias")
            if isinstance(bias, Tensor) and not self._of(bias):
                self._put_beside(called[0], bias.detach().reshape(-1).abs().double().square())

    def _sum(self, one: Any, other: Any) -> None:
        """Take note of what is about to be added: two branches, or a constant to one."""
        first, second = (self._of(x) if isinstance(x, Tensor) else 0 for x in (one, other))
        for mine, theirs in ((one, other), (other, one)):
            number = self._bare.get(place(mine)) if isinstance(mine, Tensor) else None
            if number is None or not self._of(mine):
                continue
            if isinstance(theirs, Tensor):
                beside = torch.broadcast_tensors(theirs.detach(), mine)[0].abs().double().square()
                channels = beside.movedim(self._calls[number].channel_axis, -1)
                self._put_beside(number, channels.reshape(-1, channels.shape[-1]).mean(dim=0))
            if not (first and second):
                self._summed = number
        if first and second:
            self._branches.add(first, second)

    def _put_beside(self, number: int, squares: Tensor) -> None:
        call = self._calls[number]
        kernel = call.weight.shape
        if len(squares) == (int(kernel[1]) * call.groups if call.transposed else int(kernel[0])):
            self._squares[number] = self._squares.get(number, 0) + squares

    def _chooses(self, tensor: Tensor) -> bool:
        """Say whether a tensor has no part in the values but to choose them."""
        values = tensor.is_floating_point() or tensor.is_complex()
        return not values or place(tensor) in self._choices

    def _value(self, tensor: Tensor) -> Value:
        return Value(self._of(tensor), self._parts.get(place(tensor), 0))

    def _of(self, tensor: Tensor) -> int:
        """Return what a tensor depends on."""
        return self._on.get(place(tensor), 0)


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterable[Tensor]:
    """Return the tensors that an operation writes to."""
    if not func._schema.is_mutable:
        return []
    given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | dict(kwargs)
    return tensors(
        [
            given.get(argument.name)
            for argument in func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
    )
