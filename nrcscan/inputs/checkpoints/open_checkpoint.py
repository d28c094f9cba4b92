"""Opens a checkpoint as data: tensors by name, and nothing from the file runs unless trusted.

The format is told by content, never by extension.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import (
    FORMATS,
    Checkpoint,
    Contents,
    choose,
    require_plain,
    stripped,
)
from nrcscan.inputs.checkpoints.distributed_folder import is_distributed, read_distributed
from nrcscan.inputs.checkpoints.huggingface_folder import describes_network, read_folder, weights_in
from nrcscan.inputs.checkpoints.onnx_model import looks_like_onnx, read_onnx
from nrcscan.inputs.checkpoints.safetensors_file import looks_like_safetensors, read_safetensors
from nrcscan.inputs.checkpoints.sharded_index import is_index, read_shards
from nrcscan.inputs.checkpoints.torch_save import (
    LEGACY_MAGIC,
    load_tensors,
    read_torch,
    refuse_other_formats,
    refuse_tar,
    zip_kind,
)
from nrcscan.inputs.checkpoints.torchscript_and_exported import read_program

__all__ = [
    "FORMATS",
    "LEGACY_MAGIC",
    "Checkpoint",
    "Contents",
    "choose",
    "load_tensors",
    "looks_like_safetensors",
    "open_checkpoint",
    "read",
    "require_plain",
    "stripped",
    "zip_kind",
]


def open_checkpoint(
    path: str | Path,
    *,
    state_key: str | None = None,
    trust: bool = False,
    build: bool = True,
) -> Checkpoint:
    """Open a checkpoint and take one network from it.

    Args:
        path: of a file of `torch.save` or safetensors, a TorchScript or exported program, an
            index of shards, a folder with one, an ONNX model, or a folder of a distributed
            checkpoint or of Hugging Face transformers.
        state_key: which state dict of a training checkpoint, where several could be meant;
            nested keys are joined by dots.
        trust: open also what can run code as it loads.
        build: build the network too that a folder describes; else its weights will do.

    Raises:
        UnsafeError: opening it could run code, and it is not trusted.
        InputError: it is missing, damaged, of another kind, or holds no weights.
        UsageError: `state_key` is needed or names nothing.
    """
    return choose(read(Path(path), trust=trust, build=build), state_key)


def read(path: Path, *, trust: bool = False, build: bool = False) -> Contents:
    """Read what a file holds; as data, unless it is trusted.

    Raises:
        UnsafeError: opening it could run code, and it is not trusted.
        InputError: it is missing, damaged, of another kind, or holds no weights.
    """
    if path.is_dir():
        if is_distributed(path):
            return read_distributed(path, trust=trust)
        if build and describes_network(path):
            return read_folder(path)
        path = weights_in(path)
    open_safely.regular_file(path, "checkpoint")
    start = open_safely.head(path, 64)
    if looks_like_safetensors(start):
        return read_safetensors(path)
    if is_index(start):
        return read_shards(path)
    if looks_like_onnx(start):
        return read_onnx(path)
    if start.startswith(b"PK\x03\x04"):
        kind = zip_kind(path)
        if kind != "torch":
            return read_program(path, kind, trust=trust)
    elif tarfile.is_tarfile(path):
        refuse_tar(path, trust=trust)
    elif not start.startswith(LEGACY_MAGIC):
        refuse_other_formats(path, start)
    return read_torch(path, trust=trust)
