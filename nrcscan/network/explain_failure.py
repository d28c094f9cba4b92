"""Why a network does not take its inputs, said of one sample and of the layer that stopped."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nrcscan.inputs.arrays import parts
from nrcscan.network.capture import Capture
from nrcscan.wording import listed, reason

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_AXES = {1: "steps", 2: "height, width", 3: "depth, height, width"}


def explained(module: nn.Module, inputs: Any, capture: Capture, error: BaseException) -> str:
    """Return in one line why a network stopped, with the next step behind the last semicolon.

    Args:
        module: the network.
        inputs: what it was called with.
        capture: has seen the layers that ran.
        error: what was raised.
    """
    told = f"the network does not take {_samples(inputs)}"
    unbound = _unbound(module, inputs)
    if unbound is not None:
        return f"{told}: {unbound}"
    stopped = _stopped_at(module, error)
    if stopped is not None:
        layer, name, given = stopped
        why = _why(layer, name, given)
        if why is not None:
            return f"{told}: {why}"
    if (short := _short_of(capture)) is not None:
        return f"{told}: {short}; {_CHECK}"
    if isinstance(inputs, Mapping) and isinstance(error, KeyError):
        return f"{told}: its forward looks up {reason(error)}; {_NAME_ALL}"
    if isinstance(inputs, Mapping) and capture.last is None:
        return f"{told}: {reason(error)}; {_SIDE_BY_SIDE}"
    place = ""
    if stopped is not None and stopped[0] is not module:
        place = f" at {stopped[1]} ({type(stopped[0]).__name__})"
    elif capture.last is not None:
        place = f" at or after {capture.last[0].name}"
    step = "use --dtype float64" if "Double" in str(error) else _CHECK
    return f"{told}{place}: {reason(error)}; {step}"


def lacks_memory(error: BaseException) -> bool:
    """Whether there was no memory, as Python, torch's GPUs and torch's processors say it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory")
    )


_SIDE_BY_SIDE = "if it takes one, put them side by side: + in place of , in --x-key"
_CHECK = "check that data and network belong together"


def _samples(inputs: Any) -> str:
    """Return the shapes of a sample, in words."""
    told = [
        (name.removeprefix("the inputs").strip(), tuple(part.shape[1:]))
        for name, part in parts(inputs).items()
    ]
    if len(told) == 1:
        return f"samples of shape {told[0][1]}"
    return "samples of " + listed(f"{name} {shape}" for name, shape in told)


