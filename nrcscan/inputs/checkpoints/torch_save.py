"""Files of `torch.save`: state dicts, training checkpoints, and whole networks.

What is data in them is read, whatever lies beside it; every object of another class stays a
placeholder, and a note names what was left out. Only a file that is trusted is unpickled.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrcscan.errors import InputError, NoNetworkError, NrcscanError
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import (
    Contents,
    damaged,
    require_plain,
    require_unquantised,
)
from nrcscan.inputs.checkpoints.left_out import has_arrays, is_plain, left_out, mapping_in
from nrcscan.inputs.checkpoints.pickled_networks import is_network
from nrcscan.inputs.checkpoints.plain_tensor import make_plain, plain
from nrcscan.inputs.checkpoints.states_inside import MAX_DEPTH, StatesInside
from nrcscan.inputs.checkpoints.weights_in_pickles import (
    Opened,
    as_data,
    inert,
    readable,
    unsafe,
)
from nrcscan.inputs.pickles.placeholder import Placeholder
from nrcscan.wording import listed, reason

_OF_SCRIPT = re.compile(r"(__main__|nrcscan_user_\w+)\.(.+)")
_LACKING_NAME = re.compile(r"attribute '([\w.<>]+)' on <module '([\w.]+)'")


def read_torch(path: Path, *, trust: bool = False) -> Contents:
    """Read a file of `torch.save`, or a pickle.

    Args:
        path: of the file.
        trust: unpickle it whatever it asks for, which can run code.

    Raises:
        UnsafeError: it holds no weights beside what could run code, and is not trusted.
        InputError: the file is damaged, or holds something else than weights by name.
    """
    opened = _trusted(path) if trust else as_data(path)
    content, states = opened.content, opened.states
    for state in states.values():
        require_unquantised(path, state)
    if isinstance(content, Mapping):
        require_unquantised(path, _keys(content))
    elif not states:
        held = "single tensor" if isinstance(content, Tensor) else _entry(content)
        raise InputError(f"{path}: holds a {held}, not a state dict; save model.state_dict()")
    if isinstance(content, Mapping) and content.keys() == {"state", "param_groups"}:
        raise NoNetworkError(
            f"{path}: holds an optimizer's state, without a network; save model.state_dict()"
        )
    if not states:
        keys = listed(content) if isinstance(content, Mapping) and content else "none"
        raise InputError(
            f"{path}: holds no tensors by name (keys: {keys}); save model.state_dict()"
        )
    states, unread = readable(path, states)
    for state in states.values():
        for name, tensor in state.items():
            require_plain(path, name, tensor)
    described = {}
    if isinstance(content, Mapping):
        described = {str(name): _entry(value) for name, value in content.items()}
    return Contents(
        path,
        "module" if "" in opened.modules else "torch",
        open_safely.sha256(path),
        states,
        described,
        ordered=True,
        modules=opened.modules,
        notes=(*opened.notes, *unread),
        hyper_parameters=_hyper_parameters(content, trust=trust),
        lists=frozenset(opened.lists),
    )


def load_tensors(path: Path, *, mapped: bool = False) -> Any:
    """Return what a file of `torch.save`, or a pickle, holds as data.

    That is tensors, arrays, numbers, text and containers of them. A `Placeholder` stands for every
    object of another class, an `Unreadable` for a tensor without values of its own.

    Args:
        path: of the file.
        mapped: leave tensors in the file until they are read.

    Raises:
        UnsafeError: there is no tensor and no array beside what could run code.
        InputError: it is damaged.
    """
    remedy = "save plain tensors, as {'x': inputs, 'y': targets}"
    found = inert(path, mapped=mapped, remedy=remedy)
    if found.asked and not has_arrays(found.content):
        raise unsafe(path, found.asked, remedy)
    return found.content


def _hyper_parameters(content: Any, *, trust: bool) -> dict[str, Any]:
    """Return what a training framework would build the network with, as far as it is data."""
    if not isinstance(content, Mapping):
        return {}
    values = content.get("hyper_parameters")
    found = mapping_in(values)
    if found is None and trust:
        found = getattr(values, "__dict__", None)  # of a Namespace
    return {str(name): value for name, value in (found or {}).items() if trust or is_plain(value)}


# --- trusted ----------------------------------------------------------------------------------


def _trusted(path: Path) -> Opened:
    """Return what a file holds, running whatever it asks for.

    Raises:
        InputError: it is damaged, or what it asks for is not there.
    """
    content = _unpickle(path)
    opened = Opened(content, modules=dict(_modules(content)))
    for key, module in opened.modules.items():
        entries = module.state_dict()
        require_unquantised(path, entries)
        make_plain(path, module)
        entries = module.state_dict()
        opened.states[key] = {n: value for n, value in entries.items() if isinstance(value, Tensor)}
    if isinstance(content, Mapping | list | tuple):
        inside = StatesInside(lists=opened.lists)
        for key, state in inside.find(content):
            opened.states[key] = {n: plain(path, n, value) for n, value in state.items()}
    return opened


def _modules(content: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the whole networks in what a file held, with their keys."""
    if isinstance(content, nn.Module):
        yield "", content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, nn.Module):
                yield name, value


