"""safetensors files: a header and bytes, which cannot hold code."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import safetensors.torch

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.files.natural_order import natural_key
from nrcscan.inputs.checkpoints.contents import Contents, damaged


def read_safetensors(path: Path) -> Contents:
    """Read a safetensors file."""
    content = path.read_bytes()  # not mapped: a file cut short while mapped kills the process
    try:
        state = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    except Exception as error:  # safetensors raises its own error, or a KeyError on unknown types
        raise damaged(path, error) from error
    if not state:
        raise InputError(f"{path}: holds no tensors; was the right file saved?")
    metadata = header.get("__metadata__") or {}
    return Contents(
        path,
        "safetensors",
        open_safely.sha256(path),
        {"": dict(sorted(state.items(), key=lambda item: natural_key(item[0])))},
        {str(key): f"metadata {value!r}" for key, value in metadata.items()},
        ordered=False,
    )
