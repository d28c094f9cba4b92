"""torch's own layers, made again by their own constructors from what a file says of them.

A file's word on a layer is its constructor's arguments and its weights, and nothing else of it is
taken over: no method, hook or attribute that the layer would not have by itself. Its weights are
those that the layer says it has, of their shapes.
"""

from __future__ import annotations

import inspect
import keyword
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_OWN = frozenset(nn.Module().__dict__)
"""What every module has."""

_HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Layers that hold others, by any names; their classes have to be these themselves."""

_DEPRECATED = frozenset({"min_value", "max_value", "size_average", "reduce"})
_SAID_BY = {"bias": ("bias", "in_proj_bias"), "add_bias_kv": ("bias_k",)}
"""Arguments that are no attributes: whether a layer has such a parameter."""

_NAMED_ELSE = {"PairwiseDistance": {"p": "norm"}}
_MOST_LAYERS = 500
_LONGEST = 64
_LARGEST = 2**40

_ATTENTION, _NORM = ("MultiheadAttention",), ("LayerNorm", "RMSNorm", "BatchNorm1d", "NoneType")
_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "TransformerEncoderLayer": {
        "self_attn": _ATTENTION,
        **dict.fromkeys(("linear1", "linear2"), ("Linear",)),
        **dict.fromkeys(("norm1", "norm2"), ("LayerNorm",)),
        **dict.fromkeys(("dropout", "dropout1", "dropout2"), ("Dropout",)),
    },
    "TransformerEncoder": {"layers": ("ModuleList",), "norm": _NORM},
    "TransformerDecoder": {"layers": ("ModuleList",), "norm": _NORM},
    "Transformer": {"encoder": ("TransformerEncoder",), "decoder": ("TransformerDecoder",)},
}
_PARTS["TransformerDecoderLayer"] = _PARTS["TransformerEncoderLayer"] | {
    "multihead_attn": _ATTENTION,
    "norm3": ("LayerNorm",),
    "dropout3": ("Dropout",),
}
"""Layers made of others: what each part may be."""

_SETTINGS: dict[str, dict[str, Any]] = {
    "TransformerEncoderLayer": {"norm_first": False, "activation_relu_or_gelu": 0},
    "TransformerDecoderLayer": {"norm_first": False},
    "TransformerEncoder": {
        "num_layers": 0,
        "enable_nested_tensor": False,
        "use_nested_tensor": False,
        "mask_check": True,
    },
    "TransformerDecoder": {"num_layers": 0},
    "Transformer": {"d_model": 0, "nhead": 0, "batch_first": False},
}
"""What they say beside, and what files of before it was there mean."""


class NotBuilt(Exception):
    """A network is not of torch's own layers alone; the message names what else there is."""


def layer_classes() -> dict[str, type[nn.Module]]:
    """Return torch's own layers: exactly the classes that torch.nn itself defines and offers.

    Their state is tensors, numbers and each other, so a network of them is data.
    """
    classes = {
        value
        for value in vars(nn).values()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__.startswith("torch.nn.modules.")
    }
    classes.add(nn.modules.linear.NonDynamicallyQuantizableLinear)
    return {f"{value.__module__}.{value.__qualname__}": value for value in classes}


def made_again(
    kind: type[nn.Module],
    said: Mapping[str, Any],
    parameters: Mapping[str, nn.Parameter | None],
    buffers: Mapping[str, Tensor | None],
    parts: Mapping[str, nn.Module | None],
) -> nn.Module:
    """Return a layer.

    Args:
        kind: one of `layer_classes`.
        said: its other attributes in the file: data, or functions that are known.
        parameters: its own, by name.
        buffers: its own, by name.
        parts: the layers in it, by name.

    Raises:
        NotBuilt: the file says what such a layer cannot be.
    """
    for name in said:
        if hasattr(kind, name) or not name.isidentifier() or keyword.iskeyword(name):
            raise NotBuilt(f"a {name[:_LONGEST]!r} of its own")
    training = said.get("training", True)
    if type(training) is not bool:
        raise NotBuilt("no word on whether it trains")
    name = kind.__name__
    if kind in _HOLDERS:
        module = _holding(kind, parts)
    elif name in _PARTS:
        module = _of_parts(kind, said, parts)
    else:
        module = _constructed(kind, said, parameters, buffers)
        _replace(module, parts)
    _fill(module, parameters, buffers)
    module.training = training
    return module


def _holding(kind: type[nn.Module], parts: Mapping[str, nn.Module | None]) -> nn.Module:
    """Return layers in a row, or by name; that a name is none of its methods', torch sees to."""
    module = kind()
    places = [str(place) for place in range(len(parts))]
    if kind is nn.ModuleList and list(parts) != places:
        raise NotBuilt("a list with names of its own")
    for name, part in parts.items():
        try:
            module.add_module(name, part)
        except (KeyError, TypeError) as error:
            raise NotBuilt(f"a layer {name[:_LONGEST]!r}") from error
    return module


