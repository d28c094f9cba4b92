"""The layers of an ONNX graph: nodes that put features on weights the graph holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nrcscan.errors import InputError
from nrcscan.inputs.branches import Surroundings
from nrcscan.inputs.checkpoints.onnx_inputs import GraphInput, put
from nrcscan.inputs.layer_marker import REACHES

if TYPE_CHECKING:
    import onnx

_CONVOLUTIONS = ("Conv", "ConvTranspose")
# Operations that hold weights too, and that are no Linear layers or convolutions.
_OTHERS = ("LSTM", "GRU", "RNN", "Gather", "Einsum", "If", "Loop", "Scan")
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
    """

    name: str
    op_type: str
    layers_before: int

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
            found.others.append(OtherNode(name, node.op_type, len(found.layers)))
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


@dataclass(frozen=True)
class Use:
    """A layer's node with its weight in hand."""

    features: str
    weight: nn.Parameter
    kind: str
    groups: int


Run = Callable[[list[str], dict[str, NDArray[Any]]], list[Any]]


class Graph(nn.Module):
    """Runs a graph outside torch, and says which of its tensors reach which weight.

    Args:
        run: (names of tensors, arrays by name of input) → those tensors, as onnxruntime has it.
        inputs: what the graph takes.
        outputs: the names of the graph's outputs.
        layers: the graph's layers, in order.
        weights: the values of their weights, by the names of their tensors.
        around: where the layers stand among each other.
        others: nodes that hold weights and are no such layers, and how many layers come before.
    """

    def __init__(
        self,
        run: Run,
        inputs: list[GraphInput],
        outputs: list[str],
        layers: list[LayerNode],
        weights: Mapping[str, NDArray[Any]],
        around: list[Surroundings],
        others: list[OtherNode],
    ) -> None:
        super().__init__()
        self.surroundings, self.others = around, others
        self.takes_indices = not all(one.dtype.is_floating_point for one in inputs)
        """Whether integers among the inputs stay integers."""
        self.said: str | None = None
        """What the user should know about how the last inputs were put to the graph's."""
        self._run, self._inputs, self._outputs = run, inputs, outputs
        self._uses: list[Use] = []
        for layer in layers:
            weight = layer.arranged(weights[layer.weight])
            kind = layer.kind(weight)
            parameter = self._hold(layer.names, weight, kind)
            self._uses.append(Use(layer.features, parameter, kind, layer.groups))
        sources = {one.name for one in inputs}
        features = [use.features for use in self._uses if use.features not in sources]
        self._wanted = list(dict.fromkeys([*outputs, *features]))

    def forward(self, *args: Tensor, **named: Tensor) -> Any:
        """Run the graph: on the CPU, whatever device its inputs and the weights are on."""
        given, note = put(self._inputs, args, named)
        if note != self.said:
            self.said = note
        device = next(iter(given.values())).device
        try:
            arrays = self._run(self._wanted, {name: x.cpu().numpy() for name, x in given.items()})
        except Exception as error:  # onnxruntime raises errors of its own, of several lines
            raise RuntimeError(said(error)) from error
        tensors = {**given, **dict(zip(self._wanted, _tensors(arrays, device), strict=True))}
        for use in self._uses:
            # One tensor of the graph is one tensor here: who reads it shares a position.
            REACHES(tensors[use.features], use.weight, use.kind, use.groups)
        found = {name: tensors[name] for name in self._outputs}
        return found if len(found) > 1 else next(iter(found.values()))

    def _hold(self, names: tuple[str, ...], weight: Tensor, kind: str) -> nn.Parameter:
        """Keep a weight under the first of its names that is free, or holds the same already.

        Raises:
            InputError: all of its names are those of other weights.
        """
        for name in names:
            path, _, leaf = name.rpartition(".")
            # Not add_module: a name may hold dots here, and be one that every module has.
            home = self._modules.setdefault(path, _Home(kind)) if path else self
            assert home is not None
            held = home._parameters.get(leaf)
            if held is None:
                held = home._parameters[leaf] = nn.Parameter(weight, requires_grad=False)
                if home is self:
                    self.original_name = kind
                return held
            if held.shape == weight.shape and torch.equal(held, weight):
                return held
        raise InputError(
            f"two nodes of the graph are called {names[-1].removesuffix('.weight')};"
            " give each a name of its own, or none, and save the model again"
        )


class _Home(nn.Module):
    """Where a weight is kept, under the name of its layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.original_name = kind


def _tensors(arrays: list[Any], device: torch.device) -> Iterator[Any]:
    for array in arrays:
        numbers = isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
        yield torch.from_numpy(array).to(device) if numbers else array


def said(error: Exception) -> str:
    """Return what onnxruntime said: on one line, without its prefix and its place in the source."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return re.sub(r"/\S+\.(cc|h):\d+ .*?\) ", "", text).rstrip(".") or type(error).__name__
