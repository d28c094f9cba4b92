"""Operations of a graph as the modules of torch that run them, in words of Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from nrcscan.cutting.network_graph import GraphPrefix
from nrcscan.cutting.python_text import Group, literal

_aten = torch.ops.aten


@dataclass(frozen=True)
class SourceLayer:
    """A module that runs an operation with stored tensors.

    Attributes:
        path: of the module, whose tensors are called after it.
        made: how it is made.
        reads: the operation's input.
        tensors: names of the tensors that are the module's.
        beside: tensors that such a module keeps though it does not use them, by name.
    """

    path: str
    made: Group
    reads: fx.Node
    tensors: tuple[str, ...]
    beside: Mapping[str, Tensor] = field(default_factory=dict)


def arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of an operation by name, defaults where none are given."""
    schema = node.target._schema  # type: ignore[union-attr]
    found = {one.name: one.default_value for one in schema.arguments}
    found |= dict(zip(found, node.args, strict=False))
    return found | node.kwargs


def source_layer(node: fx.Node, prefix: GraphPrefix) -> SourceLayer | None:
    """Return the module that runs an operation; None where none is known that does."""
    target = getattr(node.target, "overloadpacket", None)
    make = _LAYERS.get(target)
    if make is None:
        return None
    given = arguments(node)
    own = {
        name: prefix.tensors[value]
        for name, value in given.items()
        if isinstance(value, fx.Node) and value in prefix.tensors
    }
    first = "running_mean" if "running_mean" in own else "weight"
    path, _, last = own.get(first, "").rpartition(".")
    if not path or last != first or any(full != f"{path}.{name}" for name, full in own.items()):
        return None
    stored = {name: prefix.state[full] for name, full in own.items()}
    reads = given["indices" if target is _aten.embedding else "input"]
    made = make(given, stored, prefix.values[reads]) if isinstance(reads, fx.Node) else None
    if made is None or reads in prefix.tensors:
        return None
    beside: dict[str, Tensor] = {}
    if target is _aten.batch_norm:
        name = f"{path}.num_batches_tracked"
        beside[name] = prefix.buffers.get(name, torch.tensor(0))
    return SourceLayer(path, made, reads, tuple(own.values()), beside)


Made = Group | None
Stored = Mapping[str, Tensor]


def _linear(given: Mapping[str, Any], stored: Stored, _: Tensor) -> Made:
    out, width = stored["weight"].shape
    return _called("nn.Linear", width, out, bias=(given["bias"] is not None, True))


def _convolution(given: Mapping[str, Any], stored: Stored, _: Tensor) -> Made:
    out, width, *kernel = stored["weight"].shape
    groups, padding = given["groups"], given["padding"]
    return _called(
        f"nn.Conv{len(kernel)}d",
        width * groups,
        out,
        _one_number(kernel),
        stride=(_one_number(given["stride"]), 1),
        padding=(padding if isinstance(padding, str) else _one_number(padding), 0),
        dilation=(_one_number(given["dilation"]), 1),
        groups=(groups, 1),
        bias=(given["bias"] is not None, True),
    )


def _layer_norm(given: Mapping[str, Any], stored: Stored, _: Tensor) -> Made:
    return _called(
        "nn.LayerNorm",
        _one_number(given["normalized_shape"])
        if len(given["normalized_shape"]) == 1
        else tuple(given["normalized_shape"]),
        eps=(given["eps"], 1e-5),
        bias=("bias" in stored, True),
    )


def _batch_norm(given: Mapping[str, Any], stored: Stored, features: Tensor) -> Made:
    axes = {2: 1, 3: 1, 4: 2, 5: 3}.get(features.ndim)
    affine = "weight" in stored
    if given["training"] or axes is None or affine != ("bias" in stored):
        return None
    size = len(stored["running_mean"])
    return _called(f"nn.BatchNorm{axes}d", size, eps=(given["eps"], 1e-5), affine=(affine, True))


def _embedding(given: Mapping[str, Any], stored: Stored, _: Tensor) -> Made:
    return _called("nn.Embedding", *stored["weight"].shape)


