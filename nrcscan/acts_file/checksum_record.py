"""Where a file keeps its checksums: one dataset of JSON, whose own one is an attribute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.checksums import Checksums, sha256_of
from nrcscan.acts_file.layer_attributes import fixed
from nrcscan.acts_file.plain_attributes import PlainAttributes
from nrcscan.acts_file.self_contained import dataset_at
from nrcscan.acts_file.stored_sizes import require_held
from nrcscan.files.read_json import parse_json

NAME = "checksums"
"""Of the dataset, and of the attribute of the whole file."""
LARGEST = 1 << 28
"""Bytes of it; a thousand layers take 2.4 MB."""


def as_bytes(told: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return JSON as a dataset holds it."""
    return np.frombuffer(json.dumps(told, indent=1, allow_nan=False).encode(), dtype=np.uint8)


def write(
    file: h5py.File,
    known: Mapping[str, str],
    rows: Iterable[str],
    put: Callable[[str, NDArray[Any]], None],
) -> None:
    """Write the checksums of all that is in a file, which is complete but for them.

    Args:
        file: it.
        known: dataset → SHA-256; others are read.
        rows: datasets of rows of samples, which have none.
        put: writes a dataset.
    """
    told = as_bytes(_found(file, {**known, **dict.fromkeys(rows)}))
    put(NAME, told)
    file.attrs[NAME] = fixed(sha256_of(NAME, told))


def _found(file: h5py.File, known: Mapping[str, str | None]) -> dict[str, Any]:
    datasets, attributes = dict(known), {"": _of_attributes(file, "")}
    names: list[bytes] = []
    file.id.links.visit(names.append)
    for name in (one.decode() for one in names):
        if name in known:
            continue
        dataset = dataset_at(file, name)
        if dataset is None:
            attributes[name] = _of_attributes(file[name], name)
        else:
            datasets[name] = sha256_of(name, dataset[()])
    return {"datasets": datasets, "attributes": {k: v for k, v in attributes.items() if v}}


def _of_attributes(group: h5py.Group, where: str) -> dict[str, str]:
    found = PlainAttributes(group)
    return {name: sha256_of(f"{where}@{name}", found[name]) for name in found}


def checksums_in(file: h5py.File) -> Checksums:
    """Return the checksums of a file, once they are known to be those that it was given.

    Raises:
        ValueError: they are damaged, or half of them is missing.
    """
    attributes = PlainAttributes(file)
    if NAME not in file and NAME not in attributes:
        return Checksums()
    dataset = dataset_at(file, NAME)
    if dataset is None or dataset.dtype != np.uint8:
        raise ValueError(f"{NAME} is no text")
    require_held(dataset, most=LARGEST)
    held = dataset[()]
    if attributes[NAME] != sha256_of(NAME, held).encode():
        raise ValueError(f"{NAME} is not what was written: its SHA-256 differs")
    told = parse_json(held.tobytes())
    found = Checksums(told["datasets"], told["attributes"])
    for name in found.of_file:
        found.require_attribute("", name, attributes[name])
    return found
