"""Sees the features that reach each layer during a forward pass, and leaves the model as it is.

A dispatch mode sees every tensor operation below the level of modules, so a layer is known
by its weight, wherever it is called from, and its input is seen at the moment it is used:
before an in-place activation can overwrite it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nrcscan.inputs.layer_marker import REACHES
from nrcscan.network.call import Call
from nrcscan.network.computed_weights import ComputedWeights, Constants, memory
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.lineage import Lineage
from nrcscan.network.products import product_of
from nrcscan.network.recurrence import RECURRENT, Recurrence, by_levels
from nrcscan.network.weight_uses import WeightUses

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
_CELLS = {
    _aten.lstm_cell: "LSTMCell",
    _aten.gru_cell: "GRUCell",
    _aten.rnn_tanh_cell: "RNNCell",
    _aten.rnn_relu_cell: "RNNCell",
}


class Capture(TorchDispatchMode):
    """Calls `on_call(call, features)` whenever a layer is about to run.

    Args:
        layers: the layers to look for.
        on_call: takes the call and the tensor that reaches the layer.
        constants: of a network that may compute weights from its parameters as it runs.
        trace_sources: tell which calls read the same tensor. This keeps every such tensor
            alive to the end of the pass, so it is meant for a pass over a few samples.
        lineage: follows what tensors depend on, if anything does.
    """

    def __init__(
        self,
        layers: Sequence[LayerWeight],
        on_call: Callable[[Call, Tensor], None],
        *,
        constants: Constants | None = None,
        trace_sources: bool = False,
        lineage: Lineage | None = None,
    ) -> None:
        super().__init__()
        self._layers = {memory(layer.weight): layer for layer in reversed(layers)}
        self._stored: dict[int, list[LayerWeight]] = {}
        for layer in layers:
            where = layer.weight.untyped_storage().data_ptr()
            self._stored.setdefault(where, []).append(layer)
        self._computed = None if constants is None else ComputedWeights(constants)
        self._on_call = on_call
        self._uses: Counter[str] = Counter()
        self._padded: tuple[Tensor, Tensor] | None = None
        self._trace, self._lineage = trace_sources, lineage
        self._kept: list[Tensor] = []
        self._writes: Counter[int] = Counter()
        self.packed: set[str] = set()
        """Owners of recurrent weights that ran on a packed sequence."""
        self.packed_rows: set[int] = set()
        """How many steps all samples together have in a packed sequence."""
        self.uses = WeightUses(self._stored)
        """What weights were used in; only known of a traced pass."""
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
        if self._lineage is None:
            return self._run(func, args, kwargs)
        self._lineage.begins(func, args, kwargs)
        acting: list[LayerWeight] = []
        if self._lineage.of_samples:
            acting = self.uses.note_product(func.overloadpacket, args, self._uses.total())
        out = self._run(func, args, kwargs)
        self._lineage.ended(func, args, kwargs, out, acting)
        return out

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        packet = func.overloadpacket
        if (
            packet in RECURRENT
            and func._overloadname == "input"
            and (self._computed is not None or any(self._known(w) for w in args[2]))
        ):
            return by_levels(func, Recurrence(*args), self._see_weight)
        operation = _OPERATIONS.get(packet)
        product = product_of(packet, args, self._known)
        if packet in RECURRENT and func._overloadname == "data":
            self.packed |= {own[0].owner for w in args[3] if (own := self._known(w)) is not None}
        elif product is not None:
            own = self._known(product.operand)
            self._see(own, product.weight, product.features, "Linear", origin=product.origin)
        elif operation is not None and len(args) > operation.weight:
            weight = args[operation.weight]
            if not operation.product or weight.ndim == 2:
                matrix = weight.t() if operation.product else weight
                kind, groups = _kind(operation, args)
                self._see_weight(matrix, args[operation.features], kind, groups)
        elif packet in _CELLS:
            features, before = args[0], args[1][0] if isinstance(args[1], list) else args[1]
            for weight, reached in ((args[2], features), (args[3], before)):
                self._see_weight(weight, reached, _CELLS[packet])
        if self._trace:
            self.uses.note(packet, args)
            if func._schema.is_mutable:
                self._count_writes(func, args, kwargs)
        out = func(*args, **kwargs)
        if self._computed is not None:
            self._computed.after(func, args, kwargs, out)
        if packet is _aten.pad:
            self._padded = (out, args[0])
        elif packet is _aten._pack_padded_sequence:
            self.packed_rows.add(len(out[0]))
        return out

    def wrote_to(self, tensors: Iterable[Tensor]) -> bool:
        """Say whether the pass wrote to any of these in place; only known of a traced one."""
        return any(t.numel() and t.untyped_storage().data_ptr() in self._writes for t in tensors)

    def _known(self, weight: Tensor) -> tuple[LayerWeight, str] | None:
        """Return whose weight a tensor is, and by which name: also some rows of one."""
        layer = self._layers.get(memory(weight))
        if layer is not None:
            return layer, layer.name
        for layer in self._stored.get(weight.untyped_storage().data_ptr(), ()):
            whole = layer.weight
            if _is_whole(weight, whole):
                return layer, layer.name
            first = int(weight.storage_offset()) - int(whole.storage_offset())
            if weight.ndim == whole.ndim == 2 and weight.stride() == whole.stride():
                start, odd = divmod(first, int(whole.stride(0)) or 1)
                if not odd and 0 <= start <= len(whole) - len(weight):
                    return layer, f"{layer.name}[{start}:{start + len(weight)}]"
        return None

    def _see_weight(self, weight: Tensor, features: Tensor, kind: str, groups: int = 1) -> None:
        known = self._known(weight)
        if known is None and self._computed is not None:
            computed = self._computed.layer(weight, features)
            known = None if computed is None else (computed, computed.name)
        self._see(known, weight, features, kind, groups)

    def _see(
        self,
        known: tuple[LayerWeight, str] | None,
        weight: Tensor,
        features: Tensor,
        kind: str,
        groups: int = 1,
        *,
        origin: Tensor | None = None,
    ) -> None:
        """Hand on what reaches a weight, if that is a layer's.

        Args:
            known: whose weight it is, and by which name.
            weight: as it acts.
            features: what it acts on.
            kind: of layer.
            groups: of a convolution.
            origin: the tensor that the features were arranged from, if they were.
        """
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
            read = features if origin is None else origin
            self._kept.append(read)
            writes = self._writes[read.untyped_storage().data_ptr()]
            shape = (tuple(read.shape), read.stride(), tuple(features.shape))
            source = (read.data_ptr(), *shape, writes)
        if layer.acting is not None:
            weight, groups = layer.acting, 1
        call = Call(layer, name, kind, weight, groups, source)
        self.last = (call, tuple(features.shape))
        if self._lineage is not None:
            self._lineage.call(call, features)
        self._on_call(call, features)

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


def _is_whole(tensor: Tensor, weight: Tensor) -> bool:
    """Whether a matrix is a weight of more axes, written as a matrix (out, in)."""
    return (
        tensor.ndim == 2 < weight.ndim
        and tensor.data_ptr() == weight.data_ptr()
        and len(tensor) == len(weight)
        and tensor.numel() == weight.numel()
        and tensor.is_contiguous()
        and weight.is_contiguous()
    )
