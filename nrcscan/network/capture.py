"""Sees the features that reach each layer during a forward pass, and leaves the model as it is.

A dispatch mode sees every tensor operation below the level of modules, so a layer is known
by its weight, wherever it is called from, and its input is seen at the moment it is used:
before an in-place activation can overwrite it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nrcscan.inputs.layer_marker import REACHES
from nrcscan.network.computed_weights import ComputedWeights, Constants
from nrcscan.network.find_layers import LayerWeight

_aten = torch.ops.aten


class _Operation(NamedTuple):
    """A tensor operation that is a layer: its kind, and where among its arguments things are."""

    kind: str
    features: int = 0
    weight: int = 1
    groups: int | None = None
    transposed: int | None = None
    """Where a flag says so."""
    product: bool = False
    """Whether it multiplies with the weight as (in, out), rather than (out, in)."""


_OPERATIONS: dict[Any, _Operation] = {
    _aten.linear: _Operation("Linear"),
    _aten.matmul: _Operation("Linear", product=True),
    _aten.mm: _Operation("Linear", product=True),
    _aten.addmm: _Operation("Linear", features=1, weight=2, product=True),
    _aten.conv1d: _Operation("Conv1d", groups=6),
    _aten.conv2d: _Operation("Conv2d", groups=6),
    _aten.conv3d: _Operation("Conv3d", groups=6),
    _aten.conv_transpose1d: _Operation("ConvTranspose1d", groups=6),
    _aten.conv_transpose2d: _Operation("ConvTranspose2d", groups=6),
    _aten.conv_transpose3d: _Operation("ConvTranspose3d", groups=6),
    _aten.convolution: _Operation("Conv", groups=8, transposed=6),
    _aten._convolution: _Operation("Conv", groups=8, transposed=6),  # of traced programs
    REACHES: _Operation("", groups=3),  # of networks outside torch, which say their kind
}
_RECURRENT = {_aten.lstm: "LSTM", _aten.gru: "GRU", _aten.rnn_tanh: "RNN", _aten.rnn_relu: "RNN"}
_CELLS = {
    _aten.lstm_cell: "LSTMCell",
    _aten.gru_cell: "GRUCell",
    _aten.rnn_tanh_cell: "RNNCell",
    _aten.rnn_relu_cell: "RNNCell",
}


class _Recurrence(NamedTuple):
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


@dataclass(frozen=True)
class Call:
    """One use of a layer in a pass.

    Attributes:
        layer: the layer.
        name: its name, with "#2" and so on from the second use in the same pass.
        kind: "Linear", "Conv2d", …, as the operation shows it.
        weight: what the operation runs with, (out, in) or a convolution's kernel: the layer's,
            turned where it multiplies from the other side, or some rows of it.
        groups: of a convolution, else 1.
        source: what tells tensors apart within a pass; two calls with the same source read
            the same features. Empty unless sources are traced.
    """

    layer: LayerWeight
    name: str
    kind: str
    weight: Tensor
    groups: int
    source: tuple[Any, ...] = ()

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return "Transpose" in self.kind

    @property
    def channel_axis(self) -> int:
        """Where the channels are in the tensor that reaches the layer."""
        return 1 if self.kind.startswith("Conv") else -1


class Capture(TorchDispatchMode):
    """Calls `on_call(call, features)` whenever a layer is about to run.

    Args:
        layers: the layers to look for.
        on_call: takes the call and the tensor that reaches the layer.
        constants: of a network that may compute weights from its parameters as it runs.
        trace_sources: tell which calls read the same tensor. This keeps every such tensor
            alive to the end of the pass, so it is meant for a pass over a few samples.
    """

    def __init__(
        self,
        layers: Sequence[LayerWeight],
        on_call: Callable[[Call, Tensor], None],
        *,
        constants: Constants | None = None,
        trace_sources: bool = False,
    ) -> None:
        super().__init__()
        self._layers = {_memory(layer.weight): layer for layer in reversed(layers)}
        self._stored: dict[int, list[LayerWeight]] = {}
        for layer in layers:
            where = layer.weight.untyped_storage().data_ptr()
            self._stored.setdefault(where, []).append(layer)
        self._computed = None if constants is None else ComputedWeights(constants)
        self._on_call = on_call
        self._uses: Counter[str] = Counter()
        self._padded: tuple[Tensor, Tensor] | None = None
        self._trace = trace_sources
        self._kept: list[Tensor] = []
        self._writes: Counter[int] = Counter()
        self.last: tuple[Call, tuple[int, ...]] | None = None
        """The call seen last, and the shape of what reached it, which is not kept alive."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler, a second's work; see `evaluation_mode`."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at one operation before it runs."""
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet in _RECURRENT and func._overloadname == "input" and self._known(args[2][0]):
            return self._recur(func, _Recurrence(*args))
        operation = _OPERATIONS.get(packet)
        if operation is not None and len(args) > operation.weight:
            weight = args[operation.weight]
            if not operation.product or weight.ndim == 2:
                matrix = weight.t() if operation.product else weight
                self._see(matrix, args[operation.features], *_kind(operation, args))
        elif packet in _CELLS:
            features, before = args[0], args[1][0] if isinstance(args[1], list) else args[1]
            self._see(args[2], features, _CELLS[packet])
            self._see(args[3], before, _CELLS[packet])
        if self._trace and func._schema.is_mutable:
            self._count_writes(func, args, kwargs)
        out = func(*args, **kwargs)
        if self._computed is not None:
            self._computed.after(func, args, kwargs, out)
        if packet is _aten.pad:
            self._padded = (out, args[0])
        return out

    def wrote_to(self, tensors: Iterable[Tensor]) -> bool:
        """Say whether the pass wrote to any of these in place; only known of a traced one."""
        return any(t.numel() and t.untyped_storage().data_ptr() in self._writes for t in tensors)

    def _known(self, weight: Tensor) -> tuple[LayerWeight, str] | None:
        """Return whose weight a tensor is, and by which name: also some rows of one."""
        layer = self._layers.get(_memory(weight))
        if layer is not None:
            return layer, layer.name
        for layer in self._stored.get(weight.untyped_storage().data_ptr(), ()):
            whole = layer.weight
            first = int(weight.storage_offset()) - int(whole.storage_offset())
            if weight.ndim == whole.ndim == 2 and weight.stride() == whole.stride():
                start, odd = divmod(first, int(whole.stride(0)) or 1)
                if not odd and 0 <= start <= len(whole) - len(weight):
                    return layer, f"{layer.name}[{start}:{start + len(weight)}]"
        return None

    def _see(self, weight: Tensor, features: Tensor, kind: str, groups: int = 1) -> None:
        known = self._known(weight)
        if known is None and self._computed is not None:
            computed = self._computed.layer(weight, features)
            known = None if computed is None else (computed, computed.name)
        if known is None:
            return
        layer, name = known
        if self._computed is not None and self._computed.constant(features, layer):
            return
        if layer.pads_itself and self._padded is not None and self._padded[0] is features:
            features = self._padded[1]
        self._uses[name] += 1
        if self._uses[name] > 1:
            name = f"{name}#{self._uses[name]}"
        source: tuple[Any, ...] = ()
        if self._trace:
            self._kept.append(features)
            writes = self._writes[features.untyped_storage().data_ptr()]
            shape = (tuple(features.shape), features.stride())
            source = (features.data_ptr(), *shape, writes)
        if layer.acting is not None:
            weight, groups = layer.acting, 1
        call = Call(layer, name, kind, weight, groups, source)
        self.last = (call, tuple(features.shape))
        self._on_call(call, features)

    def _recur(self, func: Any, given: _Recurrence) -> tuple[Tensor, ...]:
        """Run a recurrent network level by level, and see what reaches each level's two weights.

        The recurrent weight reads the state before each step: the starting one, then the outputs.
        """
        kind, time = _RECURRENT[func.overloadpacket], int(given.batch_first)
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
                    self._see(own[0], x, kind)
                    self._see(own[1], before.flip(time) if way else before, kind)
                outputs.append(out.flip(time) if way else out)
                ends.append(end)
            x = torch.cat(outputs, -1) if given.both_ways else outputs[0]
        return (x, *(torch.cat(states) for states in zip(*ends, strict=True)))

    def _count_writes(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        for argument, value in zip(func._schema.arguments, args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if written and isinstance(value, Tensor):
                self._writes[value.untyped_storage().data_ptr()] += 1
        out = kwargs.get("out")
        if isinstance(out, Tensor):
            self._writes[out.untyped_storage().data_ptr()] += 1


def _kind(operation: _Operation, args: Sequence[Any]) -> tuple[str, int]:
    """Return the kind of layer that an operation is, and its groups."""
    kind = operation.kind
    if operation.transposed is not None:
        transposed = "Transpose" if args[operation.transposed] else ""
        kind = f"{kind}{transposed}{args[operation.weight].ndim - 2}d"
    kind = kind or args[2]
    at = operation.groups
    return kind, int(args[at]) if at is not None and len(args) > at else 1


def _memory(tensor: Tensor) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return what a live tensor occupies, the same for its transpose."""
    axes = zip(tensor.shape, tensor.stride(), strict=True)
    order = sorted(axes) if tensor.ndim == 2 else axes
    return tensor.data_ptr(), tuple((n, step if n > 1 else 0) for n, step in order)
