"""A cut network as a class, whose `forward` is the code of the network's graph."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from nrcscan.cutting.layers_in_source import does_nothing
from nrcscan.cutting.network_graph import INFIX, GraphPrefix
from nrcscan.cutting.python_text import Group, is_plain_name, laid_out, literal
from nrcscan.cutting.source_material import SourceMaterial
from nrcscan.options.choices import Pool

_aten = torch.ops.aten

_TAKEN = {"self", "torch", "nn", "Tensor", "aten", "features", "OrderedDict", "build", "Cut"}


def as_class(of: SourceMaterial) -> list[str]:
    """Return the lines that define a network, and make it."""
    return _GraphSource(of).lines()


class _GraphSource:
    """Writes a graph.

    Args:
        of: what is written.
    """

    def __init__(self, of: SourceMaterial) -> None:
        self._of, self._prefix = of, of.prefix
        self._names = _variables(of.prefix)

    def lines(self) -> list[str]:
        """Return the lines of the class and of what makes it."""
        places = list(self._places())
        nested = not all(is_plain_name(name) for name, _ in places)
        made = [
            laid_out(what, 8, f"self.{name} = ")
            if is_plain_name(name)
            else laid_out(Group("_place(", ["self", literal(name), what]), 8)
            for name, what in places
        ]
        given = ", ".join(f"{self._names[node]}: Tensor" for node in self._prefix.inputs)
        return [
            *([*_PLACE, "", ""] if nested else []),
            "class Cut(nn.Module):",
            '    """The network up to where it is cut, and a linear head."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *made,
            "",
            f"    def forward(self, {given}) -> Tensor:",
            f'        """Return predictions (N, {len(self._of.bias)})."""',
            *self._operations(),
            *self._pooled(),
            "",
            "",
            "def build() -> nn.Module:",
            '    """Return the network with random weights."""',
            f"    return Cut(){self._of.in_precision}",
        ]

    def _places(self) -> Iterator[tuple[str, Group]]:
        """Yield what is stored under which name: layers, then tensors that are no layer's."""
        owned: set[str] = set()
        for layer in self._of.layers.values():
            if not owned.issuperset(layer.tensors):
                yield self._of.path(layer), layer.made
            owned.update(layer.tensors)
        for name, tensor in self._prefix.state.items():
            if name not in owned:
                shape = literal(tuple(tensor.shape))
                usual = tensor.dtype == self._of.weight.dtype
                told = [shape] if usual else [shape, f"dtype={tensor.dtype}"]
                empty = Group("torch.empty(", told)
                kept = isinstance(tensor, nn.Parameter)
                call = "nn.Parameter(" if kept else "nn.Buffer("
                yield self._of.renamed[name], Group(call, [empty])
        yield self._of.head, self._of.head_made

    def _operations(self) -> Iterator[str]:
        for node in self._prefix.operations:
            if does_nothing(node):
                self._names[node] = self._names[node.args[0]]  # type: ignore[index]
                continue
            layer = self._of.layers.get(node)
            if layer is not None:
                module = self._member(self._of.path(layer), "submodule")
                expression: str | Group = Group(f"{module}(", [self._names[layer.reads]])
            else:
                expression = self._expression(node)
            yield laid_out(expression, 8, f"{self._names[node]} = ")

    def _expression(self, node: fx.Node) -> str | Group:
        target, args = node.target, [self._value(one) for one in node.args]
        if target is _aten.sym_size.int:
            return f"{args[0]}.shape[{args[1]}]"
        if target is operator.getitem:
            return f"{args[0]}[{args[1]}]"
        if target in INFIX:
            return f" {INFIX[target]} ".join(map(str, args))
        named = [
            Group(f"{name}=", [self._value(value)], "")
            for name, value in node.kwargs.items()
            if name not in ("device", "pin_memory", "layout")
        ]
        if "device" in node.kwargs:
            named.append(Group("device=", [f"{self._names[self._prefix.inputs[0]]}.device"], ""))
        name = target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]
        if name in _METHODS:
            return Group(f"{args[0]}.{name}(", [*args[1:], *named])
        return Group(f"{_function(target, name)}(", [*args, *named])

    def _value(self, value: Any) -> str | Group:
        """Return an argument as Python has it, nodes by their variables."""
        if isinstance(value, fx.Node):
            stored = self._prefix.tensors.get(value)
            if stored is None:
                return self._names[value]
            kind = "parameter" if isinstance(self._prefix.state[stored], nn.Parameter) else "buffer"
            return self._member(self._of.renamed[stored], kind)
        if isinstance(value, list | tuple):
            return Group("[", [self._value(one) for one in value], "]")
        return literal(value)

    def _member(self, path: str, kind: str) -> str:
        if all(map(is_plain_name, path.split("."))):
            return f"self.{path}"
        return f"self.get_{kind}({literal(path)})"

    def _pooled(self) -> Iterator[str]:
        """Yield how what reaches the layer becomes one row per sample, and the predictions."""
        prefix = self._prefix
        name, tensor, axis = (
            self._names[prefix.features],
            prefix.values[prefix.features],
            prefix.channel_axis,
        )
        arranged, n = name, f"{self._names[prefix.inputs[0]]}.shape[0]"
        if prefix.layout == "columns":
            arranged = f"{name}.movedim(1, 0)"
        elif prefix.layout == "flat rows":
            arranged = f"{name}.unflatten(0, ({n}, -1))"
        elif prefix.layout == "flat columns":
            arranged = f"{name}.unflatten(0, (-1, {n})).movedim(1, 0)"
        flat = prefix.layout.startswith("flat")
        axis += axis > 0 and flat
        ndim = tensor.ndim + flat
        if ndim > 2:
            arranged += _pooling(self._of.pool, axis, ndim, tensor.dtype)
        if arranged != name:
            yield f"        features = {arranged}"
            name = "features"
        yield f"        return self.{self._of.head}({name})"