def _unpickle(path: Path) -> Any:
    """Return what a file holds, running whatever it asks for."""
    warns = logging.getLogger("torch.distributed.device_mesh")
    before, warns.disabled = warns.disabled, True  # that there is one process is meant
    try:
        with open_safely.opened(path) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TypedStorage is deprecated")  # torch, of itself
            return torch.load(file, map_location="cpu", weights_only=False)
    except (AttributeError, ModuleNotFoundError) as error:
        raise _absent(path, error) from error
    except Exception as error:  # unpickling runs whatever it finds
        raise damaged(path, error) from error
    finally:
        warns.disabled = before


def _absent(path: Path, error: AttributeError | ModuleNotFoundError) -> InputError:
    """Return the error that a class which a file asks for is not to be found."""
    what, remedy = _lacking(path, _wanted(error))
    of_script = _OF_SCRIPT.fullmatch(_wanted(error))
    if not what and of_script is not None:
        module, name = of_script.groups()
        where = "a script or notebook" if module == "__main__" else "another script"
        return InputError(
            f"{path}: the network was pickled in {where}, as __main__.{name}; name the file that"
            f" defines {name} with --model path/file.py"
        )
    if not what:
        return InputError(
            f"{path}: the network's class is not to be found ({reason(error)}); name the folder of"
            " its module with --pythonpath"
        )
    if isinstance(error, ModuleNotFoundError):
        need, also = f"{error.name}, which is not installed", f"install {error.name}"
    else:
        need, also = f"what is not there ({reason(error)})", "name its folder with --pythonpath"
    return InputError(f"{path}: {what} {need}; leave --trust out to {remedy}, or {also}")


def _wanted(error: AttributeError | ModuleNotFoundError) -> str:
    """Return how the name begins of what was not found, "module." or "module.name"."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name}."
    found = _LACKING_NAME.search(str(error))
    return f"{found[2]}.{found[1]}" if found else "?"


def _lacking(path: Path, wanted: str) -> tuple[str, str]:
    """Return what in a file needs what was not found, and what goes without; empty: a network."""
    try:
        found = inert(path)
    except NrcscanError:  # whoever reads it says what is wrong
        return "", ""
    if isinstance(found.content, Mapping):
        for key, value in found.content.items():
            named = left_out(value, all_of=True)
            if not is_network(value) and any(name.startswith(wanted) for name, _ in named):
                return f"its key {str(key)!r} needs", "take the weights alone"
    if any(name.startswith(wanted) for name in found.tensor_classes):
        return "its tensors are of a class that needs", "take them as plain tensors"
    return "", ""


# --- in words ---------------------------------------------------------------------------------


def _keys(content: Mapping[Any, Any]) -> Iterator[str]:
    """Yield every name in a training checkpoint."""
    seen: set[int] = set()
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield from (name for name in value if isinstance(name, str))
        if depth < MAX_DEPTH:
            waiting += [(v, depth + 1) for v in value.values() if isinstance(v, Mapping)]


def _entry(value: Any) -> str:
    """Return what stands under a key, in words."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        tensors = sum(isinstance(v, Tensor) for v in value.values())
        return f"{tensors} tensors" if tensors else f"{type(value).__name__} of {len(value)}"
    if isinstance(value, bool | int | float | str):
        return repr(value) if len(repr(value)) <= 40 else type(value).__name__
    if isinstance(value, Placeholder):
        return value.name
    return type(value).__name__
