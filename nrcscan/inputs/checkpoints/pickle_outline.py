"""What a file of `torch.save` holds in outline: names, numbers and the shapes of its tensors.

Nothing is imported, built or run, and no tensor is read: the machine that reads weights as data
is told of no tensors here, so that each stays a placeholder. Imports nothing heavy.
"""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.signs import LEGACY_MAGIC
from nrcscan.inputs.pickles.known_containers import known_containers
from nrcscan.inputs.pickles.pickle_machine import PickleMachine
from nrcscan.inputs.pickles.placeholder import Placeholder

_LIMIT = 1 << 27
_LEGACY_PICKLES = 3
_DEEPEST = 8


def outline(path: Path) -> Any:
    """Return dicts, lists, numbers and texts as they are, and a `Placeholder` for all else.

    Raises:
        ValueError: it is no file of `torch.save`, or its pickle is damaged or too long.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                if archive.getinfo(name).file_size > _LIMIT:
                    raise ValueError("a long pickle")
                return _machine(archive.read(name)).load()
        with (
            open_safely.opened(path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer,
        ):
            if buffer[: len(LEGACY_MAGIC)] != LEGACY_MAGIC:
                raise ValueError("no file of torch.save")
            machine = _machine(buffer)
            for _ in range(_LEGACY_PICKLES):
                machine.load()
            return machine.load()
    except Exception as error:  # damaged archives and pickles raise almost anything
        raise ValueError(f"no outline of {path}") from error


def shape_of(value: Any, depth: int = 0) -> tuple[int, ...] | None:
    """Return the shape of the tensor that a placeholder stands for; None if it is none."""
    if not isinstance(value, Placeholder) or not value.args or depth > _DEEPEST:
        return None
    if not value.name.startswith("torch._utils._rebuild_"):
        return None
    first, *rest = value.args
    if isinstance(first, Placeholder) and first.name.startswith("torch._utils._rebuild_"):
        if first.args is None and len(rest) > 1 and isinstance(rest[1], tuple):
            first = Placeholder(first.name, rest[1])  # of a class of its own: how it is made plain
        return shape_of(first, depth + 1)
    return next((part for part in rest if isinstance(part, tuple)), None)


def pickled_class(path: Path) -> str:
    """Return the name of the class of which a plain pickle holds an object; "" if of none."""
    try:
        with (
            open_safely.opened(path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer,
        ):
            content = _machine(buffer).load()
    except Exception:  # damaged pickles raise almost anything
        return ""
    return content.name if isinstance(content, Placeholder) else ""


def walk(content: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield everything in an outline once, with the keys that lead to it."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        keys, value = waiting.pop()
        yield keys, value
        if not isinstance(value, Mapping | list | tuple | Placeholder) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += [((*keys, str(name)), part) for name, part in value.items()]
        else:
            inside = value.parts() if isinstance(value, Placeholder) else value
            waiting += [(keys, part) for part in inside]


def _machine(buffer: bytes | mmap.mmap) -> PickleMachine:
    return PickleMachine(buffer, known_containers(), _kept)


def _kept(saved: Any) -> Any:
    """Return what a persistent id stands for: a storage, or the class of a network."""
    if isinstance(saved, tuple) and saved[:1] == ("module",):
        return saved[1]
    return Placeholder("a storage", (saved,))
