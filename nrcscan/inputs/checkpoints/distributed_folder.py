"""Folders of torch.distributed.checkpoint: the tensors of every rank, and a pickle about them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nrcscan.errors import InputError, UnsafeError
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Contents, damaged
from nrcscan.inputs.checkpoints.pickle_globals import wanted_globals
from nrcscan.inputs.checkpoints.signs import METADATA, distributed_files
from nrcscan.inputs.checkpoints.states_inside import GROUPS
from nrcscan.wording import listed, some


def read_distributed(folder: Path, *, trust: bool) -> Contents:
    """Read every tensor of a distributed checkpoint, put together from the ranks' files.

    Raises:
        UnsafeError: the folder is read by unpickling, and --trust is not given.
        InputError: the folder of the distributed checkpoint is damaged, incomplete, or without
            tensors.
    """
    metadata = open_safely.regular_file(folder / METADATA, "checkpoint")
    if not trust:
        raise UnsafeError(
            f"{folder}: not opened, because it is a distributed checkpoint, whose {METADATA} is a"
            f" pickle that asks for {some(wanted_globals(metadata))}, and unpickling runs code;"
            " use --trust if you know where the folder comes from, or save model.state_dict()"
        )
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = FileSystemReader(folder)
    try:
        known = reader.read_metadata()
        places = {place.relative_path for place in (known.storage_data or {}).values()}
    except Exception as error:  # unpickling runs whatever it finds
        raise damaged(folder, error) from error
    found = {place: open_safely.beside(metadata, place, "file") for place in map(str, places)}
    absent = sorted(place for place, path in found.items() if not open_safely.is_regular(path))
    if absent:
        raise InputError(f"{folder}: {listed(absent)} is missing; copy it beside {METADATA}")
    tensors = {
        name: torch.empty(about.size, dtype=about.properties.dtype)
        for name, about in known.state_dict_metadata.items()
        if isinstance(about, TensorStorageMetadata)
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process reads it is meant
            load(dict(tensors), storage_reader=reader, no_dist=True)
    except CheckpointException as error:  # which is no Exception
        raise damaged(folder, next(iter(error.failures.values()))[0]) from error
    if not tensors:
        raise InputError(f"{folder}: holds no tensors; save model.state_dict()")
    states, lists = _nested(tensors, known.planner_data or {})
    sums = [open_safely.sha256(folder / name) for name in distributed_files(folder)]
    sha256 = hashlib.sha256("".join(sums).encode()).hexdigest()
    entries = {key: f"{len(state)} tensors" for key, state in states.items() if key}
    return Contents(
        folder, "distributed", sha256, states, entries, ordered=True, lists=frozenset(lists)
    )


def _nested(
    tensors: Mapping[str, Tensor], paths: Mapping[str, tuple[str | int, ...]]
) -> tuple[dict[str, dict[str, Tensor]], set[str]]:
    """Return tensors as the state dicts that they were in, and which of these were lists.

    What an optimiser keeps is passed over.

    Args:
        tensors: by their flat names: keys of nested dicts are joined by dots there, as names in a
            network are.
        paths: the flat name → the keys, and the places in lists, that lead to it.
    """
    optimisers = {
        path[:depth] for path in paths.values() for depth, key in enumerate(path) if key == GROUPS
    }
    states: dict[str, dict[str, Tensor]] = {}
    lists: set[str] = set()
    for name, tensor in tensors.items():
        *keys, leaf = path = tuple(paths.get(name, (name,)))
        if any(path[:depth] in optimisers for depth in range(len(path))):
            continue
        key = ".".join(map(str, keys))
        states.setdefault(key, {})[str(leaf)] = tensor
        if isinstance(leaf, int):
            lists.add(key)
    for key in lists:
        states[key] = dict(sorted(states[key].items(), key=lambda item: int(item[0])))
    return states, lists
