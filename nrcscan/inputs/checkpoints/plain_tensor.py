"""Tensors of classes of their own as plain ones."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nrcscan.errors import InputError
from nrcscan.wording import reason

FULL = "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
"""What saves a distributed network whole."""


def plain(where: str | Path, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor as one of torch's own class; a distributed one as a whole.

    Raises:
        InputError: this process has only a part of it, or its class alone can tell its values.
    """
    if type(tensor) in (Tensor, nn.Parameter):
        return tensor
    if hasattr(tensor, "to_local") and hasattr(tensor, "placements"):
        return _whole(where, name, tensor)
    kind = type(tensor)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ and kind is not nn.Buffer:
        raise InputError(
            f"{where}: {name!r} is a {kind.__module__}.{kind.__qualname__}, whose values that class"
            " alone can tell; save it dense, in floating point"
        )
    return tensor.as_subclass(Tensor)


def _whole(where: str | Path, name: str, tensor: Tensor) -> Tensor:
    """Return all of a DTensor.

    Raises:
        InputError: the tensor was shared among processes, and the others' parts are not here.
    """
    try:
        local = tensor.to_local()  # type: ignore[attr-defined]
        summand = any(p.is_partial() for p in tensor.placements)  # type: ignore[attr-defined]
        alone = tensor.device_mesh.size() == 1  # type: ignore[attr-defined]
    except Exception as error:  # without the process group it was made in, torch raises anything
        raise InputError(
            f"{where}: {name!r} is a DTensor that cannot be put together ({reason(error)});"
            f" save all of it: {FULL}"
        ) from error
    if local.shape != tensor.shape or (summand and not alone):
        part = f"{tuple(local.shape)} of {tuple(tensor.shape)}"
        raise InputError(
            f"{where}: {name!r} is a DTensor of which the file has one rank's part,"
            f" {'a summand' if local.shape == tensor.shape else part}; save all of it: {FULL}"
        )
    return plain(where, name, local.detach())


def make_plain(where: str | Path, network: nn.Module) -> None:
    """Replace a network's parameters and buffers by plain tensors, where they are of other classes.

    Raises:
        InputError: this process has only a part of one, or its class alone can tell its values.
    """
    made: dict[int, Tensor] = {}
    for prefix, module in network.named_modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None or not _is_of_another_class(tensor):
                    continue
                if id(tensor) not in made:
                    full = f"{prefix}.{name}" if prefix else name
                    value = plain(where, full, tensor).detach()
                    parameter = held is module._parameters
                    made[id(tensor)] = nn.Parameter(value) if parameter else value
                held[name] = made[id(tensor)]


def _is_of_another_class(tensor: Tensor) -> bool:
    return type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) and not is_lazy(tensor)
