"""A network that runs an ONNX graph outside torch, and shows which features reach which weight."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nrcscan.errors import InputError
from nrcscan.inputs.branches import OtherUse, Surroundings
from nrcscan.inputs.checkpoints.onnx_graph import LayerNode, OtherNode
from nrcscan.inputs.checkpoints.onnx_inputs import GraphInput, put
from nrcscan.inputs.layer_marker import REACHES


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
        self.origins = [layer.origin for layer in layers]
        """Layer → what tells its weight from others."""
        self.other_uses = [_use(other, weights) for other in others]
        """What the other nodes act by."""
        self.takes_indices = not all(one.dtype.is_floating_point for one in inputs)
        """Whether integers among the inputs stay integers."""
        self.said: str | None = None
        """What the user should know about how the last inputs were put to the graph's."""
        self._run, self._inputs, self._outputs, self._layers = run, inputs, outputs, layers
        self._uses: list[Use] = []
        for layer in layers:
            weight = layer.arranged(weights[layer.weight])
            kind = layer.kind(weight)
            parameter = self._hold(layer.names, weight, kind)
            self._uses.append(Use(layer.features, parameter, kind, layer.groups))
        sources = {one.name for one in inputs}
        features = [use.features for use in self._uses if use.features not in sources]
        self._wanted = list(dict.fromkeys([*outputs, *features]))

    def made(self, shapes: Sequence[tuple[int, ...]]) -> list[int | None]:
        """Return how many numbers each convolution gives; None for other layers.

        Args:
            shapes: of what reaches every layer.
        """
        kernels = (tuple(use.weight.shape) for use in self._uses)
        return [
            None if layer.steps is None else layer.steps.numbers(shape, kernel)
            for layer, shape, kernel in zip(self._layers, shapes, kernels, strict=True)
        ]

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


def _use(other: OtherNode, held: Mapping[str, NDArray[Any]]) -> OtherUse:
    """Return what a node acts by: matrices, and not the biases beside them."""
    sizes = ((name, held[name].size) for name in other.matrices if name in held)
    weights = tuple((name, size) for name, size in sizes if held[name].ndim > 1)
    return OtherUse(weights, 0 if other.looks_up else None)


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
