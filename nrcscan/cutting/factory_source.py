"""The Python file of a cut network: what makes it anew, without nrcscan and the user's code."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from nrcscan.cutting.layers_in_source import (
    SourceLayer,
    does_nothing,
    flattens,
    source_layer,
    source_step,
)
from nrcscan.cutting.network_graph import INFIX, GraphPrefix
from nrcscan.cutting.python_text import Group, documented, is_plain_name, laid_out, literal
from nrcscan.options.choices import Pool

_aten = torch.ops.aten

_TAKEN = {"self", "torch", "nn", "Tensor", "aten", "features", "OrderedDict", "build", "Cut"}


@dataclass(frozen=True)
class CutSource:
    """A cut network as a file of Python and its weights.

    Attributes:
        text: of the file; its `build()` returns the network.
        state: the network's state dict.
    """

    text: str
    state: Mapping[str, Tensor]


def cut_source(
    prefix: GraphPrefix, weight: Tensor, bias: Tensor, pool: Pool, told: Sequence[str]
) -> CutSource:
    """Return the network up to the features and a linear head, as source and weights.

    Args:
        prefix: what runs before the cut.
        weight: of the head, (n_targets, width), in the precision of the network.
        bias: of the head, (n_targets,).
        pool: how the features become one row per sample.
        told: paragraphs of the file's docstring.
    """
    return _Source(prefix, weight, bias, pool).written(told)


class _Source:
    def __init__(self, prefix: GraphPrefix, weight: Tensor, bias: Tensor, pool: Pool) -> None:
        self._prefix, self._weight, self._bias, self._pool = prefix, weight, bias, pool
        self._layers = _layers(prefix)
        self._renamed = _renamed(prefix, self._layers)
        taken = {name.partition(".")[0] for name in self._renamed.values()}
        names = ("head", "linear_head", "cut_head", *(f"head_{n}" for n in range(1, 1 << 16)))
        self._head = next(name for name in names if name not in taken)
        out, width = weight.shape
        self._head_made = Group("nn.Linear(", [str(width), str(out)])

    def written(self, told: Sequence[str]) -> CutSource:
        steps = self._steps()
        chain = None if steps is None else _sequential(dict(steps))
        body = self._as_class() if chain is None else self._as_chain(chain)
        imports = ["from torch import nn"]
        text = "\n".join(body)
        if "Tensor" in text:
            imports = ["from torch import Tensor, nn"]
        if "torch." in text or "aten." in text:
            imports = ["import torch", *imports]
        if "OrderedDict(" in text:
            imports = ["from collections import OrderedDict", "", *imports]
        if "aten." in text.replace("torch.ops.aten", ""):
            imports += ["", "aten = torch.ops.aten"]
        document = "\n\n".join(map(documented, told))
        return CutSource(
            "\n".join([f'"""{document}\n"""', "", *imports, "", "", text, ""]), self._state()
        )

    def _state(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        everything = dict(self._prefix.state)
        for layer in self._layers.values():
            everything |= layer.beside
        for name, tensor in everything.items():
            found[self._renamed[name]] = tensor.detach().cpu().contiguous().clone()
        found[f"{self._head}.weight"] = self._weight
        found[f"{self._head}.bias"] = self._bias
        return found

    # --- a plain chain: Sequentials ---------------------------------------------------------

    def _steps(self) -> list[tuple[str, Group]] | None:
        """Return every module of a plain chain by its path; None where the network is none."""
        prefix, found = self._prefix, list[tuple[str, Group]]()
        node, visited, last = prefix.features, set[fx.Node](), prefix.values[prefix.features]
        if len(prefix.inputs) > 1 or prefix.layout != "rows":
            return None
        if last.ndim > 2:
            if self._pool != "flatten":
                return None
            found.append(("", Group("nn.Flatten(", [])))
        while node.op != "placeholder":
            visited.add(node)
            layer = self._layers.get(node)
            source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
            source = layer.reads if layer is not None else source
            if source is None or source in prefix.tensors:
                return None
            features = prefix.values[source]
            idle = does_nothing(node) or (flattens(node) and features.ndim == 2)
            if not isinstance(features, Tensor):
                return None
            step = layer.made if layer is not None else source_step(node, features)
            if flattens(node):
                visited.update(n for n in node.all_input_nodes if n.target is _aten.sym_size.int)
            if not idle:
                if step is None:
                    return None
                path = "" if layer is None else self._path(layer)
                found.append((path, step))
            node = source
        if visited != set(prefix.operations):
            return None
        paths = [path for path, _ in found if path]
        if len(set(paths)) < len(paths):
            return None
        named = _named(found[::-1])
        return None if named is None else [*named, (self._head, self._head_made)]

    def _as_chain(self, chain: Group) -> list[str]:
        return [
            "def build() -> nn.Module:",
            '    """Return the network with random weights."""',
            laid_out(chain, 4, "return ", self._in_precision()),
        ]

    def _in_precision(self) -> str:
        dtype = self._weight.dtype
        if dtype == torch.float32:
            return ""
        return ".double()" if dtype == torch.float64 else f".to({dtype})"

    def _path(self, layer: SourceLayer) -> str:
        return self._renamed[layer.tensors[0]].rpartition(".")[0]

    # --- any other network: the operations of its graph -------------------------------------

    def _as_class(self) -> list[str]:
        self._names = _variables(self._prefix)
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
            f'        """Return predictions (N, {len(self._bias)})."""',
            *self._operations(),
            *self._pooled(),
            "",
            "",
            "def build() -> nn.Module:",
            '    """Return the network with random weights."""',
            f"    return Cut(){self._in_precision()}",
        ]

    def _places(self) -> Iterator[tuple[str, Group]]:
        """Yield what is stored under which name: layers, then tensors that are no layer's."""
        owned: set[str] = set()
        for layer in self._layers.values():
            if not owned.issuperset(layer.tensors):
                yield self._path(layer), layer.made
            owned.update(layer.tensors)
        for name, tensor in self._prefix.state.items():
            if name not in owned:
                shape = literal(tuple(tensor.shape))
                usual = tensor.dtype == self._weight.dtype
                told = [shape] if usual else [shape, f"dtype={tensor.dtype}"]
                empty = Group("torch.empty(", told)
                kept = isinstance(tensor, nn.Parameter)
                call = "nn.Parameter(" if kept else "nn.Buffer("
                yield self._renamed[name], Group(call, [empty])
        yield self._head, self._head_made

    def _operations(self) -> Iterator[str]:
        for node in self._prefix.operations:
            if does_nothing(node):
                self._names[node] = self._names[node.args[0]]  # type: ignore[index]
                continue
            layer = self._layers.get(node)
            if layer is not None:
                module = self._member(self._path(layer), "submodule")
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
            return self._member(self._renamed[stored], kind)
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
            arranged += _pooling(self._pool, axis, ndim, tensor.dtype)
        if arranged != name:
            yield f"        features = {arranged}"
            name = "features"
        yield f"        return self.{self._head}({name})"


