"""Tells the weights that a network computes from its parameters alone, whenever it runs.

Weight and spectral normalisation, masks of pruning, standardised or scaled kernels: what then
acts on the features is no parameter, but a tensor made of some. Whatever a deterministic
operation makes of parameters, buffers and constants alone is the same in every pass.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from nrcscan.network.find_layers import LayerWeight, kind_of

_PARAMETRIZATIONS = "parametrizations"
_RECURRENT = re.compile(r"\bweight_[ih]h_l\d+(_reverse)?(?![a-z])")


class Constants:
    """The tensors that a network holds, by where they are in memory.

    Args:
        model: the network.
        layers: its weights, whose names stay theirs.
        hidden: parameters of which no layer is made.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[LayerWeight], hidden: Collection[str] = ()
    ) -> None:
        self.origins: dict[int, frozenset[str]] = {}
        """Memory → the floating-point parameters in it; those of a buffer are none."""
        self._alive: list[Tensor] = []  # what hooks replace must not leave its place to another
        for path, module in model.named_modules():
            for leaf, tensor in _held(module):
                self._alive.append(tensor)
                names = frozenset((f"{path}.{leaf}" if path else leaf,))
                own = isinstance(tensor, nn.Parameter) and tensor.is_floating_point()
                where = place(tensor)
                self.origins[where] = self.origins.get(where, frozenset()) | (
                    names if own else frozenset()
                )
        self._kind = kind_of(model)
        self._own = {layer.name: layer for layer in layers}
        self.fed: dict[str, LayerWeight] = {}
        """Layers that were seen to run on constants, which no sample reaches."""
        self._hidden = frozenset(hidden)
        self._given: dict[frozenset[str], LayerWeight] = {}

    def layer(self, origins: frozenset[str], weight: Tensor) -> LayerWeight | None:
        """Return the layer that a weight made of these parameters belongs to, if there is one."""
        if origins not in self._given:
            if origins & self._hidden:
                return None
            made = self._made(origins, weight)
            if made is None:
                return None
            self._given[origins] = made
        return self._given[origins]

    @property
    def play_a_part(self) -> bool:
        """Whether any layer ran with a computed weight, or on constants."""
        return bool(self._given or self.fed)

    @property
    def used(self) -> frozenset[str]:
        """The parameters that weights were seen to be computed from."""
        return frozenset().union(*self._given)

    def _made(self, origins: frozenset[str], weight: Tensor) -> LayerWeight | None:
        owners = {_owner(name) for name in origins}
        levels = zip(*(owner.split(".") for owner in owners), strict=False)
        path = ".".join(names[0] for names in takewhile(lambda n: len(set(n)) == 1, levels))
        if not path and owners != {""}:
            return None  # of parts of the network that have nothing to do with each other
        parts = {found[0] if (found := _RECURRENT.search(name)) else "" for name in origins}
        name = path or self._kind
        if len(parts) == 1 and (part := parts.pop()):  # of several weights of one module
            name = f"{path}.{part}" if path else part
        own = self._own.get(name)
        raw = own is not None and isinstance(own.weight, nn.Parameter)
        if own is not None and (not raw or (f"{path}.weight" if path else "weight") in origins):
            return own
        taken = {layer.name for layer in self._given.values()}
        if raw or name in taken:  # beside a weight that runs as it is, or another computed one
            name = min(origins, key=lambda origin: (len(origin), origin))
        return None if name in taken else LayerWeight(name, weight, name, False, True)


class ComputedWeights:
    """Follows, through one pass, what is made of a network's constants alone."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._origins = dict(constants.origins)
        self._kept: list[Tensor] = []  # so that no other tensor takes the place of one

    def after(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """Take note of what an operation has made of its arguments."""
        given = list(tensors((*args, *kwargs.values())))
        places = [place(tensor) for tensor in given]
        constant = torch.Tag.nondeterministic_seeded not in func.tags and all(
            where in self._origins for where in places
        )
        if constant:
            origins = frozenset().union(*(self._origins[where] for where in places))
            for tensor in tensors((out,)):
                self._origins[place(tensor)] = origins
                self._kept.append(tensor)
        elif func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    for tensor in tensors((value,)):
                        self._origins.pop(place(tensor), None)

    def constant(self, features: Tensor, layer: LayerWeight) -> bool:
        """Say whether what reaches a layer is a constant, which no sample has a part in."""
        if place(features) not in self._origins:
            return False
        self._constants.fed.setdefault(layer.name, layer)
        return True

    def layer(self, weight: Tensor, features: Tensor) -> LayerWeight | None:
        """Return the layer whose computed weight this is, where features of samples meet it."""
        where = place(weight)
        origins = self._origins.get(where)
        if not origins or where in self._constants.origins or place(features) in self._origins:
            return None
        return self._constants.layer(origins, weight)


def _held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module: parameters, buffers, and plain attributes."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield name, value


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among some values, and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


def place(tensor: Tensor) -> int:
    """Return where a tensor's storage is; one without has a place of its own."""
    if tensor.layout != torch.strided:
        return -id(tensor)
    return int(tensor.untyped_storage().data_ptr())


def memory(tensor: Tensor) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return what a live tensor occupies, the same for its transpose."""
    axes = zip(tensor.shape, tensor.stride(), strict=True)
    order = sorted(axes) if tensor.ndim == 2 else axes
    return tensor.data_ptr(), tuple((n, step if n > 1 else 0) for n, step in order)


def _owner(name: str) -> str:
    """Return the path of the module whose weight a parameter has to do with.

    >>> _owner("0.parametrizations.weight.original0"), _owner("0.weight_g")
    ('0', '0')
    """
    path = name.split(".")[:-1]
    return ".".join(path[: path.index(_PARAMETRIZATIONS)] if _PARAMETRIZATIONS in path else path)
