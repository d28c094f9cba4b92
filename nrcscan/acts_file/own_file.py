"""Whether an HDF5 file is one that nrcscan extract has written to its end."""

from __future__ import annotations

from pathlib import Path

import h5py

from nrcscan.acts_file.plain_attributes import PlainAttributes
from nrcscan.acts_file.schema import FORMAT, VERSION
from nrcscan.acts_file.self_contained import require_self_contained
from nrcscan.errors import InputError


def _format(attributes: PlainAttributes) -> str | None:
    told = attributes.plain("format")
    return told.decode(errors="replace") if isinstance(told, bytes) else None


def require_ours(file: h5py.File, path: Path) -> set[str]:
    """Refuse what nrcscan extract has not written to its end; return the names of its datasets.

    Raises:
        InputError: the file is of another program, of a newer nrcscan, or was not finished.
    """
    names = require_self_contained(file, path)  # before any attribute is read
    attributes = PlainAttributes(file)
    if _format(attributes) != FORMAT:
        raise InputError(
            f"{path}: an HDF5 file, but not one of nrcscan extract;"
            " give a file that nrcscan extract wrote"
        )
    version = int(attributes["version"])
    if version < 1:
        raise InputError(f"{path}: has no valid version; run nrcscan extract again")
    if version > VERSION:
        raise InputError(
            f"{path}: written by a newer nrcscan (file version {version}, this one reads up to"
            f" {VERSION}); upgrade nrcscan"
        )
    if not attributes["complete"]:
        raise InputError(f"{path}: was never finished; run nrcscan extract again")
    return names
