"""What any checkpoint comes down to: tensors by name, and which of them are the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrcscan.errors import InputError, UsageError
from nrcscan.wording import listed, reason

STATE_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "ema",
    "ema_state_dict",
    "model_ema",
)
"""Keys under which training scripts keep a network's state dict."""

_PACKED = "._packed_params"

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every key."""


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


def choose(contents: Contents, state_key: str | None) -> Checkpoint:
    """Take one network's weights from what a file holds.

    Raises:
        UsageError: `state_key` is needed or names nothing.
    """
    key = _choose_key(contents, state_key)
    return Checkpoint(
        contents.path,
        contents.format,
        contents.sha256,
        contents.states[key],
        key,
        contents.ordered,
        contents.modules.get(key),
        contents.fixed_batch,
        contents.fixed_dtype,
        contents.notes,
        contents.hyper_parameters,
    )


def _choose_key(contents: Contents, state_key: str | None) -> str:
    path, states = contents.path, contents.states
    if state_key is not None:
        if state_key not in states:
            raise UsageError(
                f"{path}: no state dict under {state_key!r}; --state-key is one of"
                f" {listed(repr(key) for key in states)}"
            )
        return state_key
    usual = [key for key in states if key and key.split(".")[-1] in STATE_KEYS]
    if len(usual) == 1:
        return usual[0]
    if not usual and "" in states:
        return ""
    if len(states) == 1:
        return next(iter(states))
    options = listed((f"--state-key {key}" for key in states if key), "or")
    raise UsageError(f"{path}: several state dicts could be meant; choose with {options}")


def stripped(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield a state dict as it is, then with each wrapper prefix in turn taken off its keys.

    The counter that weight averaging keeps beside the wrapped network goes with its wrapper.

    >>> [list(s) for s in stripped({"module._orig_mod.weight": torch.zeros(1)})]
    [['module._orig_mod.weight'], ['_orig_mod.weight'], ['weight']]
    """
    current = dict(state)
    while True:
        yield current
        names = [name for name in current if name != "n_averaged"]
        prefix = next((p for p in WRAPPER_PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None or not names:
            return
        current = {name.removeprefix(prefix): current[name] for name in names}


def require_plain(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse tensors whose storage is not what their shape says."""
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
    """Refuse networks whose weights are packed for integer arithmetic."""
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
