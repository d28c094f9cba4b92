"""Refuses HDF5 files that refer to data outside themselves, whatever they are files of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from pathlib import Path

import h5py

from nrcscan.acts_file.schema import FILTERS, OWN_FILTERS
from nrcscan.errors import InputError


def require_self_contained(file: h5py.File, path: Path) -> set[str]:
    """Refuse an HDF5 file that refers to data outside itself; return the names of its datasets.

    No attribute and no value is read.

    Raises:
        InputError: what the file leads to elsewhere is not read.
    """
    return {name for name, _ in datasets_inside(file, path, filters=OWN_FILTERS)}


def datasets_inside(
    file: h5py.File,
    path: Path,
    only: Collection[str] | None = None,
    filters: Set[int] = frozenset(FILTERS),
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets of an HDF5 file by name; raises as `require_self_contained` does.

    Args:
        file: it.
        path: of the file.
        only: the names of those that are wanted, where all were seen before.
        filters: of HDF5, that values may have gone through.
    """
    for name, kind in _links(file) if only is None else ((n, h5py.h5l.TYPE_HARD) for n in only):
        if kind != h5py.h5l.TYPE_HARD:
            raise InputError(
                f"{path}: {name} is a link to somewhere else; copy what it leads to into the file"
            )
        item = dataset_at(file, name)
        if item is not None:
            _require_inside(item, path, filters)
            yield name, item


def dataset_at(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return the dataset of a name in a file that is open to be read; None if it is of no such.

    Raises:
        KeyError: nothing has the name.
    """
    # Below h5py's own names, which open the file anew for each to ask whether it can be written.
    found = h5py.h5o.open(file.id, name.encode(errors="surrogateescape"))
    return h5py.Dataset(found, readonly=True) if isinstance(found, h5py.h5d.DatasetID) else None


def _links(file: h5py.File) -> list[tuple[str, int]]:
    """Return every link of a file and its type, none of them followed."""
    found: list[tuple[str, int]] = []
    # Below h5py's own names, which take ten times as long where there are thousands of episodes.
    file.id.links.visit(
        lambda name, link: found.append((name.decode(errors="surrogateescape"), link.type)),
        info=True,
    )
    return found


def _require_inside(dataset: h5py.Dataset, path: Path, filters: Set[int]) -> None:
    """Refuse a dataset whose bytes are not in the file, or need a plug-in to be read.

    Raises:
        InputError: the values of an array are not in the file, or not in plain gzip.
    """
    made = dataset.id.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
        raise InputError(
            f"{path}: {dataset.name} keeps its data in another file; copy it into this one"
        )
    if {made.get_filter(i)[0] for i in range(made.get_nfilters())} - filters:
        raise InputError(
            f"{path}: {dataset.name} is compressed in a way that needs a plug-in; use gzip"
        )
