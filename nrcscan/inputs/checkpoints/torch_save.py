"""Files of `torch.save`: state dicts, training checkpoints, and whole networks.

They are opened with ``weights_only=True``; what needs more than that is refused with the names
it asks for, unless the user trusts the file.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nrcscan.errors import InputError, NoNetworkError, UnsafeError
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import (
    Contents,
    damaged,
    require_plain,
    require_unquantised,
)
from nrcscan.inputs.checkpoints.pickle_globals import unsafe_globals, wanted_globals
from nrcscan.inputs.checkpoints.signs import is_tar
from nrcscan.inputs.checkpoints.states_inside import (
    MAX_DEPTH,
    is_list,
    lists_inside,
    states_inside,
)
from nrcscan.wording import listed, reason

# NumPy's numbers, such as a best loss beside the weights: a dtype and bytes, no code.
_NUMBERS: list[Any] = [
    np.float64(0).__reduce__()[0],
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # before NumPy 2
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]


def read_torch(path: Path, *, trust: bool = False) -> Contents:
    """Read a file of `torch.save`.

    Args:
        path: of the file.
        trust: unpickle it whatever it asks for, which can run code.

    Raises:
        UnsafeError: it asks for more than data and torch's own layers, and is not trusted.
        InputError: it is damaged, or holds no weights.
    """
    if not trust:
        _refuse_tar(path)
    content = _unpickle(path) if trust else _load_layers(path)
    modules = dict(_modules(content))
    states = {}
    for key, module in modules.items():
        entries = module.state_dict()
        require_unquantised(path, entries)
        states[key] = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    if isinstance(content, Mapping):
        require_unquantised(path, _keys(content))
    if not isinstance(content, tuple) or not is_list(content):  # a pair of tensors is data
        states |= dict(states_inside(content))
    if not isinstance(content, Mapping) and not states:
        held = "single tensor" if isinstance(content, Tensor) else type(content).__name__
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
    for state in states.values():
        for name, tensor in state.items():
            require_plain(path, name, tensor)
    described, hyper_parameters = {}, {}
    if isinstance(content, Mapping):
        described = {str(name): _entry(value) for name, value in content.items()}
        found = content.get("hyper_parameters")
        if isinstance(found, Mapping):
            hyper_parameters = {str(name): value for name, value in found.items()}
    return Contents(
        path,
        "module" if "" in modules else "torch",
        open_safely.sha256(path),
        states,
        described,
        ordered=True,
        modules=modules,
        hyper_parameters=hyper_parameters,
        lists=frozenset(lists_inside(content)),
    )


def _modules(content: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the whole networks in what a file held, with their keys."""
    if isinstance(content, nn.Module):
        yield "", content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, nn.Module):
                yield name, value


def load_tensors(path: Path, *, mapped: bool = False) -> Any:
    """Return what a file of `torch.save` holds, as data.

    Args:
        path: of the file.
        mapped: leave tensors in the file until they are read.

    Raises:
        UnsafeError: opening it would need unpickling.
        InputError: it is damaged.
    """
    remedy = "save plain tensors, as {'x': inputs, 'y': targets}"
    return _load(path, _NUMBERS, remedy, mapped=mapped)


def _load_layers(path: Path) -> Any:
    """Return what a file holds, where that is data and, at most, torch's own layers."""
    remedy = (
        "save model.state_dict() alone and name the network with --model, or use --trust if you"
        " know where the file comes from"
    )
    return _load(path, [*_NUMBERS, *_layer_classes()], remedy)


def _load(path: Path, allowed: list[Any], remedy: str, *, mapped: bool = False) -> Any:
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below, in our own words
            if mapped and zipfile.is_zipfile(path) and path.suffix != ".safetensors":
                return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
            # An open file, because torch would go by the extension of a path.
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with torch.serialization.safe_globals(allowed):
            wanted = unsafe_globals(path)
        if wanted:
            raise UnsafeError(
                f"{path}: not opened, because it is a pickle that asks for {listed(wanted)},"
                f" which could run code; {remedy}"
            ) from error
        raise damaged(path, error) from error
    except Exception as error:  # torch raises almost anything on a damaged file
        raise damaged(path, error) from error


def _layer_classes() -> list[Any]:
    """Return torch's own layers: exactly the classes that torch.nn itself defines and offers.

    Their state is tensors, numbers and each other, so a network of them is data. The
    functions are those that transformer layers keep as their activation.
    """
    classes = {
        value
        for value in vars(nn).values()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__.startswith("torch.nn.modules.")
    }
    return [*classes, nn.modules.linear.NonDynamicallyQuantizableLinear, nn.functional.relu, set]


def _unpickle(path: Path) -> Any:
    """Return what a file holds, running whatever it asks for."""
    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=False)
    except (AttributeError, ModuleNotFoundError) as error:
        raise InputError(
            f"{path}: the network's class is not to be found ({reason(error)}); name the folder of"
            " its module with --pythonpath; a class of a notebook or script (__main__) has to be"
            " put into a module, or take its state_dict() and name it with --model"
        ) from error
    except Exception as error:  # unpickling runs whatever it finds
        raise damaged(path, error) from error


def _refuse_tar(path: Path) -> None:
    """Refuse a file of a torch before 1.0, a tar archive of pickles.

    Raises:
        UnsafeError: it is one.
    """
    if is_tar(path):
        wanted = wanted_globals(path)
        asks = f" that ask for {listed(wanted)}" if wanted else ""
        raise UnsafeError(
            f"{path}: not opened, because it is a tar archive of pickles{asks}, and unpickling runs"
            " code; save it again with torch.save, or use --trust if you know where it comes from"
        )


def _keys(content: Mapping[Any, Any], depth: int = 0) -> Iterator[str]:
    """Yield every name in a training checkpoint."""
    for name, value in content.items():
        yield str(name)
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            yield from _keys(value, depth + 1)


def _entry(value: Any) -> str:
    """Return what stands under a key, in words."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        tensors = sum(isinstance(v, Tensor) for v in value.values())
        return f"{tensors} tensors" if tensors else f"{type(value).__name__} of {len(value)}"
    if isinstance(value, bool | int | float | str):
        return repr(value) if len(repr(value)) <= 40 else type(value).__name__
    return type(value).__name__
