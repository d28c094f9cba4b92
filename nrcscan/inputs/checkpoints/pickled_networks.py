"""Whole networks in pickles: their weights, and those of torch's own layers themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from nrcscan.inputs.checkpoints.layers_made_again import NotBuilt, layer_classes, made_again
from nrcscan.inputs.checkpoints.left_out import is_plain
from nrcscan.inputs.pickles.placeholder import Known, PickleRefused, Placeholder, Unreadable

LONGEST_NAME = 5000
"""Of a tensor, with the names of the layers that it is in."""

_DEEPEST = 64
_MOST_LAYERS = 100_000
_FUNCTIONS = {
    "torch.nn.functional.relu": nn.functional.relu,
    "torch.nn.functional.gelu": nn.functional.gelu,
    "torch._C._nn.gelu": nn.functional.gelu,
}
"""What transformer layers keep as their activation."""


def is_network(value: Any) -> bool:
    """Whether a placeholder stands for an `nn.Module`."""
    if not isinstance(value, Placeholder) or not isinstance(value.state, dict):
        return False
    return all(
        isinstance(value.state.get(part), Mapping)
        for part in ("_parameters", "_buffers", "_modules")
    )


def state_dict(network: Placeholder) -> dict[str, Tensor | Unreadable]:
    """Return the state dict of the `nn.Module` that a placeholder stands for.

    Names are as `state_dict()` has them: a module's own parameters and buffers, but for buffers
    that are not kept, then its children's.

    Raises:
        PickleRefused: it has layers without end.
    """
    found: dict[str, Tensor | Unreadable] = {}
    _collect(network, "", found, [])
    return found


def _collect(
    network: Placeholder, prefix: str, found: dict[str, Tensor | Unreadable], met: list[str]
) -> None:
    met.append(prefix)
    if len(met) > _MOST_LAYERS:  # it holds itself
        raise PickleRefused("a network has layers without end")
    state = network.state
    unkept = state.get("_non_persistent_buffers_set", ())
    own = [*state["_parameters"].items(), *state["_buffers"].items()]
    for name, value in own:
        kept = not isinstance(unkept, set) or name not in unkept
        if kept and isinstance(name, str) and isinstance(value, Tensor | Unreadable):
            found[prefix + name] = value
    for name, child in state["_modules"].items():
        if isinstance(name, str) and is_network(child) and prefix.count(".") < _DEEPEST:
            _collect(child, f"{prefix}{name}.", found, met)


class LayerBuilder:
    """Makes networks of torch's own layers from placeholders; what is shared stays shared."""

    def __init__(self) -> None:
        self._classes = layer_classes()
        self._built: dict[int, nn.Module] = {}
        self._parameters: dict[int, nn.Parameter] = {}
        self._under_way: set[int] = set()

    def build(self, network: Placeholder, depth: int = 0) -> nn.Module:
        """Return the network that a placeholder stands for.

        Raises:
            NotBuilt: it holds more than torch's own layers and data.
        """
        if id(network) in self._built:
            return self._built[id(network)]
        if id(network) in self._under_way:
            raise NotBuilt("itself")
        made_of = (network.args, network.kwargs, network.items, network.entries)
        if network.name not in self._classes or made_of != ((), {}, [], {}):
            raise NotBuilt(network.name)
        if depth > _DEEPEST or not is_network(network):
            raise NotBuilt(network.name)
        self._under_way.add(id(network))
        state = dict(network.state)
        for name, value in state.items():
            _require_name(name)
            if "hook" in name and value and type(value) is not bool:
                raise NotBuilt("hooks")
        held = {part: state.pop(part) for part in ("_parameters", "_buffers", "_modules")}
        for name in (name for part in held.values() for name in part):
            _require_name(name)
        module = made_again(
            self._classes[network.name],
            {name: _plain(value) for name, value in state.items() if not _is_own(name)},
            {name: self._parameter(value) for name, value in held["_parameters"].items()},
            {name: _tensor(value) for name, value in held["_buffers"].items()},
            {
                name: None if child is None else self._child(child, depth)
                for name, child in held["_modules"].items()
            },
        )
        self._under_way.discard(id(network))
        self._built[id(network)] = module
        return module

    def _child(self, child: Any, depth: int) -> nn.Module:
        if not isinstance(child, Placeholder):
            raise NotBuilt(f"a {type(child).__name__}")
        return self.build(child, depth + 1)

    def _parameter(self, value: Any) -> nn.Parameter | None:
        tensor = _tensor(value)
        if tensor is None:
            return None
        if id(tensor) not in self._parameters:
            grad = tensor.is_floating_point() or tensor.is_complex()
            self._parameters[id(tensor)] = nn.Parameter(tensor, requires_grad=grad)
        return self._parameters[id(tensor)]


def _require_name(name: Any) -> None:
    if not isinstance(name, str):
        raise NotBuilt(f"a name that is a {type(name).__name__}")
    if len(name) > LONGEST_NAME:
        raise NotBuilt("a name without end")


def _is_own(name: str) -> bool:
    """Whether this is what torch keeps of every module, of which a file has no say."""
    return "hook" in name or name == "_non_persistent_buffers_set"


def _tensor(value: Any) -> Tensor | None:
    if value is not None and not isinstance(value, Tensor):
        raise NotBuilt(value.name if isinstance(value, Placeholder) else type(value).__name__)
    return value


def _plain(value: Any) -> Any:
    """Return what a layer keeps beside its weights: data, or a function that is known."""
    if isinstance(value, Known) and value.state is None:
        raise NotBuilt(value.name)
    if isinstance(value, Placeholder):
        if value.args is None and value.name in _FUNCTIONS:
            return _FUNCTIONS[value.name]
        raise NotBuilt(value.name)
    if is_plain(value):
        return value
    raise NotBuilt(f"a {type(value).__name__}")
