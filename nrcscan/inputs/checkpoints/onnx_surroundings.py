"""Where the layers of an ONNX graph stand among each other, as its nodes tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.inputs.branches import Branches, Surroundings, Value

if TYPE_CHECKING:
    import onnx

    from nrcscan.inputs.checkpoints.onnx_graph import LayerNode, OtherNode

_SUMS = ("Add", "Sub", "Sum")
_CHOOSES = {
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor",
    "IsNaN", "IsInf", "ArgMax", "ArgMin", "NonZero", "Shape", "Size", "Range", "ConstantOfShape",
}  # fmt: skip
"""Operations whose results are no values that others are made of, but choose or arrange these."""
_LOOK_UPS = ("Gather", "GatherElements", "GatherND", "OneHot")
_BOOL = 9
"""TensorProto's."""


def surroundings(
    graph: onnx.GraphProto,
    layers: Sequence[LayerNode],
    others: Sequence[OtherNode],
    held: Mapping[str, NDArray[Any]],
) -> list[Surroundings]:
    """Return where every layer of a graph stands, in order.

    Args:
        graph: whose nodes come in the order in which they run.
        layers: its layers.
        others: its nodes that act by weights and are no layers.
        held: the tensors that it holds.
    """
    branches = Branches()
    numbers = {layer.output: number for number, layer in enumerate(layers)}
    acting = {other.output: number for number, other in enumerate(others)}
    given = [one for one in graph.input if one.name not in held]
    chooses = {one.name for one in given if _is_mask(one)}
    on = {one.name: branches.source(chooses=one.name in chooses) for one in given}
    made_of = dict(on)
    bits = [0] * len(layers)
    held = dict(held)
    biases: dict[str, NDArray[Any]] = {}
    """Output of a layer → the constant that is added to it."""
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in held:
            held[node.output[0]] = held[node.input[0]]
        values = [name for name in node.input if on.get(name, 0) and name not in chooses]
        branches.join([Value(on[name], made_of[name]) for name in values])
        depends = parts = 0
        for name in values or (name for name in node.input if on.get(name, 0)):
            parts |= made_of[name]
        for name in filter(None, node.input):
            if node.op_type in _SUMS:
                branches.add(depends, on.get(name, 0))
            depends |= on.get(name, 0)
        number = next((numbers[name] for name in node.output if name in numbers), None)
        if node.op_type in _CHOOSES or not (values or number is not None or _looks_up(node)):
            chooses.update(node.output)
        constants = [held[name] for name in node.input if name in held]
        if number is not None:
            bits[number] = parts = branches.call(depends, Value(depends, parts))
            depends |= parts
            if len(node.input) > 2 and node.input[2] in held:
                biases[layers[number].output] = held[node.input[2]]
        elif node.op_type == "Add" and len(constants) == 1:
            bare = next((name for name in node.input if name in numbers), None)
            if bare is not None:
                biases[bare] = constants[0]
        if depends and node.output[0] in acting:
            parts = branches.other(Value(depends, parts), acting[node.output[0]])
            depends |= parts
        on |= dict.fromkeys(filter(None, node.output), depends)
        made_of |= dict.fromkeys(filter(None, node.output), parts)
    return [
        branches.around(bit, _size(biases.get(layer.output)))
        for layer, bit in zip(layers, bits, strict=True)
    ]


def _is_mask(given: onnx.ValueInfoProto) -> bool:
    """Whether an input says what counts: of truth values, or called as masks are."""
    return given.type.tensor_type.elem_type == _BOOL or "mask" in given.name.lower()


def _looks_up(node: onnx.NodeProto) -> bool:
    return node.op_type in _LOOK_UPS


def _size(bias: NDArray[Any] | None) -> Tensor | None:
    return None if bias is None else torch.from_numpy(np.abs(bias.astype(np.float64)).reshape(-1))
