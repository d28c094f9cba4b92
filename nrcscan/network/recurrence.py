"""Runs a recurrent network level by level, so that what reaches each weight can be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_aten = torch.ops.aten

RECURRENT = {_aten.lstm: "LSTM", _aten.gru: "GRU", _aten.rnn_tanh: "RNN", _aten.rnn_relu: "RNN"}


class Recurrence(NamedTuple):
    """What a recurrent operation is given, in torch's order."""

    x: Tensor
    start: Any
    weights: Sequence[Tensor]
    biases: bool
    depth: int
    dropout: float
    train: bool
    both_ways: bool
    batch_first: bool


def by_levels(
    func: Any, given: Recurrence, see: Callable[[Tensor, Tensor, str], None]
) -> tuple[Tensor, ...]:
    """Run a recurrent network level by level, and see what reaches each level's two weights.

    The recurrent weight reads the state before each step: the starting one, then the outputs.
    """
    kind, time = RECURRENT[func.overloadpacket], int(given.batch_first)
    several = isinstance(given.start, list | tuple)  # an LSTM starts from two states
    starts = given.start if several else [given.start]
    ways = 2 if given.both_ways else 1
    share = len(given.weights) // (given.depth * ways)
    x, ends = given.x, []
    for level in range(given.depth):
        outputs = []
        for way in range(ways):
            at = level * ways + way
            own = given.weights[at * share : (at + 1) * share]
            states = [h[at : at + 1] for h in starts]
            begin = states if several else states[0]
            steps = x.flip(time) if way else x
            level_alone = (given.biases, 1, 0.0, False, False, given.batch_first)
            out, *end = func(steps, begin, own, *level_alone)
            first = states[0].movedim(0, time)
            before = torch.cat([first, out.narrow(time, 0, out.shape[time] - 1)], time)
            if len(own) in (2, 4):  # else the state is projected by one more weight
                see(own[0], x, kind)
                before = before.flip(time) if way else before
                see(own[1], before, kind)
            outputs.append(out.flip(time) if way else out)
            ends.append(end)
        x = torch.cat(outputs, -1) if given.both_ways else outputs[0]
    return (x, *(torch.cat(states) for states in zip(*ends, strict=True)))
