"""Finds layers that further weights stand beside, such as LoRA, and the map that acts in sum.

The module around them is asked: where it is affine, and a few samples show that it is, what it
makes of the unit vectors is the weight that acts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from nrcscan.network.affine_map import AffineModule
from nrcscan.network.find_layers import LAYER_TYPES, LayerWeight, kind_of

_NAMED = re.compile(r"(?<![a-zA-Z])(?:lora|Lora|LoRA|dora|DoRA|adapters?)(?![a-z])")
_LOW_RANK = re.compile(r"(?<![a-zA-Z])(?:lora|Lora|LoRA|dora|DoRA)(?![a-z])")
_OF_CLASS = re.compile("lora|dora|adapt", re.IGNORECASE)
_BASE = "base_layer"
_MOST = 32
"""Matrices in a module up to which it may be one layer with adapters."""


@dataclass
class Adapted:
    """A module that holds a layer and what stands beside it.

    Attributes:
        path: of the module.
        name: of the layer that the module is.
        module: the module; None of a graph that has none.
        base: the layer's own weight.
        beside: the other weights.
        named: whether names tell that it is such a module, and not the shapes alone.
        call: what the module was first called with, and what it returned.
        base_output: what the layer's own module returned.
    """

    path: str
    name: str
    module: nn.Module | None
    base: LayerWeight
    beside: list[LayerWeight]
    named: bool
    call: tuple[tuple[Any, ...], dict[str, Any], Any] | None = None
    base_output: Any = None

    def watch(self, stack: ExitStack) -> None:
        """Take note of the first call, until the stack is left."""

        def seen(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self.call is None:  # copies, which nobody writes to in place
                self.call = (tuple(map(_copy, args)), kwargs, _copy(output))

        def seen_base(module: nn.Module, args: Any, output: Any) -> None:
            if self.base_output is None and isinstance(output, Tensor):
                self.base_output = output.clone()

        owner = self.base_module
        for module, hook in ((self.module, seen), (owner, seen_base)):
            if module is None or (module is self.module and hook is seen_base):
                continue
            try:
                with_kwargs = {"with_kwargs": True} if hook is seen else {}
                handle = module.register_forward_hook(hook, **with_kwargs)
            except (RuntimeError, AttributeError):  # of a program, whose modules are not called
                continue
            stack.callback(handle.remove)

    @property
    def base_module(self) -> nn.Module | None:
        """The module that runs with the layer's own weight, if it is one of torch's."""
        inner = self.base.parameter.rpartition(".")[0].partition(".parametrizations")[0]
        relative = inner.removeprefix(self.path).strip(".")
        if self.module is None:
            return None
        module = dict(self.module.named_modules()).get(relative)
        return module if isinstance(module, LAYER_TYPES) else None


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Seen:
    """A call of a layer: the tensor that reached it, what tells that apart, and the weight."""

    layer: LayerWeight
    features: Tensor
    source: tuple[Any, ...]
    weight: Tensor


@dataclass
class Settled:
    """The layers of a network, each with the weight that acts.

    Attributes:
        layers: with those that stand beside others left out.
        hidden: the parameters that stand beside others.
        together: layers measured as the map of all that act on their features.
        unknown: layers whose map is not known, and why.
    """

    layers: list[LayerWeight]
    hidden: set[str] = field(default_factory=set)
    together: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def put(self, base: LayerWeight, found: LayerWeight, beside: list[LayerWeight]) -> None:
        """Put a layer in the place of its weight alone, and leave out what stands beside it."""
        self.hidden |= {la.parameter for la in beside}
        self.layers = [
            found if la is base else la
            for la in self.layers
            if not any(la is other for other in beside)
        ]
        if not found.acts_alone:
            self.unknown.append(found.name)
        elif found.acting is not None:
            self.together.append(found.name)


def low_rank(layer: LayerWeight) -> bool:
    """Whether a weight is called as those of low-rank adapters are."""
    return _LOW_RANK.search(_dotted(layer)) is not None


def find_adapted(model: nn.Module, layers: Sequence[LayerWeight]) -> list[Adapted]:
    """Return the modules that may be a layer and its adapters, the innermost of each."""
    found: list[Adapted] = []
    modules: dict[str, nn.Module | None] = dict(model.named_modules())
    for layer in layers:  # a graph outside torch names its weights so, and has no such modules
        path, told, _ = layer.parameter.rpartition(f".{_BASE}.")
        if told:
            modules.setdefault(path, None)
    for path, module in sorted(modules.items(), key=lambda item: -item[0].count(".")):
        prefix = f"{path}." if path else ""
        if any(other.path.startswith(prefix) for other in found):
            continue
        inside = [la for la in layers if _dotted(la).startswith(prefix)]
        wraps = any(_dotted(la).startswith(f"{prefix}{_BASE}.") for la in inside)
        if wraps or 2 <= len(inside) <= _MOST:
            found.extend(_adapted(path, module, inside))
    order = {id(layer): place for place, layer in enumerate(layers)}
    return sorted(found, key=lambda one: order[id(one.base)])


def _adapted(path: str, module: nn.Module | None, inside: list[LayerWeight]) -> Iterator[Adapted]:
    kind = "" if module is None else kind_of(module)
    names = {la.parameter: _dotted(la).removeprefix(path).strip(".") for la in inside}
    own = [la for la in inside if not _NAMED.search(names[la.parameter])]
    named = len(own) < len(inside)
    if any(name.startswith(f"{_BASE}.") for name in names.values()):
        named = True
        own = [la for la in inside if names[la.parameter].split(".")[0] == _BASE]
    own = [la for la in own if not la.recurrent and not _part(la)]
    if not named or len(own) != 1:
        named = _OF_CLASS.search(kind) is not None
        if len(inside) < 3 or not (path or named):
            return
        own = _main(inside)
    if len(own) == 1:
        beside = [la for la in inside if la is not own[0]]
        yield Adapted(path, path or kind, module, own[0], beside, named)


def _dotted(layer: LayerWeight) -> str:
    """Return a weight's name, also where a graph names it by scopes, such as "/0/lora_A/MatMul"."""
    return layer.parameter.strip("/").replace("/", ".")


