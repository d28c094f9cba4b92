"""Opens a checkpoint as data: tensors by name, and nothing from the file runs unless trusted.

The format is told by content, never by extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nrcscan.errors import NoNetworkError, UnsafeError
from nrcscan.files import at_work, open_safely
from nrcscan.inputs.ask_nobody import AskedError, ask_nobody
from nrcscan.inputs.checkpoints.choose_network import choose
from nrcscan.inputs.checkpoints.contents import Checkpoint, Contents
from nrcscan.inputs.checkpoints.no_checkpoint import no_checkpoint
from nrcscan.inputs.checkpoints.recognise import recognise
from nrcscan.inputs.checkpoints.training_state import (
    DATA,
    UNTOLD,
    WEIGHTS,
    ZERO_3,
    holding,
    training_state,
)
from nrcscan.inputs.checkpoints.weights_of_folder import (
    require_base,
    require_whole,
    weights_of_folder,
)
from nrcscan.inputs.forms import CheckpointForm


def open_checkpoint(
    path: str | Path,
    *,
    state_key: str | None = None,
    ignore: Sequence[str] = (),
    trust: bool = False,
    build: bool = True,
) -> Checkpoint:
    """Open a checkpoint and take one network from it.

    Args:
        path: of a file of `torch.save` or safetensors, a TorchScript or exported program, an
            index of shards, a folder with one, an ONNX model, or a folder of a distributed
            checkpoint or of Hugging Face transformers.
        state_key: which state dict of a training checkpoint, where several could be meant;
            nested keys and places in lists are joined by dots. Or a part of one, by what its
            names begin with; or several parts, joined by commas.
        ignore: globs of tensors that are left aside.
        trust: open also what can run code as it loads.
        build: build the network too that a folder describes; else its weights will do.

    Raises:
        UnsafeError: opening it could run code, and it is not trusted.
        InputError: it is missing, damaged, of another kind, or holds no weights.
        UsageError: `state_key` is needed or names nothing, or a glob matches nothing.
    """
    return choose(read(Path(path), trust=trust, build=build), state_key, ignore)


def read(path: Path, *, trust: bool = False, build: bool = False) -> Contents:
    """Read what a file holds; as data, unless it is trusted.

    Raises:
        UnsafeError: opening it could run code, and it is not trusted; or asks the user.
        InputError: it is missing, damaged, of another kind, or holds no weights.
    """
    form = recognise(path) if open_safely.is_folder(path) else None
    if form is None or isinstance(form, str) or (form.key == "huggingface" and not build):
        file = weights_of_folder(path) if open_safely.is_folder(path) else path
        path = open_safely.regular_file(file, "checkpoint")
        form = recognise(path)
    if isinstance(form, str):
        raise no_checkpoint(path, form)
    if build:
        require_base(path)
        require_whole(path)
        _require_no_data(path, form)
    try:
        with ask_nobody(), at_work.doing(file=path):
            return (_read_torch if form.key == "torch" else _read)(path, form, trust)
    except AskedError as error:
        raise UnsafeError(
            f"{path}: its loader has a question ({error}); save the weights alone, and name the"
            " network with --model"
        ) from error


def _read(path: Path, form: CheckpointForm, trust: bool) -> Contents:
    return form.read(path, trust=trust)


def _require_no_data(path: Path, form: CheckpointForm) -> None:
    """Refuse a file of torch.save that holds inputs and targets.

    Raises:
        NoNetworkError: it does.
    """
    what = training_state(path) if form.key == "torch" else WEIGHTS
    if what.startswith(DATA):
        raise NoNetworkError(f"{path}: {holding(what)}; give MODEL before DATA")


def _read_torch(path: Path, form: CheckpointForm, trust: bool) -> Contents:
    """Read a file of torch.save, which may hold what training leaves beside a network.

    Raises:
        NoNetworkError: the file is one of training, beside the weights.
    """
    what = training_state(path)
    if what == ZERO_3:
        raise NoNetworkError(f"{path}: holds {ZERO_3}")
    try:
        return form.read(path, trust=trust)
    except UnsafeError as error:
        if what in (WEIGHTS, UNTOLD):
            raise
        raise NoNetworkError(f"{path}: {holding(what)}; give the file of its weights") from error
