"""Which file of a folder holds the network, where the folder is not a checkpoint as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from nrcscan.errors import InputError, NoNetworkError
from nrcscan.files import open_safely, sniff
from nrcscan.files.natural_order import natural_key, natural_path
from nrcscan.inputs.checkpoints.recognise import parts_beside, recognise
from nrcscan.inputs.checkpoints.signs import FURTHER, adapter_settings
from nrcscan.inputs.checkpoints.training_state import ZERO_3, holding, why_not

USUAL = ("model.safetensors", "pytorch_model.bin")
"""How the file of a network is called where others may stand beside it."""

_SHARD = re.compile(r"[-_](\d{5})-of-(\d{5})\.")
_ADAPTER = "adapter_model."
_PIPELINES = {"model_index.json": "diffusers", "modules.json": "sentence-transformers"}
_MOST_FOLDERS = 1000
_MOST_NAMES = 6


def weights_of_folder(folder: Path) -> Path:
    """Return the one file that holds a folder's network; of DeepSpeed's, in the newest step.

    Raises:
        InputError: the folder holds no checkpoint, or more than one could be meant.
    """
    found = _checkpoints(folder)
    usual = [name for name in found if name.endswith(".index.json")]
    usual = usual or [name for name in USUAL if name in found][:1]
    if usual and any(name.startswith(_ADAPTER) for name in found):
        raise InputError(
            f"{folder}: holds a PEFT adapter beside the weights that it adapts; name {usual[0]} for"
            " these alone, or load both with PeftModel, and save what merge_and_unload() returns"
        )
    if len(usual) == 1 and not any(map(FURTHER.fullmatch, found)):
        return folder / usual[0]
    for name in found:
        require_whole(folder / name)
    if len(found) > 1:
        raise InputError(f"{folder}: holds checkpoints {_names(found)}; name one, or use scan")
    if found:
        return folder / found[0]
    newest = _newest_of_deepspeed(folder)
    if newest is not None:
        return weights_of_folder(newest)
    raise _without_weights(folder)


def require_base(path: Path) -> None:
    """Refuse an adapter of PEFT, which is no network without the weights that it adapts.

    Raises:
        InputError: the folder holds changes to weights that are elsewhere.
    """
    if not path.name.startswith(_ADAPTER):
        return
    base = adapter_settings(path.parent).get("base_model_name_or_path") or "its base"
    raise InputError(
        f"{path}: is a PEFT adapter, without the weights of {base}; load both with PeftModel,"
        " and save what merge_and_unload() returns"
    )


def require_whole(path: Path) -> None:
    """Refuse one of several shards, which holds a part of a network.

    Raises:
        InputError: it is one.
    """
    shard = _SHARD.search(path.name)
    if shard is None or int(shard[2]) < 2:
        return
    told = f"{path}: is one of {int(shard[2])} shards"
    if any(path.parent.glob("*.index.json")):
        raise InputError(f"{told}; give the folder with all of them, {path.parent}")
    raise InputError(
        f"{told}, and there is no index of them; copy the others and the *.index.json beside it"
    )


def _checkpoints(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are checkpoints, or should be."""
    names = _listed(folder, folders=False)
    inside = {part for name in names for part in parts_beside(folder / name)}
    return [name for name in names if name not in inside and why_not(folder / name) is None]


def _listed(folder: Path, *, folders: bool) -> list[str]:
    """Return the names in a folder, in their natural order.

    Raises:
        InputError: the folder may not be read.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read: {error.strerror}; check its permissions"
        ) from error
    wanted = (p.name for p in entries if (p.is_dir() if folders else p.is_file()))
    return sorted((name for name in wanted if not name.startswith(".")), key=natural_key)


def _newest_of_deepspeed(folder: Path) -> Path | None:
    """Return the folder that DeepSpeed's file `latest` names."""
    latest = folder / "latest"
    if not latest.is_file():
        return None
    name = open_safely.head(latest, 256).decode("utf-8", "replace").strip()
    if not name or len(name.splitlines()) > 1 or set(name) & set("/\\\0") or name in (".", ".."):
        return None
    # As `open_safely.beside`, of a folder.
    inside = (folder / name).resolve().parent == folder.resolve()
    return folder / name if inside and (folder / name).is_dir() else None


def _without_weights(folder: Path) -> InputError:
    """Say what a folder without weights holds instead."""
    inside = _folders_with_checkpoints(folder)
    kind = next((kind for name, kind in _PIPELINES.items() if (folder / name).is_file()), None)
    if inside and kind is not None:
        return InputError(
            f"{folder}: is a pipeline of {kind}, whose networks are in {_names(inside)}; name one"
        )
    if inside:
        return InputError(f"{folder}: holds checkpoints {_names(inside)}; name one, or use scan")
    for name in _listed(folder, folders=False):
        if why_not(folder / name) == holding(ZERO_3):
            return NoNetworkError(f"{folder / name}: holds {ZERO_3}")
        found = sniff.kind(folder / name)
        if found.holds == "network":
            return InputError(
                f"{folder}: a folder without weights of PyTorch: {name} is {found.words};"
                f" {found.remedy or 'convert it to ONNX or safetensors'}"
            )
    return InputError(f"{folder}: a folder without weights; give the checkpoint file itself")


def _folders_with_checkpoints(folder: Path) -> list[str]:
    """Return the folders below one that are checkpoints or hold some, at whatever depth."""
    found, looked_at = [], 0
    below = [PurePath(name) for name in _listed(folder, folders=True)]
    while below and looked_at < _MOST_FOLDERS:
        name, looked_at = below.pop(0), looked_at + 1
        there = folder / name
        if there.is_symlink() or not os.access(there, os.R_OK | os.X_OK):
            continue
        if not isinstance(recognise(there), str) or _checkpoints(there):
            found.append(str(name))
        else:
            below += [name / inner for inner in _listed(there, folders=True)]
    return sorted(found, key=natural_path)


def _names(names: Sequence[str]) -> str:
    """Return names as they are counted up, or the first of many."""
    more = len(names) - _MOST_NAMES
    told = ", ".join(names[:_MOST_NAMES])
    return f"{told} and {more} more" if more > 0 else told
