"""Files of `torch.save`: state dicts, training checkpoints, and whole networks.

They are opened with ``weights_only=True``; what needs more than that is refused with the names
it asks for, unless the user trusts the file.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from nrcscan import files
from nrcscan.checkpoint.base import Contents, damaged, require_plain
from nrcscan.errors import InputError, UnsafeError, listed

MAX_DEPTH = 4
"""How deep in a training checkpoint a state dict is looked for."""

# NumPy's numbers, such as a best loss beside the weights: a dtype and bytes, no code.
_NUMBERS: list[Any] = [
    np.float64(0).__reduce__()[0],
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # before NumPy 2
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
_LEGACY_DATA = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device)"
)
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def read_torch(path: Path) -> Contents:
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
            require_plain(path, name, tensor)
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
        raise damaged(path, error) from error
    except Exception as error:  # torch raises almost anything on a damaged file
        raise damaged(path, error) from error


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


def require_torch_zip(path: Path) -> None:
    """Refuse zip archives that are not plain `torch.save` files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise damaged(path, error) from error
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


def refuse_other_formats(path: Path, start: bytes) -> None:
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