def _unbound(module: nn.Module, inputs: Any) -> str | None:
    """Return what is wrong with the number or names of inputs, if that is what is wrong."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # a program may have no signature
        return None
    required = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
    ]
    given = parts(inputs)
    names = list(inputs) if isinstance(inputs, Mapping) else []
    several = isinstance(inputs, tuple)
    if names and set(names) <= set(signature.parameters):
        lacking = [name for name in required if name not in names]
        if not lacking:
            return None
        gap = f"{listed(lacking)} {'is' if len(lacking) == 1 else 'are'} missing"
        return f"its forward takes {listed(required)}, and {gap}; {_NAME_ALL}"
    if names and len(required) > 1:
        return f"its forward takes {listed(required)}, the data names {listed(names)}; {_NAME_ALL}"
    count = len(given) if several else 1
    most = len(signature.parameters)
    starred = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    if count < len(required) or (count > most and not starred):
        takes = listed(required if count < len(required) else signature.parameters)
        inputs_given = f"{count} input{'s' * (count != 1)}"
        return f"its forward takes {takes}, the data gives {inputs_given}; {_NAME_ALL}"
    return None


_NAME_ALL = "name its inputs with --x-key a,b, or wrap it in a factory"


def _stopped_at(module: nn.Module, error: BaseException) -> tuple[nn.Module, str, Any] | None:
    """Return the innermost module that was running, its name and what it was given.

    A traceback keeps the frames that an error went through, and these know their `self`.
    """
    names = {id(one): name for name, one in module.named_modules()}
    found = None
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "forward" and id(frame.f_locals.get("self")) in names:
            own = frame.f_locals["self"]
            first = frame.f_code.co_varnames[1:2]
            given = frame.f_locals.get(first[0]) if first else None
            found = (own, names[id(own)] or type(own).__name__, given)
        trace = trace.tb_next
    return found


def _short_of(capture: Capture) -> str | None:
    """Return what is wrong where a weight is used without a module of torch around it."""
    if capture.last is None:
        return None
    call, shape = capture.last
    if call.kind.startswith("Conv") or call.weight.ndim != 2 or not shape:
        return None
    takes = call.weight.shape[1]
    if len(shape) == 1:
        return f"a sample is a single number where {call.name} takes {takes} features"
    return None if shape[-1] == takes else f"{_features(shape)}, {call.name} takes {takes}"


def _features(shape: tuple[int, ...]) -> str:
    of = "sample" if len(shape) < 3 else "position"
    return f"{_count(shape[-1], 'feature')} per {of}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _why(layer: nn.Module, name: str, given: Any) -> str | None:
    """Return why a module of torch stopped, and the next step."""
    if not isinstance(given, Tensor):
        return None
    shape = tuple(given.shape)
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return _of_embedding(layer, name, given)
    if isinstance(layer, _CONVOLUTIONS):
        return _of_convolution(layer, name, shape)
    if not shape:
        return None
    if isinstance(layer, nn.Linear) and len(shape) == 1:
        takes = _count(layer.in_features, "feature")
        return f"a single number per sample reaches {name}, which takes {takes}; {_AXIS}"
    if isinstance(layer, nn.MultiheadAttention) and shape[-1] != layer.embed_dim:
        return f"{_features(shape)}, {name} takes {layer.embed_dim:,}; {_CHECK}"
    if isinstance(layer, nn.Linear) and shape[-1] != layer.in_features:
        return f"{_features(shape)}, {name} takes {layer.in_features:,}; {_CHECK}"
    if isinstance(layer, nn.RNNBase):
        if len(shape) != 3:
            axes = f"(steps, {layer.input_size})"
            return f"a sample of shape {shape[1:]} reaches {name}, which takes {axes}; {_AXIS}"
        if shape[-1] != layer.input_size:
            features = _count(shape[-1], "feature")
            return f"{features} per step, {name} takes {layer.input_size:,}; {_CHECK}"
    if isinstance(layer, nn.RNNCellBase) and shape[-1] != layer.input_size:
        return f"{_features(shape)}, {name} takes {layer.input_size:,}; {_CHECK}"
    if isinstance(layer, nn.LayerNorm) and shape[-len(layer.normalized_shape) :] != tuple(
        layer.normalized_shape
    ):
        wanted = tuple(layer.normalized_shape)
        if len(wanted) == 1:
            return f"{_features(shape)}, {name} takes {wanted[0]:,}; {_CHECK}"
        return f"a sample of shape {shape[1:]} reaches {name}, which takes {wanted}; {_CHECK}"
    if isinstance(layer, nn.modules.batchnorm._NormBase | nn.GroupNorm) and len(shape) > 1:
        return _of_norm(layer, name, shape)
    return None


_AXIS = "give the data that axis, or have a factory add it"


def _of_embedding(layer: nn.Embedding | nn.EmbeddingBag, name: str, given: Tensor) -> str | None:
    if given.is_floating_point():
        return (
            f"{name} takes token ids, which are whole numbers, and the inputs have a fraction or"
            " are stored as floats; store them as integers"
        )
    rows = layer.num_embeddings
    wrong = given[(given < 0) | (given >= rows)]
    if wrong.numel() == 0:
        return None
    return (
        f"token id {int(wrong.max() if wrong.max() >= rows else wrong.min())} where {name} has"
        f" {rows} rows, 0 to {rows - 1}; take the tokeniser that the network was trained with"
    )


def _of_norm(layer: Any, name: str, shape: tuple[int, ...]) -> str | None:
    takes = layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
    what = "channel" if len(shape) > 2 else "feature"
    axes = next((axes for axes in (2, 3) if type(layer).__name__.endswith(f"{axes}d")), None)
    if axes is not None and len(shape) != axes + 2:
        wanted = f"({takes}, {_AXES[axes]})"
        return f"a sample of shape {shape[1:]} reaches {name}, which takes {wanted}; {_AXIS}"
    if shape[1] == takes:
        return None
    if shape[-1] == takes and len(shape) - 2 in _AXES:
        return _channels_last(name, shape, what, takes, f"({takes}, {_AXES[len(shape) - 2]})")
    return f"{_count(shape[1], what)} per sample, {name} takes {takes:,}; {_CHECK}"


def _of_convolution(layer: Any, name: str, shape: tuple[int, ...]) -> str | None:
    axes, takes = len(layer.kernel_size), layer.in_channels
    wanted = f"({takes}, {_AXES[axes]})"
    if len(shape) != axes + 2:
        return f"a sample of shape {shape[1:]} reaches {name}, which takes {wanted}; {_AXIS}"
    if shape[1] == takes:
        if all(n >= k for n, k in zip(shape[2:], layer.kernel_size, strict=True)):
            return None
        return (
            f"a sample of shape {shape[1:]} is smaller than the kernel of {name},"
            f" {tuple(layer.kernel_size)}; {_CHECK}"
        )
    if shape[-1] == takes:
        return _channels_last(name, shape, "channel", takes, wanted)
    return f"{_count(shape[1], 'channel')}, {name} takes {takes:,}; {_CHECK}"


def _channels_last(name: str, shape: tuple[int, ...], what: str, takes: int, first: str) -> str:
    return (
        f"{_count(shape[1], what)}, {name} takes {takes:,}: the channels come last, in samples of"
        f" shape {shape[1:]}; put them first, {first}, as np.moveaxis(x, -1, 1) does"
    )
