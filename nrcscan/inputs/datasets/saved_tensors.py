"""Tensors that were saved as data: safetensors, and what torch.save keeps as data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nrcscan.inputs.checkpoints.torch_save import load_tensors
from nrcscan.inputs.datasets.batches import as_array
from nrcscan.inputs.datasets.rows import Rows
from nrcscan.inputs.datasets.saved_samples import arrays_in


@contextmanager
def safetensors(path: Path, only: Collection[str] | None = None) -> Iterator[Mapping[str, Rows]]:
    """Open the tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:

        def rows(name: str) -> Rows:
            part = file.get_slice(name)
            return Rows(tuple(part.get_shape()), None, lambda a, b: as_array(part[a:b], str(path)))

        yield {name: rows(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


@contextmanager
def torch_tensors(path: Path, only: Collection[str] | None = None) -> Iterator[Mapping[str, Rows]]:
    """Open what torch.save keeps as data: by name, as a pair, or as samples."""
    yield arrays_in(path, load_tensors(path, mapped=True))