def _part(layer: LayerWeight) -> bool:
    """Whether a weight is a part of a parametrised one, which is listed on its own."""
    return layer.parameter.rpartition(".")[2] in ("weight_g", "weight_v", "weight_orig") or (
        ".parametrizations." in f".{layer.parameter}"
    )


def _main(inside: list[LayerWeight]) -> list[LayerWeight]:
    """Return the one weight beside which all others lead through fewer channels."""
    largest = max(inside, key=lambda la: la.weight.shape[0] * la.weight.shape[1])
    sizes = set(largest.weight.shape[:2])
    least = min(sizes)
    ranks = [min(la.weight.shape[:2]) for la in inside if la is not largest]
    wide = [max(la.weight.shape[:2]) for la in inside if la is not largest]
    low = max(ranks) < least and all(size <= max(sizes) for size in wide)
    return [largest] if low and any(size in sizes for size in wide) else []


def settle(
    layers: Sequence[LayerWeight], adapted: Sequence[Adapted], calls: Sequence[Seen]
) -> Settled:
    """Give layers the weight that acts, where others stand beside theirs.

    Args:
        layers: every weight of the network.
        adapted: the modules that may be a layer and its adapters, as they were called.
        calls: every use of a weight in that pass, in order.
    """
    settled = Settled(list(layers))
    for one in adapted:
        found = _acting(one, calls)
        if found is not None:
            settled.put(one.base, replace(found, name=one.name), one.beside)
    ran = {id(call.layer): call.layer for call in calls}
    loose = [la for la in settled.layers if id(la) in ran and low_rank(la)]
    sources = {call.source for call in calls if any(call.layer is la for la in loose)}
    for la in list(settled.layers):
        met = any(call.layer is la and call.source in sources for call in calls)
        if met and not any(la is other for other in loose):
            settled.put(la, replace(la, acts_alone=False), loose)
    return settled


def _acting(one: Adapted, calls: Sequence[Seen]) -> LayerWeight | None:
    """Return a layer with the weight that acts; None where it is like any other."""
    base = next((call for call in calls if call.layer is one.base), None)
    if base is None:
        return None
    parallel = [
        call
        for call in calls
        if any(call.layer is la for la in one.beside) and call.source == base.source
    ]
    peft = one.base.parameter.startswith(f"{one.path}.{_BASE}.".lstrip("."))
    if one.module is None or one.call is None:  # a program, whose modules cannot be asked
        return replace(one.base, acts_alone=False) if one.named and parallel else None
    args, kwargs, output = one.call
    if not isinstance(output, Tensor) or not args or not isinstance(args[0], Tensor):
        return replace(one.base, acts_alone=False) if one.named and parallel else None
    before = one.base_output
    if before is not None and before.shape == output.shape and torch.equal(before, output):
        idle = not any(call.layer is la for call in calls for la in one.beside)
        return one.base if peft and idle else None
    if not parallel and not peft:
        return None
    width = base.features.shape
    acting: Tensor | None = None
    if args[0].shape == width and torch.equal(args[0], base.features):
        asked = AffineModule(one.module, args, kwargs, output)
        acting = asked.weight(base.weight, one.base_module)
    if acting is not None:
        return replace(one.base, acting=acting)
    return replace(one.base, acts_alone=False) if one.named else None
