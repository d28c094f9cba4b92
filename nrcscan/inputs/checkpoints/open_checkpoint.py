"""Opens a checkpoint as data: tensors by name, and nothing from the file runs unless trusted.

The format is told by content, never by extension.
"""

from __future__ import annotations

from pathlib import Path

from nrcscan.errors import InputError, NrcscanError
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Checkpoint, Contents, choose, damaged
from nrcscan.inputs.checkpoints.recognise import DAMAGED_ZIP, NPZ, ZIP, recognise
from nrcscan.inputs.checkpoints.signs import weights_in


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
    form = recognise(path) if path.is_dir() else None
    if form is None or isinstance(form, str) or (form.key == "huggingface" and not build):
        file = weights_in(path) if path.is_dir() else path
        path = open_safely.regular_file(file, "checkpoint")
        form = recognise(path)
    if isinstance(form, str):
        raise _no_checkpoint(path, form)
    return form.read(path, trust=trust)


def _no_checkpoint(path: Path, what: str) -> NrcscanError:
    """Return the error for a file that is something else."""
    if what == DAMAGED_ZIP:
        return damaged(path, ValueError(f"it is {what}"))
    if what == NPZ:
        return InputError(f"{path}: is an .npz data archive; the order is MODEL DATA")
    if what == ZIP:
        return InputError(
            f"{path}: is a zip archive but no PyTorch checkpoint; give a file of torch.save"
        )
    return InputError(f"{path}: is {what}; a checkpoint is a file of torch.save or safetensors")
