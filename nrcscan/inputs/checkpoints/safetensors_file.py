"""safetensors files: a header and bytes, which cannot hold code."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.files.natural_order import natural_key
from nrcscan.files.read_json import parse_json
from nrcscan.inputs.checkpoints.contents import Contents, damaged

LEAVES = ("weight", "bias")
"""How names of tensors end, by which metadata that names one is told from any other."""


def read_safetensors(path: Path) -> Contents:
    """Read a safetensors file.

    Raises:
        InputError: it is damaged, holds no tensors, or says that one is another that is not there.
    """
    state, metadata = tensors_and_metadata(path)
    return Contents(
        path,
        "safetensors",
        open_safely.sha256(path),
        {"": state},
        {key: f"metadata {value!r}" for key, value in metadata.items()},
        ordered=False,
        ties=ties(path, metadata, state),
    )


def tensors_and_metadata(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, in natural order of names, and its metadata.

    Raises:
        InputError: the file is damaged, or holds no tensors.
    """
    with open_safely.opened(path, "checkpoint") as file:
        content = file.read()  # not mapped: a file cut short while mapped kills the process
    try:
        state = safetensors.torch.load(content)
        header = parse_json(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    except Exception as error:  # safetensors raises its own error, or a KeyError on unknown types
        raise damaged(path, error) from error
    if not state:
        raise InputError(f"{path}: holds no tensors; save the network's weights")
    metadata = header.get("__metadata__") or {}
    return (
        dict(sorted(state.items(), key=lambda item: natural_key(item[0]))),
        {str(key): str(value) for key, value in metadata.items()},
    )


def ties(path: Path, metadata: Mapping[str, str], held: Collection[str]) -> dict[str, str]:
    """Return the second names of tensors, each with the name that its tensor is held by.

    `safetensors.torch.save_model` keeps a shared tensor once, and its other names in the metadata.

    Args:
        path: of the file, for messages.
        metadata: of the file, or of all shards.
        held: the names of all tensors.

    Raises:
        InputError: a name is said to be that of a tensor, and no such tensor is there.
    """
    found: dict[str, str] = {}
    for name in metadata.keys() - set(held):
        other, seen = metadata[name], {name}
        while other not in held and other in metadata and other not in seen:
            seen.add(other)
            other = metadata[other]
        if other in held:
            found[name] = other
        elif "." in name and "." in other and _leaf(name) == _leaf(other) and _leaf(name) in LEAVES:
            raise InputError(
                f"{path}: its metadata says that {name!r} is {other!r}, which is not there;"
                " save it again with safetensors.torch.save_model"
            )
    return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
