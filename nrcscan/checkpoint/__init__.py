"""Opens a checkpoint as data: tensors by name, and nothing from the file runs unless trusted.

The format is told by content, never by extension.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from nrcscan import files
from nrcscan.checkpoint.base import (
    FORMATS,
    Checkpoint,
    Contents,
    choose,
    natural_key,
    stripped,
)
from nrcscan.checkpoint.safetensors import looks_like_safetensors, read_safetensors
from nrcscan.checkpoint.torchfile import (
    LEGACY_MAGIC,
    load_tensors,
    read_torch,
    refuse_other_formats,
    require_torch_zip,
)

__all__ = [
    "FORMATS",
    "LEGACY_MAGIC",
    "Checkpoint",
    "Contents",
    "choose",
    "load_tensors",
    "looks_like_safetensors",
    "natural_key",
    "open_checkpoint",
    "read",
    "require_torch_zip",
    "stripped",
]


def open_checkpoint(path: str | Path, *, state_key: str | None = None) -> Checkpoint:
    """Open a `.pt`, `.pth`, `.ckpt`, `.bin` or `.safetensors` file and take one network from it.

    Args:
        path: of the file.
        state_key: which state dict of a training checkpoint, where several could be meant;
            nested keys are joined by dots.

    Raises:
        UnsafeError: opening it would need unpickling.
        InputError: it is missing, damaged, of another kind, or holds no weights.
        UsageError: `state_key` is needed or names nothing.
    """
    return choose(read(Path(path)), state_key)


def read(path: Path) -> Contents:
    """Read what a file holds, as data.

    Raises:
        UnsafeError: opening it would need unpickling.
        InputError: it is missing, damaged, of another kind, or holds no weights.
    """
    files.regular_file(path, "checkpoint")
    start = files.head(path, 16)
    if looks_like_safetensors(start):
        return read_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        require_torch_zip(path)
    elif not start.startswith(LEGACY_MAGIC) and not tarfile.is_tarfile(path):
        refuse_other_formats(path, start)
    return read_torch(path)