def _layers(prefix: GraphPrefix) -> dict[fx.Node, SourceLayer]:
    """Return the operations that modules of torch run: one module to each path."""
    found: dict[fx.Node, SourceLayer] = {}
    made: dict[str, Group] = {}
    unlike: set[str] = set()
    for node in prefix.operations:
        layer = source_layer(node, prefix)
        if layer is not None:
            found[node] = layer
            if made.setdefault(layer.path, layer.made) != layer.made:
                unlike.add(layer.path)
    return {node: layer for node, layer in found.items() if layer.path not in unlike}


def _renamed(prefix: GraphPrefix, layers: Mapping[fx.Node, SourceLayer]) -> dict[str, str]:
    """Return under which name every tensor is kept: its own, if a module can have that."""
    own = nn.Sequential()
    names = [*prefix.state, *(name for layer in layers.values() for name in layer.beside)]

    def possible(part: str, *, last: bool) -> str:
        return part if last or not hasattr(own, part) else f"{part}_"

    found = {}
    for name in names:
        *folders, last = name.split(".")
        shown = [*(possible(part, last=False) for part in folders), last]
        if not folders and hasattr(own, last):
            shown = [f"{last}_"]
        found[name] = ".".join(shown)
    return found


def _named(steps: Sequence[tuple[str, Group]]) -> list[tuple[str, Group]] | None:
    """Return steps of a chain with names for those that have none, next to what has one."""
    taken = {path for path, _ in steps if path}
    folder, number, found = "", 0, list[tuple[str, Group]]()
    first = next((path for path, _ in steps if path), "")
    folder = first.rpartition(".")[0]
    last = ""
    for path, step in steps:
        if not path:
            leaf = last.rpartition(".")[2]
            number = int(leaf) + 1 if leaf.isdecimal() else 0
            kind = step.begin.removeprefix("nn.").removesuffix("(").lower()
            options = [str(number)] if leaf.isdecimal() or not last else []
            options += [kind, *(f"{kind}_{n}" for n in range(2, len(steps) + 2))]
            under = f"{folder}." if folder else ""
            path = next(under + one for one in options if under + one not in taken)
            taken.add(path)
        folder, last = path.rpartition(".")[0], path
        found.append((path, step))
    return found


def _sequential(steps: Mapping[str, Group]) -> Group | None:
    """Return a Sequential of Sequentials that runs steps in order; None where names forbid it."""
    children: dict[str, dict[str, Group]] = {}
    before = ""
    for path, step in steps.items():
        first, _, rest = path.partition(".")
        if first in children and first != before:  # other steps are between
            return None
        children.setdefault(first, {})[rest] = step
        before = first
    items: dict[str, Group] = {}
    for name, inner in children.items():
        if "" in inner and len(inner) > 1:
            return None
        made = inner[""] if "" in inner else _sequential(inner)
        if made is None:
            return None
        items[name] = made
    if list(items) == [str(n) for n in range(len(items))]:
        return Group("nn.Sequential(", list(items.values()))
    pairs = [
        Group(f"{literal(name)}: {made.begin}", made.items, made.end)
        for name, made in items.items()
    ]
    return Group("nn.Sequential(", [Group("OrderedDict(", [Group("{", pairs, "}")])])


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
