"""Which state dict of a file is the network, where the user does not say: or that they have to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from torch import Tensor

from nrcscan.errors import UsageError
from nrcscan.wording import listed

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

# An average of the weights over training: it is of the same network as the weights beside it.
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|ewma|swa|averaged?|avg|polyak|shadow)(?:[._\d]|$)", re.I)


def networks_in(states: Mapping[str, dict[str, Tensor]]) -> list[str]:
    """Return the keys of what may be a network: it has a matrix, unless nothing in the file has."""
    return [
        key for key, state in states.items() if any(tensor.ndim > 1 for tensor in state.values())
    ] or list(states)


def default_key(path: Path, states: Mapping[str, dict[str, Tensor]], lists: Collection[str]) -> str:
    """Return the key of the state dict that is taken where none is asked for.

    That is the one under a usual key; weights come before their average.

    Raises:
        UsageError: the file holds several state dicts, and none is called as the network's is.
    """
    networks = networks_in(states)
    named = [key for key in networks if key not in lists] or networks
    usual = [key for key in named if key.split(".")[-1] in STATE_KEYS]
    weights = [key for key in usual if not _AVERAGE.search(key)]
    for found in (weights, usual):
        if len(found) == 1:
            return found[0]
    if not usual and "" in named:
        return ""
    if len(named) == 1:
        return named[0]
    raise several(path, networks)


def several(path: Path, keys: Iterable[str]) -> UsageError:
    """Return the error that several state dicts could be meant."""
    options = listed((f"--state-key {key}" for key in keys if key), "or")
    return UsageError(f"{path}: several state dicts could be meant; choose with {options}")


def others_note(
    taken: str, states: Mapping[str, dict[str, Tensor]], lists: Collection[str]
) -> str | None:
    """Return what to say where a file holds other networks than the one taken, or None."""
    others = [key for key in networks_in(states) if key != taken]
    if not others:
        return None
    kinds = [f"{key}, a list of tensors," if key in lists else key or "the rest" for key in others]
    are = "is" if len(others) == 1 else "are"
    options = listed((f"--state-key {key}" for key in others if key), "or")
    return f"took {taken or 'the tensors at the top level'}; {listed(kinds)} {are} there too" + (
        f": {options}" if options else ""
    )
