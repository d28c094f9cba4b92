"""What a config.json may say: numbers and words that describe a network, and never code.

A library that is told of code in other files may ask for leave, or forget to ask: CVE-2026-4372
(the implementation of attention is a repository whose Python is imported) and CVE-2026-5241 (a
nested `trust_remote_code`). So whoever reads the folder does not get to see such a config.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError, UnsafeError
from nrcscan.wording import reason

_LARGEST = 1 << 24
_DEEPEST = 20
_MOST_VALUES = 1_000_000
_OUR_IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm")
_IMPLEMENTATION = re.compile(r"_?(attn|experts|attention|moe)_implementation")
_CODE = re.compile(
    r"_?auto_map|.*trust_remote_code.*|_.*_internal|.*allow_all_kernels.*|_?(use_)?kernels?"
    r"|.*(kernel|hub)_(config|repo|repo_id|mapping)|custom_(pipelines?|generate|objects?)|.*code_revision"
)
"""What names code in other files, or lets it run."""

_ELSEWHERE = re.compile(r"backbone|use_(timm|pretrained)_backbone|gguf_file|adapter_kwargs")
"""What has weights, or their description, brought from elsewhere."""

_ORIGIN = ("_name_or_path", "name_or_path", "_commit_hash")
"""Where a network came from; a library may go and look there."""


def huggingface_config(folder: Path) -> dict[str, Any]:
    """Return what a folder's config.json says, but for where it came from.

    Raises:
        UnsafeError: it names code to be run.
        InputError: it is no description of a network, or of one whose parts are elsewhere.
    """
    path = folder / "config.json"
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: is too large for a description; copy the folder again")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({reason(error)}); copy the folder again"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(f"{path}: does not say of which type its network is; copy it again")
    for name, value in _entries(path, config):
        _require_harmless(path, name, value)
    if config.get("quantization_config"):
        raise InputError(
            f"{path}: its weights are quantised; save them after dequantize(), in floating point"
        )
    _without_origin(config)
    return config


def architecture(folder: Path, config: dict[str, Any]) -> str:
    """Return the one class that a config says its network is of.

    Raises:
        InputError: it names none, or several.
    """
    names = config.get("architectures")
    if not names:
        raise InputError(
            f"{folder}: config.json names no architectures; name the network with --model"
        )
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise InputError(
            f"{folder}: config.json names architectures that are not one class; name the network"
            " with --model"
        )
    return names[0]


def _entries(path: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every entry of every object in a config.

    Raises:
        InputError: it is deeper or has more entries than any.
    """
    waiting: list[tuple[Any, int]] = [(config, 0)]
    met = 0
    while waiting:
        value, depth = waiting.pop()
        met += 1
        if depth > _DEEPEST or met > _MOST_VALUES:
            raise InputError(f"{path}: is larger than any description; copy the folder again")
        if isinstance(value, dict):
            yield from value.items()
            waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]


def _require_harmless(path: Path, name: str, value: Any) -> None:
    """Refuse an entry of a config that names code, or what is elsewhere.

    Raises:
        UnsafeError: it names code to be run, or lets it run.
        InputError: it has a part of the network brought from elsewhere.
    """
    folded = name.casefold().strip()
    if value is None or value is False:
        return
    if _IMPLEMENTATION.fullmatch(folded):
        words = list(value.values()) if isinstance(value, dict) else [value]
        if all(word is None or word in _OUR_IMPLEMENTATIONS for word in words):
            return
    elif not _CODE.fullmatch(folded):
        if _ELSEWHERE.fullmatch(folded):
            raise InputError(
                f"{path}: its {name!r} has a part of the network brought from elsewhere; name the"
                " network with --model"
            )
        return
    raise UnsafeError(
        f"{path}: not opened, because its {name[:80]!r} names code to run; take it out if torch's"
        " own will do, or name the network with --model"
    )


def _without_origin(config: dict[str, Any]) -> None:
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name in _ORIGIN:
                value.pop(name, None)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
