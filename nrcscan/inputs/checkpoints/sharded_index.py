"""Sharded checkpoints: an index (`*.index.json`) and the files it names, in its own folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.files.read_json import read_json
from nrcscan.inputs.checkpoints.contents import Contents
from nrcscan.inputs.checkpoints.safetensors_file import tensors_and_metadata, ties
from nrcscan.inputs.checkpoints.signs import INDEX_LIMIT, Evidence, safetensors
from nrcscan.inputs.checkpoints.torch_save import read_torch
from nrcscan.wording import listed, reason


def read_shards(path: Path) -> Contents:
    """Read every shard that an index names, and only those.

    Raises:
        UnsafeError: the index names a file outside its own folder.
        InputError: the index and its shards are incomplete, damaged, or not of one network.
    """
    weight_map = _weight_map(path)
    shards = {
        name: open_safely.beside(path, name, "shard") for name in dict.fromkeys(weight_map.values())
    }
    absent = [name for name, shard in shards.items() if not open_safely.is_regular(shard)]
    if absent:
        raise InputError(f"{path}: shard {listed(absent)} is missing; copy it beside the index")
    digest = hashlib.sha256(open_safely.sha256(path).encode())
    held: dict[str, dict[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    ordered = True
    for name, shard in shards.items():
        open_safely.regular_file(shard, "shard")
        if safetensors(Evidence(shard)):
            (held[name], more), ordered = tensors_and_metadata(shard), False
            metadata |= more
            digest.update(open_safely.sha256(shard).encode())
            continue
        contents = read_torch(shard)
        if list(contents.states) != [""] or contents.lists:
            raise InputError(
                f"{shard}: is no shard: its tensors are not at the top level;"
                " save the network again with save_pretrained"
            )
        held[name] = contents.states[""]
        digest.update(contents.sha256.encode())
    tied = ties(path, metadata, {key for tensors in held.values() for key in tensors})
    lacking = [key for key, name in weight_map.items() if key not in held[name] | tied]
    if lacking:
        raise InputError(f"{path}: no shard holds {listed(lacking)}; copy all shards again")
    state = {key: held[name][key] for key, name in weight_map.items() if key in held[name]}
    tied = {key: other for key, other in tied.items() if other in state}
    entries = {name: f"{len(tensors)} tensors" for name, tensors in held.items()}
    return Contents(path, "sharded", digest.hexdigest(), {"": state}, entries, ordered, ties=tied)


def _weight_map(path: Path) -> dict[str, str]:
    """Return which file each tensor is in.

    Raises:
        InputError: the JSON does not say which file each tensor is in.
    """
    try:
        content: Any = read_json(path, "index of shards", limit=INDEX_LIMIT, finite=False)
        weight_map = content["weight_map"]
        plain = all(isinstance(k, str) and isinstance(v, str) for k, v in weight_map.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is no index of shards ({reason(error)}), which maps tensors to files;"
            " copy it again"
        ) from error
    if not plain or not weight_map:
        raise InputError(
            f"{path}: its weight_map is not of tensor names to file names; copy it again"
        )
    return dict(weight_map)