_LAYERS: dict[Any, Callable[[Mapping[str, Any], Stored, Tensor], Made]] = {
    _aten.linear: _linear,
    _aten.conv1d: _convolution,
    _aten.conv2d: _convolution,
    _aten.conv3d: _convolution,
    _aten.layer_norm: _layer_norm,
    _aten.batch_norm: _batch_norm,
    _aten.embedding: _embedding,
}


def source_step(node: fx.Node, features: Tensor) -> Group | None:
    """Return the module without stored tensors that runs an operation, if one is known.

    Args:
        node: the operation.
        features: its input, on a few samples.
    """
    target = getattr(node.target, "overloadpacket", None)
    given = arguments(node) if hasattr(node.target, "_schema") else {}
    if target in _STEPS:
        return Group(f"{_STEPS[target]}(", [])
    if target is _aten.gelu:
        return _called("nn.GELU", approximate=(given["approximate"], "none"))
    if target in (_aten.elu, _aten.elu_) and given["scale"] == given["input_scale"] == 1:
        return _called("nn.ELU", alpha=(given["alpha"], 1))
    if target in (_aten.leaky_relu, _aten.leaky_relu_):
        return _called("nn.LeakyReLU", negative_slope=(given["negative_slope"], 0.01))
    if target is _aten.softplus:
        return _called("nn.Softplus", beta=(given["beta"], 1), threshold=(given["threshold"], 20))
    if target is _aten.max_pool2d and not given["ceil_mode"]:
        return _called(
            "nn.MaxPool2d",
            _one_number(given["kernel_size"]),
            stride=(
                _one_number(given["stride"] or given["kernel_size"]),
                _one_number(given["kernel_size"]),
            ),
            padding=(_one_number(given["padding"]), 0),
            dilation=(_one_number(given["dilation"]), 1),
        )
    if target is _aten.adaptive_avg_pool2d:
        return _called("nn.AdaptiveAvgPool2d", _one_number(given["output_size"]))
    if flattens(node) and features.ndim >= 2:
        return Group("nn.Flatten(", [])
    return None


_STEPS = {
    _aten.relu: "nn.ReLU",
    _aten.relu_: "nn.ReLU",
    _aten.tanh: "nn.Tanh",
    _aten.tanh_: "nn.Tanh",
    _aten.sigmoid: "nn.Sigmoid",
    _aten.sigmoid_: "nn.Sigmoid",
    _aten.silu: "nn.SiLU",
    _aten.silu_: "nn.SiLU",
    _aten.selu: "nn.SELU",
    _aten.selu_: "nn.SELU",
    _aten.mish: "nn.Mish",
    _aten.relu6: "nn.ReLU6",
}


def flattens(node: fx.Node) -> bool:
    """Whether an operation puts all axes of a sample side by side."""
    target = getattr(node.target, "overloadpacket", None)
    if target is _aten.flatten:
        given = arguments(node)
        return bool(given.get("start_dim") == 1 and given.get("end_dim") == -1)
    if target in (_aten.reshape, _aten.view) and len(node.args) == 2:
        match node.args[1]:
            case [fx.Node() as size, -1]:
                return bool(size.target is _aten.sym_size.int and size.args[1] == 0)
    return False


def does_nothing(node: fx.Node) -> bool:
    """Whether an operation hands on its input: dropout in use, or a slice of all there is."""
    target = getattr(node.target, "overloadpacket", None)
    if target in (_aten.dropout, _aten.dropout_, _aten.feature_dropout):
        return arguments(node)["train"] is False
    if target is _aten.slice:
        given = arguments(node)
        ends = given["start"] in (None, 0) and given["end"] in (None, sys.maxsize)
        return ends and given["step"] == 1
    return False


def _called(what: str, *values: Any, **named: tuple[Any, Any]) -> Group:
    """Return a call, with those of its keywords whose value is not the default beside it."""
    told = [f"{name}={literal(value)}" for name, (value, usual) in named.items() if value != usual]
    return Group(f"{what}(", [*map(literal, values), *told])


def _one_number(sizes: Any) -> Any:
    """Return sizes as torch's modules take them: one number where all are the same."""
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)
