"""What a checkpoint is and holds, without running anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor

from nrcscan.errors import InputError, UsageError
from nrcscan.files.open_safely import is_folder
from nrcscan.inputs.catalogue import FORMATS
from nrcscan.inputs.checkpoints.acting_weights import with_acting_weights
from nrcscan.inputs.checkpoints.choose_network import choose
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.open_checkpoint import read
from nrcscan.inputs.checkpoints.weights_of_folder import require_base, require_whole
from nrcscan.inputs.checkpoints.wrapper_names import COUNTER, stripped
from nrcscan.inspecting.inspect_folder import of_folder
from nrcscan.network.infer_chain import infer
from nrcscan.options.check import checked
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.pass_options import CheckpointOptions

SCHEMA = "nrcscan.inspect/1"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a checkpoint: its name with wrapper prefixes off, shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Inspection:
    """What is in a checkpoint.

    Attributes:
        path: of the file.
        format: a key of the catalogue's `FORMATS`.
        format_name: what to call it.
        sha256: of the content.
        size: of the file, or of a folder's files, in bytes.
        entries: what stands at the top level of the file: key → description.
        state_keys: every state dict in it, by dotted key; "" is the file itself.
        state_key: the one that would be taken as the network; None when --state-key must say.
        prefix: what was taken off all its keys.
        tensors: of that state dict; of all, with their keys before the names, where it is open.
        network: what would run: the network in the file, or the chain that would be inferred,
            in words; None when there is none.
        problem: why there is no state dict or no chain to take; None when there is.
        notes: what the user should know of it: what was left out, how the tensors were chosen.
        folder: of a folder, what `extract` would take from it, in words; else None.
    """

    path: str
    format: str
    format_name: str
    sha256: str
    size: int
    entries: dict[str, str]
    state_keys: tuple[str, ...]
    state_key: str | None
    prefix: str
    tensors: tuple[TensorInfo, ...]
    network: str | None
    problem: str | None
    notes: tuple[str, ...] = ()
    folder: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the inspection as JSON has it."""
        return {"schema": SCHEMA, **asdict(self)}


@names_keywords
@described(CheckpointOptions)
def inspect(model: str | Path, **options: Unpack[CheckpointOptions]) -> Inspection:
    """Say what a checkpoint holds and what would be taken as the network.

    Args:
        model: the checkpoint's path.
        options: see `nrcscan.options.pass_options`.

    Raises:
        UnsafeError: opening it could run code, and it is not trusted.
        InputError: it is missing, damaged, of another kind, or holds no weights; or a folder
            from which `extract` would take nothing, and what is in it.
        UsageError: `state_key` names nothing.
    """
    chosen = checked(CheckpointOptions, options, "inspect")
    state_key = chosen["state_key"]
    contents = read(Path(model), trust=chosen["trust"])
    refusal = _refusal(contents.path)
    folder, built = of_folder(Path(model), contents.path, refused=refusal is not None)
    key: str | None = None
    network, problem = built, refusal
    prefix = ""
    tensors: tuple[TensorInfo, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        checkpoint = choose(contents, state_key, chosen["ignore"])
    except UsageError as error:
        if state_key is not None or chosen["ignore"]:
            raise
        network, problem = None, str(error)
        every = {
            f"{key}.{name}" if key else name: tensor
            for key, state in contents.states.items()
            for name, tensor in state.items()
        }
        tensors = _listed(every)
    else:
        key, notes = checkpoint.state_key, checkpoint.choice
        *_, state = stripped(checkpoint.state)
        whole = [name for name in checkpoint.state if name != COUNTER]
        prefix = whole[0].removesuffix(next(iter(state))) if whole else ""
        tensors = _listed(state)
        if not (built or refusal):
            network, problem = _network_of(checkpoint, chosen["activation"])
    return Inspection(
        path=str(contents.path),
        format=contents.format,
        format_name=FORMATS[contents.format],
        sha256=contents.sha256,
        size=_size(contents.path),
        entries=contents.entries,
        state_keys=tuple(contents.states),
        state_key=key,
        prefix=prefix,
        tensors=tensors,
        network=network,
        problem=problem,
        notes=(*contents.notes, *notes),
        folder=folder,
    )


def _listed(state: Mapping[str, Tensor]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in state.items()
    )


def _refusal(path: Path) -> str | None:
    """Return why `extract` would not run what a file holds, though it is read; None if it would."""
    try:
        require_base(path)
        require_whole(path)
    except InputError as error:
        return str(error)
    return None


def _network_of(checkpoint: Checkpoint, activation: str | None) -> tuple[str | None, str | None]:
    """Return the network that would run, in words, or what stands in its way."""
    if checkpoint.format == "onnx":
        return "in the file, a graph that onnxruntime runs", None
    if checkpoint.module is not None:
        return f"in the file, a {type(checkpoint.module).__name__}", None
    try:
        return infer(with_acting_weights(checkpoint), activation).layout(), None
    except InputError as error:
        return None, str(error)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path.iterdir() if is_folder(path) else [path]))
