"""Sees the features that reach each layer during a forward pass, and leaves the model as it is.

A dispatch mode sees every tensor operation below the level of modules, so a layer is known
by its weight, wherever it is called from, and its input is seen at the moment it is used:
before an in-place activation can overwrite it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached
from torch.utils._python_dispatch import TorchDispatchMode

from nrcscan.layers import Layer

_aten = torch.ops.aten
# Operation → kind of layer, where its groups are among the arguments, and where a flag says
# that it is transposed.
_LAYER_OPERATIONS: dict[Any, tuple[str, int | None, int | None]] = {
    _aten.linear: ("Linear", None, None),
    _aten.conv1d: ("Conv1d", 6, None),
    _aten.conv2d: ("Conv2d", 6, None),
    _aten.conv3d: ("Conv3d", 6, None),
    _aten.conv_transpose1d: ("ConvTranspose1d", 6, None),
    _aten.conv_transpose2d: ("ConvTranspose2d", 6, None),
    _aten.conv_transpose3d: ("ConvTranspose3d", 6, None),
    _aten.convolution: ("Conv", 8, 6),
    _aten._convolution: ("Conv", 8, 6),  # of traced programs
}


@dataclass(frozen=True)
class Call:
    """One use of a layer in a pass.

    Attributes:
        layer: the layer.
        name: its name, with "#2" and so on from the second use in the same pass.
        kind: "Linear", "Conv2d", …, as the operation shows it.
        groups: of a convolution, else 1.
        source: what tells tensors apart within a pass; two calls with the same source read
            the same features. Empty unless sources are traced.
    """

    layer: Layer
    name: str
    kind: str
    groups: int
    source: tuple[Any, ...] = ()

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return "Transpose" in self.kind

    @property
    def channel_axis(self) -> int:
        """Where the channels are in the tensor that reaches the layer."""
        return -1 if self.kind == "Linear" else 1


class Capture(TorchDispatchMode):
    """Calls `on_call(call, features)` whenever a layer is about to run.

    Args:
        layers: the layers to look for.
        on_call: takes the call and the tensor that reaches the layer.
        trace_sources: tell which calls read the same tensor. This keeps every such tensor
            alive to the end of the pass, so it is meant for a pass over a few samples.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        on_call: Callable[[Call, Tensor], None],
        *,
        trace_sources: bool = False,
    ) -> None:
        super().__init__()
        self._layers = {_identity(layer.weight): layer for layer in reversed(layers)}
        self._on_call = on_call
        self._uses: Counter[str] = Counter()
        self._padded: tuple[Tensor, Tensor] | None = None
        self._trace = trace_sources
        self._kept: list[Tensor] = []
        self._writes: Counter[int] = Counter()
        self.last: tuple[Call, Tensor] | None = None

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
        if packet in _LAYER_OPERATIONS and len(args) > 1:
            layer = self._layers.get(_identity(args[1]))
            if layer is not None:
                self._see(layer, args[0], *_kind(packet, args))
        if self._trace and func._schema.is_mutable:
            self._count_writes(func, args, kwargs)
        out = func(*args, **kwargs)
        if packet is _aten.pad:
            self._padded = (out, args[0])
        return out

    def wrote_to(self, tensors: Iterable[Tensor]) -> bool:
        """Say whether the pass wrote to any of these in place; only known of a traced one."""
        return any(t.numel() and t.untyped_storage().data_ptr() in self._writes for t in tensors)

    def _see(self, layer: Layer, features: Tensor, kind: str, groups: int) -> None:
        if layer.pads_itself and self._padded is not None and self._padded[0] is features:
            features = self._padded[1]
        self._uses[layer.name] += 1
        use = self._uses[layer.name]
        name = layer.name if use == 1 else f"{layer.name}#{use}"
        source: tuple[Any, ...] = ()
        if self._trace:
            self._kept.append(features)
            writes = self._writes[features.untyped_storage().data_ptr()]
            source = (*_identity(features), features.stride(), writes)
        call = Call(layer, name, kind, groups, source)
        self.last = (call, features)
        self._on_call(call, features)

    def _count_writes(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        for argument, value in zip(func._schema.arguments, args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if written and isinstance(value, Tensor):
                self._writes[value.untyped_storage().data_ptr()] += 1
        out = kwargs.get("out")
        if isinstance(out, Tensor):
            self._writes[out.untyped_storage().data_ptr()] += 1


def _kind(packet: Any, args: Sequence[Any]) -> tuple[str, int]:
    """Return the kind of layer that an operation is, and its groups."""
    kind, groups_at, flag_at = _LAYER_OPERATIONS[packet]
    if flag_at is not None:
        transposed = "Transpose" if args[flag_at] else ""
        kind = f"{kind}{transposed}{args[1].ndim - 2}d"
    groups = args[groups_at] if groups_at is not None and len(args) > groups_at else 1
    return kind, int(groups)


def _identity(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Return what tells apart two live tensors: where they are, and their shape."""
    return tensor.data_ptr(), tuple(tensor.shape)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode without gradients, and every module back in its own mode.

    A parametrised weight is computed once and kept for the duration, so that it can be known.
    """
    # A frozen program has no mode, and an exported one cannot leave the one it has.
    modes = [(module, getattr(module, "training", None)) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    if modes[0][1] is not None:
        with suppress(NotImplementedError):
            model.eval()
    try:
        # The fast path of attention runs as one operation, in which no layer can be seen.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.inference_mode(), cached():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            if training is not None:
                module.training = training
