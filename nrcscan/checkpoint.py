"""Opens a checkpoint as data: tensors by name, and nothing from the file ever runs.

The format is told by content, never by extension. PyTorch files are opened with
``weights_only=True``; what needs more than that is refused with the names it asks for.
"""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from nrcscan import files
from nrcscan.errors import InputError, UnsafeError, UsageError, listed, reason

STATE_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "ema",
    "ema_state_dict",
    "model_ema",
)
"""Keys under which training scripts keep a network's state dict."""

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every key."""

MAX_DEPTH = 4
"""How deep in a training checkpoint a state dict is looked for."""

# NumPy's numbers, such as a best loss beside the weights: a dtype and bytes, no code.
_NUMBERS: list[Any] = [
    np.float64(0).__reduce__()[0],
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # before NumPy 2
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
_SAFETENSORS_HEADER_LIMIT = 100_000_000
_LEGACY_DATA = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device)"
)
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class Contents:
    """What a checkpoint file holds, before it is settled which of it is the network.

    Attributes:
        path: of the file.
        format: "torch" or "safetensors".
        sha256: of the file's content.
        states: every state dict in the file, by its dotted key; "" is the file itself.
        entries: what stands at the top level: key → description.
        ordered: whether tensors come in the order of the network's definition.
    """

    path: Path
    format: str
    sha256: str
    states: dict[str, dict[str, Tensor]]
    entries: dict[str, str]
    ordered: bool


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network.

    Attributes:
        path: of the file.
        format: "torch" or "safetensors".
        sha256: of the file's content.
        state: tensor by name, names as they are in the file.
        state_key: where in the file the state dict was; empty when it is the whole file.
        ordered: whether the order of `state` is the order of the network's definition.
    """

    path: Path
    format: str
    sha256: str
    state: dict[str, Tensor]
    state_key: str
    ordered: bool


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
        return _read_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        require_torch_zip(path)
    elif not start.startswith(LEGACY_MAGIC) and not tarfile.is_tarfile(path):
        _refuse_other_formats(path, start)
    return _read_torch(path)


def choose(contents: Contents, state_key: str | None) -> Checkpoint:
    """Take one network's weights from what a file holds.

    Raises:
        UsageError: `state_key` is needed or names nothing.
    """
    key = _choose_key(contents, state_key)
    return Checkpoint(
        contents.path,
        contents.format,
        contents.sha256,
        contents.states[key],
        key,
        contents.ordered,
    )


def _choose_key(contents: Contents, state_key: str | None) -> str:
    path, states = contents.path, contents.states
    if state_key is not None:
        if state_key not in states:
            raise UsageError(
                f"{path}: no state dict under {state_key!r}; --state-key is one of"
                f" {listed(repr(key) for key in states)}"
            )
        return state_key
    usual = [key for key in states if key and key.split(".")[-1] in STATE_KEYS]
    if len(usual) == 1:
        return usual[0]
    if not usual and "" in states:
        return ""
    if len(states) == 1:
        return next(iter(states))
    options = listed(f"--state-key {key}" for key in states if key)
    raise UsageError(f"{path}: several state dicts could be meant; choose with {options}")