def _of_parts(
    kind: type[nn.Module], said: Mapping[str, Any], parts: Mapping[str, nn.Module | None]
) -> nn.Module:
    """Return a layer whose parts the file has, and say of each what it may be."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    wanted = dict(_PARTS[kind.__name__])
    has_activation = "linear1" in wanted
    if has_activation and "activation" in parts:
        wanted["activation"] = ()
    if parts.keys() | {"norm"} != wanted.keys() | {"norm"}:
        raise NotBuilt(f"parts that no {kind.__name__} has")
    for name, part in parts.items():
        classes = wanted[name]
        if (type(part).__name__ not in classes) if classes else part is None:
            raise NotBuilt(f"a {type(part).__name__} as its {name}")
        if part is None:
            module.register_module(name, None)
        else:
            module.add_module(name, part)
    if "norm" in wanted and "norm" not in parts:
        module.register_module("norm", None)
    for name, usual in _SETTINGS[kind.__name__].items():
        value = said.get(name, usual)
        if type(value) is not type(usual):
            raise NotBuilt(f"a {type(value).__name__} as its {name}")
        setattr(module, name, value)
    if has_activation and "activation" not in parts:
        function = said.get("activation", nn.functional.relu)
        if not callable(function):
            raise NotBuilt("an activation that is no function")
        module.activation = function
    return module


def _constructed(
    kind: type[nn.Module],
    said: Mapping[str, Any],
    parameters: Mapping[str, nn.Parameter | None],
    buffers: Mapping[str, Tensor | None],
) -> nn.Module:
    """Return a layer without weights as its constructor makes it."""
    arguments = _arguments(kind, said, {**parameters, **buffers})
    if arguments.get("num_layers", 0) > _MOST_LAYERS:
        raise NotBuilt(f"a {kind.__name__} of {arguments['num_layers']} layers")
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a constructor advises is too late here
            module = kind(**arguments)
    except Exception as error:  # whatever a constructor makes of a hostile argument
        raise NotBuilt(f"what no {kind.__name__} is made of") from error
    for name, value in module.__dict__.items():
        if name in _OWN or name not in said or isinstance(value, Tensor | list):
            continue
        if _plain(said[name]) != _plain(value):
            raise NotBuilt(f"a {name} that no such {kind.__name__} has")
    return module


def _arguments(
    kind: type[nn.Module], said: Mapping[str, Any], tensors: Mapping[str, Tensor | None]
) -> dict[str, Any]:
    """Return what a layer's constructor was called with."""
    constructor: Any = kind.__init__
    found: dict[str, Any] = {}
    of_rnn = issubclass(kind, nn.RNNBase)
    if of_rnn:
        constructor = nn.RNNBase.__init__
        if kind is nn.RNN:
            found["nonlinearity"] = str(said.get("mode")).removeprefix("RNN_").lower()
    for name in list(inspect.signature(constructor).parameters)[1:]:
        source = _NAMED_ELSE.get(kind.__name__, {}).get(name, name)
        if name in _DEPRECATED or (of_rnn and name in _fixed(kind)):
            continue
        if source in said:
            found[name] = _argument(kind, name, said[source])
        elif name in _SAID_BY:
            found[name] = any(tensors.get(held) is not None for held in _SAID_BY[name])
    return found


def _fixed(kind: type[nn.Module]) -> tuple[str, ...]:
    """Return which arguments of recurrent layers a class sets itself."""
    return {nn.LSTM: ("mode",), nn.RNNBase: ()}.get(kind, ("mode", "proj_size"))


def _argument(kind: type[nn.Module], name: str, value: Any) -> Any:
    """Return an argument, once it is known to be a number, a word, or a few of them."""
    values = value if isinstance(value, tuple | list) else [value]
    simple = len(values) <= _LONGEST and all(
        type(one) in (bool, int, float, str, type(None)) for one in values
    )
    small = simple and all(
        len(one) <= _LONGEST if isinstance(one, str) else not isinstance(one, int) or one < _LARGEST
        for one in values
    )
    if not small:
        raise NotBuilt(f"a {name} that no {kind.__name__} has")
    return _plain(value)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else value


def _fill(
    module: nn.Module,
    parameters: Mapping[str, nn.Parameter | None],
    buffers: Mapping[str, Tensor | None],
) -> None:
    """Give a layer its own weights, which have to be those that it says it has."""
    kind = type(module).__name__
    for name, tensor in (*parameters.items(), *buffers.items()):
        if tensor is not None and name not in {**module._parameters, **module._buffers}:
            raise NotBuilt(f"a tensor {name[:_LONGEST]!r} in a {kind}")
    for name, own in list(module._parameters.items()):
        given = parameters.get(name)
        _require_like(kind, name, own, given)
        if given is not None and not (given.is_floating_point() or given.is_complex()):
            raise NotBuilt(f"whole numbers as the {name} of a {kind}")
        setattr(module, name, given)
    for name, own_buffer in list(module._buffers.items()):
        held = buffers.get(name)
        if held is None and own_buffer is not None and name == "num_batches_tracked":
            held = torch.tensor(0)  # which came with torch 0.4.1
        _require_like(kind, name, own_buffer, held)
        module._buffers[name] = held


def _replace(module: nn.Module, parts: Mapping[str, nn.Module | None]) -> None:
    """Give a layer the parts that it makes itself, which have to be of the same kinds."""
    kind = type(module).__name__
    if parts.keys() != module._modules.keys():
        raise NotBuilt(f"layers in a {kind}")
    for name, part in parts.items():
        own_part = module._modules[name]
        if part is None or type(part) is not type(own_part):
            raise NotBuilt(f"a {type(part).__name__} as the {name} of a {kind}")
        for inside, tensor in own_part._parameters.items():
            _require_like(kind, f"{name}.{inside}", tensor, part._parameters[inside])
        module._modules[name] = part


def _require_like(kind: str, name: str, own: Tensor | None, given: Tensor | None) -> None:
    if (own is None) != (given is None):
        raise NotBuilt(f"a {kind} {'without' if given is None else 'with'} a {name}")
    if own is not None and given is not None and own.shape != given.shape:
        raise NotBuilt(f"a {name} of shape {tuple(given.shape)} in a {kind} of {tuple(own.shape)}")
