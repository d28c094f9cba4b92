"""A cut network that is a plain chain, as Sequentials of named modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from nrcscan.cutting.layers_in_source import does_nothing, flattens, source_step
from nrcscan.cutting.python_text import Group, laid_out, literal
from nrcscan.cutting.source_material import SourceMaterial

_aten = torch.ops.aten


def as_sequential(of: SourceMaterial) -> list[str] | None:
    """Return the lines that make a plain chain; None where the network is none."""
    steps = _steps(of)
    chain = None if steps is None else _sequential(dict(steps))
    if chain is None:
        return None
    return [
        "def build() -> nn.Module:",
        '    """Return the network with random weights."""',
        laid_out(chain, 4, "return ", of.in_precision),
    ]


def _steps(of: SourceMaterial) -> list[tuple[str, Group]] | None:
    """Return every module of a plain chain by its path; None where the network is none."""
    prefix, found = of.prefix, list[tuple[str, Group]]()
    node, visited, last = prefix.features, set[fx.Node](), prefix.values[prefix.features]
    if len(prefix.inputs) > 1 or prefix.layout != "rows":
        return None
    if last.ndim > 2:
        if of.pool != "flatten":
            return None
        found.append(("", Group("nn.Flatten(", [])))
    while node.op != "placeholder":
        visited.add(node)
        layer = of.layers.get(node)
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
            path = "" if layer is None else of.path(layer)
            found.append((path, step))
        node = source
    if visited != set(prefix.operations):
        return None
    paths = [path for path, _ in found if path]
    if len(set(paths)) < len(paths):
        return None
    named = _named(found[::-1])
    return None if named is None else [*named, (of.head, of.head_made)]


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
