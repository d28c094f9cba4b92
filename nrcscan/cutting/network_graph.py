"""The part of a network that runs before a layer, as the operations of its exported graph.

The network is exported by torch, and its graph run once under the eyes of the same `Capture` that
extraction uses: so the call of a layer is known by the same name, and what reaches it is one of
the graph's tensors. What that tensor depends on is the part that is kept.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from torch.utils import _pytree as pytree

from nrcscan.cutting.watched_graph import WatchedGraph
from nrcscan.errors import InputError, UnsafeError
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.evaluation_mode import evaluating
from nrcscan.network.features_from_tensor import Layout
from nrcscan.wording import reason

INFIX: Mapping[Any, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.truediv: "/",
    operator.mod: "%",
}
"""What a graph computes of the sizes of tensors."""


@dataclass(frozen=True)
class GraphPrefix:
    """The operations that a tensor depends on.

    Attributes:
        layer: the call that reads it.
        inputs: the nodes of the network's inputs, in order, whether they are used or not.
        operations: the nodes that compute, in order.
        features: the node whose tensor reaches the layer.
        tensors: node of a stored tensor → its name in the network, one name for each tensor.
        state: those tensors, by name.
        buffers: all of the network that are no parameters, by name.
        channel_axis: where the width is in what reaches the layer.
        layout: where the samples are.
        values: node → what it was on a few samples.
    """

    layer: str
    inputs: tuple[fx.Node, ...]
    operations: tuple[fx.Node, ...]
    features: fx.Node
    tensors: Mapping[fx.Node, str]
    state: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    channel_axis: int
    layout: Layout
    values: Mapping[fx.Node, Any]


def plain(module: nn.Module) -> nn.Module:
    """Return a network in place of whose parametrised weights are what these come to."""
    for part in module.modules():
        if is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                remove_parametrizations(part, name, leave_parametrized=True)
    return module


def truncated(module: nn.Module, inputs: Any, plan: CallPlan, layer: str) -> GraphPrefix:
    """Return what of a network runs before a layer.

    Args:
        module: the network, without parametrised weights; it is left as it is.
        inputs: a few samples as the network takes them: a tensor, a tuple or a dict of them.
        plan: what a probe of the network found.
        layer: the call to cut before.

    Raises:
        InputError: the network cannot be exported, or no tensor of it is what reaches the layer.
        UnsafeError: a name in it would be run as code.
    """
    args, kwargs = _call_with(module, inputs)
    _require_inert_names(module, kwargs)
    graph = _exported(module, args, kwargs)
    seen = WatchedGraph(graph, plan, layer)
    given = [node for node in graph.graph.nodes if node.op == "placeholder"]
    leaves = pytree.tree_leaves((args, kwargs))
    with evaluating(graph):
        seen.watch(leaves)
    if seen.at is None:
        raise InputError(
            f"{layer}: the network does not call it as it runs in the graph that torch.export makes"
            " of it; cut before another layer"
        )
    features = seen.node_of_features()
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    before = [n for n in graph.graph.nodes if order[n] < order[seen.at]]
    kept = _needed(features, before, seen.env)
    _require_operations(kept, graph)
    tensors, state = _state(graph, kept)
    call = seen.call
    assert call is not None
    return GraphPrefix(
        layer=layer,
        inputs=tuple(given),
        operations=tuple(n for n in kept if n.op == "call_function"),
        features=features,
        tensors=tensors,
        state=state,
        buffers=dict(graph.named_buffers()),
        channel_axis=call.channel_axis,
        layout=plan.layouts[layer],
        values=seen.env,
    )


def _call_with(module: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return with which arguments a network is called: a dict by names, as `Forward` has it."""
    if isinstance(inputs, tuple):
        return inputs, {}
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs,), {}


def _require_inert_names(module: nn.Module, inputs: Iterable[str]) -> None:
    """Refuse names that torch.export would write into code that it runs, and that end a string.

    Raises:
        UnsafeError: a name of a layer, tensor or input has a quote, a backslash or a control
            character in it.
    """
    parts = dict(module.named_modules(remove_duplicate=False))
    tensors = (*module.named_parameters(remove_duplicate=False), *module.named_buffers())
    for name in (*parts, *(name for name, _ in tensors), *inputs):
        if not name.isprintable() or set(name) & set("\"'\\"):
            raise UnsafeError(
                f"{name}: torch.export would run a name with quotes, backslashes or control"
                " characters as code, so the network is not cut; rename it in the checkpoint"
            )


