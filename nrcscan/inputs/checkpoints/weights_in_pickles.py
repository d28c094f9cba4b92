"""The state dicts and networks in a pickle, read as data; what else it holds is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nrcscan.errors import InputError, UnsafeError
from nrcscan.inputs.checkpoints.contents import damaged
from nrcscan.inputs.checkpoints.default_state import STATE_KEYS
from nrcscan.inputs.checkpoints.layers_made_again import NotBuilt, layer_classes
from nrcscan.inputs.checkpoints.left_out import in_words, left_out
from nrcscan.inputs.checkpoints.pickle_globals import wanted_globals
from nrcscan.inputs.checkpoints.pickled_networks import LONGEST_NAME, LayerBuilder, is_network
from nrcscan.inputs.checkpoints.signs import is_tar
from nrcscan.inputs.checkpoints.states_inside import StatesInside
from nrcscan.inputs.pickles.load_inert import Inert, load_inert
from nrcscan.inputs.pickles.placeholder import (
    PickleDamaged,
    PickleRefused,
    Placeholder,
    Unreadable,
)
from nrcscan.wording import listed, reason

_TRUST = (
    "save model.state_dict() alone and name the network with --model, or use --trust if you know"
    " where the file comes from"
)
_WEIGHTS = (Tensor, Unreadable)


@dataclass
class Opened:
    """What a file of `torch.save` held, before it is checked.

    Attributes:
        content: of the file.
        states: every state dict in it, by dotted key.
        modules: whole networks, by the key of their state dict.
        lists: the keys of those states that are lists of tensors.
        notes: what was left out.
    """

    content: Any
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    notes: tuple[str, ...] = ()


def inert(path: Path, *, mapped: bool = False, remedy: str = _TRUST) -> Inert:
    """Load a file as data and placeholders.

    Args:
        path: of the file.
        mapped: leave tensors in the file until they are read.
        remedy: where it does what no file of data does.

    Raises:
        UnsafeError: the pickle does what no file of data does.
        InputError: it is damaged.
    """
    try:
        return load_inert(path, mapped=mapped)
    except PickleDamaged as error:
        raise damaged(path, error) from error
    except PickleRefused as error:
        raise UnsafeError(f"{path}: not opened, because {error}; {remedy}") from error
    except Exception as error:  # a damaged archive fails in its own way
        raise damaged(path, error) from error


def unsafe(path: Path, asked: Iterable[str], remedy: str) -> UnsafeError:
    """Return the error that a file holds nothing but what could run code."""
    names = listed(sorted(asked))
    return UnsafeError(
        f"{path}: not opened, because it is a pickle that asks for {names}, which could run code;"
        f" {remedy}"
    )


def _tar(path: Path) -> UnsafeError:
    """Return the error that a file is of a torch before 0.4, a tar archive of pickles."""
    wanted = wanted_globals(path)
    asks = f" that ask for {listed(wanted)}" if wanted else ""
    return UnsafeError(
        f"{path}: not opened, because it is a tar archive of pickles{asks}, and unpickling runs"
        " code; save it again with torch.save, or use --trust if you know where it comes from"
    )


def as_data(path: Path) -> Opened:
    """Return what a file holds, as far as it is data.

    Raises:
        UnsafeError: no weights can be taken from the pickle without running what it asks for.
        InputError: it is damaged.
    """
    if is_tar(path):
        raise _tar(path)
    found = inert(path)
    opened = Opened(found.content)
    networks: dict[str, Placeholder] = {}
    used: set[int] = set()
    try:
        opened.states = _states_of(found.content, networks, used, opened.lists)
    except PickleRefused as error:
        raise UnsafeError(f"{path}: not opened, because {error}; {_TRUST}") from error
    notes = list(_build(opened, networks))
    strange = found.asked - layer_classes().keys()
    if strange and not any(opened.states.values()):
        raise unsafe(path, strange, _TRUST)
    beside = [state for _, state in found.attributes]
    names = left_out(
        [found.content, *beside],
        opened=lambda value: id(value) in used or is_network(value),
        built=[network for key, network in networks.items() if key in opened.modules],
    )
    if words := in_words(names):
        notes.append(f"left out, not built: {words}")
    if found.tensor_classes:
        notes.append(f"taken as plain tensors: those of {listed(sorted(found.tensor_classes))}")
    opened.notes = tuple(notes)
    return opened


def _states_of(
    content: Any, networks: dict[str, Placeholder], used: set[int], lists: set[str]
) -> dict[str, dict[str, Any]]:
    """Return the state dicts in a file's content by key, and the networks that some are of.

    They are mappings of tensors and whole networks; where there are none, those in objects of
    other classes, and then mappings of arrays.

    Raises:
        PickleRefused: a network has layers, or a tensor a name, without end.
    """
    inside = StatesInside(_WEIGHTS, networks=networks, used=used, lists=lists)
    found = dict(inside.find(content))
    if not any(found.values()):
        found |= dict(replace(inside, opaque=True).find(content))
    if not any(found.values()):
        arrays_inside = StatesInside(np.ndarray, opaque=True, used=used)
        for key, arrays in arrays_inside.find(content):
            found[key] = {
                name: torch.from_numpy(np.array(array, _of_torch(array.dtype)))
                for name, array in arrays.items()
                if array.dtype.kind in "biufc"
            }
    if any(len(name) > LONGEST_NAME for key in found for name in (key, *found[key])):
        raise PickleRefused("a tensor's name has no end")
    return {key: state for key, state in found.items() if state or key in networks}


def _build(opened: Opened, networks: Mapping[str, Placeholder]) -> Iterator[str]:
    """Build the networks of torch's own layers, and say which others were not."""
    for key, network in networks.items():
        where = f" under {key!r}" if key else " in the file"
        try:
            module = LayerBuilder().build(network)
        except NotBuilt as error:
            also = "" if str(error) == network.name else f", which holds {error},"
            yield (
                f"the {network.name}{where}{also} was not built: its weights were taken as a state"
                " dict"
            )
        except Exception as error:  # a state that is not of its class
            yield f"the {network.name}{where} could not be built ({reason(error)})"
        else:
            entries = module.state_dict()
            opened.modules[key] = module
            opened.states[key] = {n: v for n, v in entries.items() if isinstance(v, Tensor)}


def readable(
    path: Path, states: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Return state dicts as tensors, and a note on those that have tensors without values.

    Raises:
        InputError: the state dict has a tensor that cannot be read, and there is no other to take.
    """
    broken = {
        key: next(((n, v) for n, v in state.items() if isinstance(v, Unreadable)), None)
        for key, state in states.items()
    }
    usual = [key for key in states if key.split(".")[-1] in STATE_KEYS]
    bad = {key: found for key, found in broken.items() if found is not None}
    for key, (name, tensor) in bad.items():
        if len(bad) == len(states) or key in usual or not usual:
            what, _, step = tensor.problem.rpartition("; ")
            raise InputError(f"{path}: {name!r} {what}; {step}")
    notes = [f"left out: {name!r}, which {tensor.problem}" for name, tensor in bad.values()]
    return {key: dict(state) for key, state in states.items() if key not in bad}, notes


def _of_torch(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what torch has for numbers of NumPy: their own type, or of long doubles float64."""
    wide = {np.dtype(np.longdouble): np.float64, np.dtype(np.clongdouble): np.complex128}
    native = dtype.newbyteorder("=")
    return np.dtype(wide.get(native, native))
