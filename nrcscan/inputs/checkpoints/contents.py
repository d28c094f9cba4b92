"""What any checkpoint comes down to: tensors by name, and which of them are the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrcscan.errors import InputError
from nrcscan.wording import listed, reason

_PACKED = "._packed_params"


@dataclass(frozen=True)
class Contents:
    """What a checkpoint file holds, before it is settled which of it is the network.

    Attributes:
        path: of the file.
        format: a key of the catalogue's `FORMATS`.
        sha256: of the file's content.
        states: every state dict in the file, by its dotted key; "" is the file itself.
        entries: what stands at the top level: key → description.
        ordered: whether tensors come in the order of the network's definition.
        modules: whole networks in the file, by the key of their state dict.
        fixed_batch: how many samples such a network takes at once; None for any number.
        fixed_dtype: what such a network computes in; None for any.
        notes: what the user should know about such a network.
        hyper_parameters: what a training framework would build the network with.
        lists: the keys of those states that are lists of tensors: their names are places.
        ties: second names of tensors, by the file's own account, each → the name it is held by.
    """

    path: Path
    format: str
    sha256: str
    states: dict[str, dict[str, Tensor]]
    entries: dict[str, str]
    ordered: bool
    modules: dict[str, nn.Module] = field(default_factory=dict)
    fixed_batch: int | None = None
    fixed_dtype: torch.dtype | None = None
    notes: tuple[str, ...] = ()
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()
    ties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorList:
    """Tensors without names of their own, in the order of the network's parameters.

    Attributes:
        tensors: in order.
        beside: the state dict beside them, for what a list of parameters lacks; empty if there is
            none.
        beside_key: where in the file it is.
        named_as: how that state dict gives them their names, in words; empty if it does not fit.
    """

    tensors: tuple[Tensor, ...]
    beside: dict[str, Tensor]
    beside_key: str
    named_as: str


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network.

    Attributes:
        path: of the file.
        format: a key of the catalogue's `FORMATS`.
        sha256: of the file's content.
        state: tensor by name, names as they are in the file.
        state_key: where in the file the state dict was; empty when it is the whole file.
        ordered: whether the order of `state` is the order of the network's definition.
        module: the network itself, when the file holds it.
        fixed_batch: how many samples that network takes at once; None for any number.
        fixed_dtype: what that network computes in; None for any.
        notes: what the user should know about that network.
        hyper_parameters: what a training framework would build the network with.
        aliases: tensors by the second names that the file says they have; a network may ask for
            them, and need not.
        in_order: the tensors as a list, when that is what the file holds.
        choice: what the user should know about how these tensors were chosen.
        left_aside: whether some were left aside.
    """

    path: Path
    format: str
    sha256: str
    state: dict[str, Tensor]
    state_key: str
    ordered: bool
    module: nn.Module | None = None
    fixed_batch: int | None = None
    fixed_dtype: torch.dtype | None = None
    notes: tuple[str, ...] = ()
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, Tensor] = field(default_factory=dict)
    in_order: TensorList | None = None
    choice: tuple[str, ...] = ()
    left_aside: bool = False


def require_plain(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse tensors whose storage is not what their shape says.

    Raises:
        InputError: the tensor is packed or sparse, or its values are not all in the file.
    """
    if tensor.layout != torch.strided or tensor.is_quantized:
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise InputError(f"{path}: {name!r} is a {kind} tensor; save it dense, in floating point")
    if tensor.is_meta:
        raise InputError(f"{path}: {name!r} has a shape but no data; save the network's weights")
    held = tensor.untyped_storage().nbytes() // tensor.itemsize
    if tensor.numel() > held:
        raise InputError(
            f"{path}: {name!r} claims {tensor.numel()} values and holds {held};"
            " save a contiguous copy"
        )


def require_unquantised(path: Path, names: Iterable[str]) -> None:
    """Refuse networks whose weights are packed for integer arithmetic.

    Raises:
        InputError: the weights are kept as integers for quantised layers.
    """
    layers = {name.partition(_PACKED)[0]: None for name in names if _PACKED in name}
    if layers:
        raise InputError(
            f"{path}: is quantised: packed integers are all there is of {listed(layers)}, and no"
            " features are to be seen there; save the network as it was before quantisation"
        )


def damaged(path: Path, error: BaseException) -> InputError:
    """Return the error that a checkpoint cannot be read to its end."""
    return InputError(
        f"{path}: the checkpoint is damaged or cut short ({reason(error)}); save or copy it again"
    )
