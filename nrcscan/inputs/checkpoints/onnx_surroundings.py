"""Where the layers of an ONNX graph stand among each other, as its nodes tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.inputs.branches import Branches, Surroundings

if TYPE_CHECKING:
    import onnx

    from nrcscan.inputs.checkpoints.onnx_graph import LayerNode

_SUMS = ("Add", "Sub", "Sum")


def surroundings(
    graph: onnx.GraphProto, layers: Sequence[LayerNode], held: Mapping[str, NDArray[Any]]
) -> list[Surroundings]:
    """Return where every layer of a graph stands, in order.

    Args:
        graph: whose nodes come in the order in which they run.
        layers: its layers.
        held: the tensors that it holds.
    """
    branches = Branches()
    numbers = {layer.output: number for number, layer in enumerate(layers)}
    on = {given.name: branches.source() for given in graph.input if given.name not in held}
    bits = [0] * len(layers)
    held = dict(held)
    biases: dict[str, NDArray[Any]] = {}
    """Output of a layer → the constant that is added to it."""
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in held:
            held[node.output[0]] = held[node.input[0]]
        given = [on.get(name, 0) for name in node.input if name]
        depends = 0
        for one in given:
            if node.op_type in _SUMS:
                branches.add(depends, one)
            depends |= one
        number = next((numbers[name] for name in node.output if name in numbers), None)
        constants = [held[name] for name in node.input if name in held]
        if number is not None:
            bits[number] = branches.call(depends)
            depends |= bits[number]
            if len(node.input) > 2 and node.input[2] in held:
                biases[layers[number].output] = held[node.input[2]]
        elif node.op_type == "Add" and len(constants) == 1:
            bare = next((name for name in node.input if name in numbers), None)
            if bare is not None:
                biases[bare] = constants[0]
        on |= dict.fromkeys(filter(None, node.output), depends)
    return [
        branches.around(bit, _size(biases.get(layer.output)))
        for layer, bit in zip(layers, bits, strict=True)
    ]


def _size(bias: NDArray[Any] | None) -> Tensor | None:
    return None if bias is None else torch.from_numpy(np.abs(bias.astype(np.float64)).reshape(-1))