def _variables(prefix: GraphPrefix) -> dict[fx.Node, str]:
    """Return the name of every input and of what every operation gives."""
    nodes = [*prefix.inputs, *prefix.operations]
    return {node: f"{node.name}_" if node.name in _TAKEN else node.name for node in nodes}


def _function(target: Any, name: str) -> str:
    """Return an operation as it is called: by the function that torch has for it, if any."""
    if target.namespace == "aten":
        for where, room in (("torch", torch), ("nn.functional", nn.functional)):
            if type(getattr(room, name, None)) is type(torch.relu):
                return f"{where}.{name}"
        return str(target)
    return f"torch.ops.{target}"


_METHODS = {"view", "contiguous", "expand"}
"""Operations that torch has as methods of tensors alone."""


def _pooling(pool: Pool, axis: int, ndim: int, dtype: torch.dtype) -> str:
    """Return what makes features of ndim axes, the width at `axis`, (N, width)."""
    if pool == "flatten":
        return ".flatten(1)"
    positions = "" if axis in (-1, ndim - 1) else f".movedim({axis}, -1)"
    if ndim > 3:
        positions += ".flatten(1, -2)"
    if pool == "mean":
        wide = dtype == torch.float64
        return (
            f"{positions}.mean(dim=1)"
            if wide
            else (f"{positions}.mean(dim=1, dtype=torch.float64).to({dtype})")
        )
    return f"{positions}[:, {0 if pool == 'first' else -1}]"


_PLACE = '''def _place(network: nn.Module, path: str, part: nn.Module | Tensor) -> None:
    """Put a part of the network under its path."""
    *folders, name = path.split(".")
    for folder in folders:
        if folder not in dict(network.named_children()):
            network.add_module(folder, nn.Module())
        network = network.get_submodule(folder)
    setattr(network, name, part)'''.splitlines()