def stripped(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield a state dict as it is, then with each wrapper prefix in turn taken off its keys.

    The counter that weight averaging keeps beside the wrapped network goes with its wrapper.

    >>> [list(s) for s in stripped({"module._orig_mod.weight": torch.zeros(1)})]
    [['module._orig_mod.weight'], ['_orig_mod.weight'], ['weight']]
    """
    current = dict(state)
    while True:
        yield current
        names = [name for name in current if name != "n_averaged"]
        prefix = next((p for p in WRAPPER_PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None or not names:
            return
        current = {name.removeprefix(prefix): current[name] for name in names}


# --- PyTorch files ---------------------------------------------------------------------------


def _read_torch(path: Path) -> Contents:
    content = load_tensors(path)
    if not isinstance(content, Mapping):
        held = "single tensor" if isinstance(content, Tensor) else type(content).__name__
        raise InputError(f"{path}: holds a {held}, not a state dict; save model.state_dict()")
    states = dict(_state_dicts(content))
    if not states:
        raise InputError(
            f"{path}: holds no tensors by name (keys: {listed(content) or 'none'});"
            " save model.state_dict()"
        )
    for state in states.values():
        for name, tensor in state.items():
            _require_plain(path, name, tensor)
    entries = {str(name): _entry(value) for name, value in content.items()}
    return Contents(path, "torch", files.sha256(path), states, entries, ordered=True)


def load_tensors(path: Path, *, mapped: bool = False) -> Any:
    """Return what a file of `torch.save` holds, as data.

    Args:
        path: of the file.
        mapped: leave tensors in the file until they are read.

    Raises:
        UnsafeError: opening it would need unpickling.
        InputError: it is damaged.
    """
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            if mapped and zipfile.is_zipfile(path) and path.suffix != ".safetensors":
                return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
            # An open file, because torch would go by the extension of a path.
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with torch.serialization.safe_globals(_NUMBERS):
            wanted = _unsafe_globals(path)
        if wanted:
            raise UnsafeError(
                f"{path}: not opened, because it is a pickle that asks for {listed(wanted)},"
                " which could run code; save model.state_dict() alone with torch.save or"
                " safetensors, and name the network with --model"
            ) from error
        raise _damaged(path, error) from error
    except Exception as error:  # torch raises almost anything on a damaged file
        raise _damaged(path, error) from error


def _unsafe_globals(path: Path) -> list[str]:
    """Return the globals that a PyTorch file asks for beyond what counts as data."""
    if zipfile.is_zipfile(path):
        try:
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        except Exception:  # a file damaged in this way too is reported as damaged
            return []
    with path.open("rb") as file:
        return sorted(name for name in _pickle_globals(file) if not _LEGACY_DATA.fullmatch(name))


def _pickle_globals(file: IO[bytes]) -> set[str]:
    """Return the globals that the pickles at the start of a file ask for, without running them."""
    found: set[str] = set()
    texts: list[str] = []
    try:
        while True:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    found.add(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
                    found.add(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
    except (ValueError, IndexError, EOFError, UnicodeDecodeError, OverflowError):
        return found  # the end of the pickles: raw tensor data, or the end of the file


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: the checkpoint is damaged or cut short ({reason(error)}); save or copy it again"
    )


def require_torch_zip(path: Path) -> None:
    """Refuse zip archives that are not plain `torch.save` files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error
    leaves = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in leaves:
        raise UnsafeError(
            f"{path}: not opened, because it is a TorchScript program, which runs code as it loads;"
            " save its state_dict() and name the network with --model"
        )
    if any(
        name.endswith(("archive_format", "model.json", "serialized_exported_program.json"))
        for name in names
    ):
        raise UnsafeError(
            f"{path}: not opened, because it is an exported program (.pt2), which can run code as"
            " it loads; save the network's state_dict() and name the network with --model"
        )
    if "data.pkl" in leaves:
        return
    if any(name.endswith(".npy") for name in names):
        raise InputError(f"{path}: is an .npz data archive; the order is MODEL DATA")
    raise InputError(
        f"{path}: is a zip archive but no PyTorch checkpoint; give a file of torch.save"
    )


def _refuse_other_formats(path: Path, start: bytes) -> None:
    if start[:1] == b"\x80":
        with path.open("rb") as file:
            wanted = sorted(_pickle_globals(file))
        asks = f" that asks for {listed(wanted)}" if wanted else ""
        raise UnsafeError(
            f"{path}: not opened, because it is a pickle{asks}, and unpickling runs code;"
            " save model.state_dict() with torch.save or safetensors"
        )
    raise InputError(
        f"{path}: is {files.foreign(path)}; a checkpoint is a file of torch.save or safetensors"
    )


# --- safetensors -----------------------------------------------------------------------------


def looks_like_safetensors(start: bytes) -> bool:
    """Whether these first bytes are those of a safetensors file."""
    if len(start) < 9:
        return False
    (header,) = struct.unpack("<Q", start[:8])
    return start[8:9] == b"{" and 2 <= header <= _SAFETENSORS_HEADER_LIMIT


def _read_safetensors(path: Path) -> Contents:
    import safetensors.torch

    content = path.read_bytes()  # not mapped: a file cut short while mapped kills the process
    try:
        state = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    except Exception as error:  # safetensors raises its own error, or a KeyError on unknown types
        raise _damaged(path, error) from error
    if not state:
        raise InputError(f"{path}: holds no tensors; was the right file saved?")
    metadata = header.get("__metadata__") or {}
    return Contents(
        path,
        "safetensors",
        files.sha256(path),
        {"": dict(sorted(state.items(), key=lambda item: natural_key(item[0])))},
        {str(key): f"metadata {value!r}" for key, value in metadata.items()},
        ordered=False,
    )


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts "layers.2" before "layers.10".

    >>> sorted(["l.10.b", "l.2.b", "l.2.a"], key=natural_key)
    ['l.2.a', 'l.2.b', 'l.10.b']
    """
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name) if p]


# --- which state dict ------------------------------------------------------------------------


def _state_dicts(
    content: Mapping[Any, Any], key: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping of names to tensors in a training checkpoint, with its dotted key."""
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if tensors:
        yield key, tensors
    if depth == MAX_DEPTH:
        return
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Mapping):
            yield from _state_dicts(value, f"{key}.{name}" if key else name, depth + 1)


def _entry(value: Any) -> str:
    """Return what stands under a key, in words."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        tensors = sum(isinstance(v, Tensor) for v in value.values())
        return f"{tensors} tensors" if tensors else f"{type(value).__name__} of {len(value)}"
    if isinstance(value, bool | int | float | str):
        return repr(value) if len(repr(value)) <= 40 else type(value).__name__
    return type(value).__name__


def _require_plain(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse tensors whose storage is not what their shape says."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise InputError(f"{path}: {name!r} is a {kind} tensor; save it dense, in floating point")
    if tensor.is_meta:
        raise InputError(f"{path}: {name!r} has a shape but no data; save the network's weights")
    held = tensor.untyped_storage().nbytes() // tensor.itemsize
    if tensor.numel() > held:
        raise InputError(
            f"{path}: {name!r} claims {tensor.numel()} values and holds {held};"
            " save a contiguous copy"
        )
