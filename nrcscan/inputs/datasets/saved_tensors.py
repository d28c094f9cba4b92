"""Tensors that were saved as data: safetensors, and what torch.save keeps as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.inputs.checkpoints.contents import require_plain
from nrcscan.inputs.checkpoints.torch_save import load_tensors
from nrcscan.inputs.datasets.batches import as_array
from nrcscan.inputs.datasets.rows import Rows


@contextmanager
def safetensors(path: Path) -> Iterator[Mapping[str, Rows]]:
    """Open the tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:

        def rows(name: str) -> Rows:
            part = file.get_slice(name)
            return Rows(tuple(part.get_shape()), None, lambda a, b: as_array(part[a:b], str(path)))

        yield {name: rows(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


@contextmanager
def torch_tensors(path: Path) -> Iterator[Mapping[str, Rows]]:
    """Open the tensors of `torch.save`: a dict of them, or a pair (inputs, targets)."""
    content = load_tensors(path, mapped=True)
    if isinstance(content, list | tuple) and len(content) == 2:
        content = {"X": content[0], "y": content[1]}
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path}: holds a {type(content).__name__}; save a dict of tensors, or a pair"
        )

    def rows(name: str, tensor: torch.Tensor) -> Rows:
        def read(start: int, stop: int) -> NDArray[Any]:
            require_plain(path, name, tensor)
            return as_array(tensor[start:stop], str(path))

        return Rows(tuple(tensor.shape), None, read)

    yield {
        str(name): rows(str(name), value)
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
