"""HDF5 files begun and closed: what goes wrong is told, and a full disk crashes nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import h5py

from nrcscan.acts_file.row_datasets import CHUNK_BYTES
from nrcscan.files.write_atomically import unwritable


def new(partial: Path, path: Path) -> h5py.File:
    """Begin a file.

    Args:
        partial: where it is written.
        path: its final name, for messages.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        return h5py.File(partial, "x", libver=("v110", "v110"), rdcc_nbytes=CHUNK_BYTES)
    except OSError as error:
        raise unwritable(path, error) from error


def close(file: h5py.File, path: Path) -> None:
    """Close a file that is complete.

    Raises:
        OutputError: what it still held cannot be written.
    """
    try:
        file.flush()  # a file that could not be closed is half taken apart: touched, it crashes
    except (OSError, RuntimeError) as error:
        abandon(file)
        raise unwritable(path, error) from error
    try:
        file.close()
    except (OSError, RuntimeError) as error:
        raise unwritable(path, error) from error


def abandon(file: h5py.File) -> None:
    """Close a file that is not wanted any more, whatever state it is in."""
    if not file:
        return
    with contextlib.suppress(OSError, RuntimeError):
        write_nowhere(file)
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def write_nowhere(file: h5py.File) -> None:
    """Let a file that is not wanted any more write what it still holds to nowhere.

    On a full disk HDF5 can neither flush nor close, and crashes when the program ends.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)
