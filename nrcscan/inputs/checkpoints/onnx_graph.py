"""The layers of an ONNX graph: nodes that put features on weights the graph holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.inputs.checkpoints.onnx_convolution import ConvolutionSteps, steps_of

if TYPE_CHECKING:
    import onnx

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_RECURRENT = ("LSTM", "GRU", "RNN")
# Operations that hold weights too, and that are no Linear layers or convolutions.
_OTHERS = (*_RECURRENT, "Gather", "Einsum", "If", "Loop", "Scan")
_RANDOM = ("RandomNormal", "RandomUniform", "Bernoulli", "Multinomial", "Dropout")


@dataclass(frozen=True)
class LayerNode:
    """A node that is a layer.

    Attributes:
        names: what its weight may be called, the best first.
        features: the tensor that reaches it.
        weight: the tensor of its weight, which depends on nothing but what the graph holds.
        origin: the initialiser that it comes from.
        output: the tensor that it gives.
        op_type: "Gemm", "MatMul", "Conv" or "ConvTranspose".
        groups: of a convolution, else 1.
        stored_out_first: whether the weight of a Linear layer is stored as (out, in).
        scale: what the weight is multiplied by.
        steps: where a convolution puts its kernel.
    """

    names: tuple[str, ...]
    features: str
    weight: str
    origin: str
    output: str
    op_type: str
    groups: int = 1
    stored_out_first: bool = False
    scale: float = 1.0
    steps: ConvolutionSteps | None = None

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution."""
        return self.op_type in _CONVOLUTIONS

    def arranged(self, values: NDArray[Any]) -> Tensor:
        """Return the weight as torch has it: (out, in), or a convolution's kernel."""
        if not self.convolves and not self.stored_out_first:
            values = values.T
        weight = torch.from_numpy(np.array(values, order="C"))
        return weight if self.scale == 1 else weight * self.scale

    def kind(self, weight: Tensor) -> str:
        """Return the kind of layer: "Linear", "Conv2d", …."""
        if not self.convolves:
            return "Linear"
        return f"{self.op_type}{weight.ndim - 2}d"


@dataclass(frozen=True)
class OtherNode:
    """A node that holds a weight and is no layer that is measured.

    Attributes:
        name: of the node.
        op_type: "LSTM", "Gather", ….
        layers_before: how many layers run before it.
        output: the first tensor that it gives.
        matrices: the initialisers that it acts by.
    """

    name: str
    op_type: str
    layers_before: int
    output: str = ""
    matrices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it in words, such as "/lstm/LSTM (LSTM)"."""
        return f"{self.name} ({self.op_type})"

    @property
    def looks_up(self) -> bool:
        """Whether it looks rows of its weight up, as an embedding does."""
        return self.op_type == "Gather"


@dataclass
class Survey:
    """What was found in a graph.

    Attributes:
        layers: in the order in which they run.
        others: nodes that hold weights and are no such layers.
        constants: nodes that compute from what the graph holds alone.
    """

    layers: list[LayerNode] = field(default_factory=list)
    others: list[OtherNode] = field(default_factory=list)
    constants: list[onnx.NodeProto] = field(default_factory=list)


def survey(graph: onnx.GraphProto) -> Survey:
    """Find the layers of a graph."""
    found = Survey()
    # Tensor that the graph holds, or computes from such alone → the initialiser it comes from.
    origins = {tensor.name: tensor.name for tensor in graph.initializer}
    origins |= {sparse.values.name: sparse.values.name for sparse in graph.sparse_initializer}
    same: dict[str, str] = {}
    for node in graph.node:
        inputs = [name for name in node.input if name]
        subgraph = any(attribute.HasField("g") for attribute in node.attribute)
        if all(name in origins for name in inputs) and not subgraph and not _random(node):
            found.constants.append(node)
            origins |= {name: origins[inputs[0]] if inputs else name for name in node.output}
            continue
        if node.op_type == "Identity":
            same[node.output[0]] = same.get(inputs[0], inputs[0])
        layer = _layer(node, origins, same)
        if layer is not None:
            found.layers.append(layer)
        elif _holds_weights(node, graph, origins):
            name = node.name or node.output[0]
            # Behind its two weights a recurrent node has biases, as a matrix.
            acting = node.input[1:3] if node.op_type in _RECURRENT else inputs
            matrices = tuple(origins[name] for name in acting if name in origins)
            found.others.append(
                OtherNode(name, node.op_type, len(found.layers), node.output[0], matrices)
            )
    return found


def _layer(
    node: onnx.NodeProto, origins: Mapping[str, str], same: Mapping[str, str]
) -> LayerNode | None:
    if node.domain not in ("", "ai.onnx") or len(node.input) < 2:
        return None
    features, weight = node.input[:2]
    if weight not in origins or features in origins:
        return None
    numbers = {a.name: a.i for a in node.attribute}
    scale = next((a.f for a in node.attribute if a.name == "alpha"), 1.0)
    plain = node.op_type == "MatMul" or (node.op_type == "Gemm" and not numbers.get("transA"))
    if not plain and node.op_type not in _CONVOLUTIONS:
        return None
    origin = origins[weight]
    here = node.output[0]
    names = tuple(f"{name}.weight" for name in (node.name, here) if name)
    # Exporters keep the names of weights that they keep as they are; others say nothing.
    return LayerNode(
        names=(origin, *names) if origin.endswith("weight") else names,
        features=same.get(features, features),
        weight=weight,
        origin=origin,
        output=here,
        op_type=node.op_type,
        groups=numbers.get("group", 1) if node.op_type in _CONVOLUTIONS else 1,
        stored_out_first=bool(numbers.get("transB")),
        scale=scale if node.op_type == "Gemm" else 1.0,
        steps=steps_of(node) if node.op_type == "Conv" else None,
    )


def _random(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith(_RANDOM)


def _holds_weights(
    node: onnx.NodeProto, graph: onnx.GraphProto, origins: Mapping[str, str]
) -> bool:
    """Whether a node that is no layer multiplies by a matrix that the graph holds."""
    if node.op_type not in (*_OTHERS, "MatMul", "Gemm") and node.domain != "com.microsoft":
        return False
    if any(attribute.HasField("g") for attribute in node.attribute):
        return True
    matrices = {t.name for t in graph.initializer if len(t.dims) > 1 and t.data_type in _FLOATS}
    return any(origins.get(name) in matrices for name in node.input)


_FLOATS = (1, 10, 11, 16)
"""TensorProto's float32, float16, float64 and bfloat16."""