def _exported(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> fx.GraphModule:
    """Return a network's graph of tensor operations, for any number of samples.

    Raises:
        InputError: torch.export cannot follow the network's code, or the network takes a fixed
            number of samples.
    """
    any_number: Any = tuple({0: Dim.AUTO} for _ in args)
    if kwargs:
        any_number = {name: {0: Dim.AUTO} for name in kwargs}
    for strict in (False, True):  # strictly, `len(x)` is no number, but that takes longer
        try:
            with torch.no_grad(), _slow_attention(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the network's code does
                program = torch.export.export(
                    module, args, dict(kwargs), dynamic_shapes=any_number, strict=strict
                )
                graph: fx.GraphModule = program.module()
        except Exception as error:  # the network's own code, and what torch makes of it
            raise InputError(
                "the network cannot be cut, as torch.export cannot follow it"
                f" ({type(error).__name__}: {reason(error)}); write its forward without branches"
                " that depend on the data, or have a factory return a network without them"
            ) from error
        given = [node for node in graph.graph.nodes if node.op == "placeholder"]
        if not any(str(node.meta["val"].shape[0]).isdecimal() for node in given):
            return graph
    raise InputError(
        f"the network cannot be cut, as it takes {len(pytree.tree_leaves((args, kwargs))[0])}"
        " samples and no other number, once torch.export has followed it; have its forward take"
        " the number of samples from x.shape"
    )


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Have attention run as the operations it is made of, in which layers can be seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _needed(
    features: fx.Node, before: Sequence[fx.Node], values: Mapping[fx.Node, Any]
) -> list[fx.Node]:
    """Return the nodes that a tensor depends on, in order: what writes to one in place too."""
    wanted = {features}
    count = 0
    while len(wanted) > count:
        count = len(wanted)
        for node in reversed(before):
            if node in wanted:
                wanted.update(node.all_input_nodes)
        memory = {where for node in wanted for where in _memory(values.get(node))}
        wanted.update(n for n in before if _writes_to(n, values) & memory)
    return [node for node in before if node in wanted]


def _writes_to(node: fx.Node, values: Mapping[fx.Node, Any]) -> set[int]:
    """Return the memory that a node writes to in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return set()
    pairs = zip(schema.arguments, node.args, strict=False)
    written = [value for one, value in pairs if one.alias_info and one.alias_info.is_write]
    return {where for value in written for where in _memory(values.get(value))}  # type: ignore[arg-type]


def _memory(value: Any) -> set[int]:
    return {value.untyped_storage().data_ptr()} if isinstance(value, Tensor) else set()


def _require_operations(kept: Sequence[fx.Node], graph: fx.GraphModule) -> None:
    """Refuse graphs within the graph, and operations that are not torch's.

    Raises:
        InputError: the network has branches or loops that torch.export keeps as such, or
            operations of another library.
    """
    for node in kept:
        inner = node.op == "get_attr" and not isinstance(_attribute(graph, node), Tensor)
        if node.op == "call_module" or inner or not (node.op != "call_function" or _own(node)):
            raise InputError(
                f"the network cannot be cut here: {node.target} runs before, a branch, a loop or an"
                " operation that torch alone does not have; cut before it, or have a factory return"
                " a network without it"
            )


def _own(node: fx.Node) -> bool:
    """Whether torch alone can run an operation, written as a line of Python."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target.namespace in ("aten", "prims")
    return node.target is operator.getitem or node.target in INFIX


def _attribute(graph: fx.GraphModule, node: fx.Node) -> Any:
    found: Any = graph
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found


def _state(
    graph: fx.GraphModule, kept: Sequence[fx.Node]
) -> tuple[dict[fx.Node, str], dict[str, Tensor]]:
    """Return which stored tensor each node is, and these tensors, a shared one once."""
    names: dict[int, str] = {}
    tensors: dict[fx.Node, str] = {}
    state: dict[str, Tensor] = {}
    for node in kept:
        if node.op == "get_attr":
            tensor = _attribute(graph, node)
            tensors[node] = names.setdefault(id(tensor), str(node.target))
            state[tensors[node]] = tensor
    return tensors, state
