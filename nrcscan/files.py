"""Opening what a user named: a regular file, told by its content, with its fingerprint."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from nrcscan.errors import InputError, reason


def regular_file(path: Path, what: str) -> Path:
    """Return `path` if it is a file that can be read and is not empty.

    Raises:
        InputError: it is not.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the {what} file itself")
    if not path.exists():
        raise InputError(f"{path}: no such {what} file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file; copy the {what} into one first")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the {what} file is empty; was it saved or copied to the end?")
    head(path, 1)
    return path


def head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        why = error.strerror or reason(error)
        raise InputError(f"{path}: cannot be read: {why}; check its permissions") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def foreign(path: Path) -> str:
    """Say what a file that is not wanted here seems to be."""
    start = head(path, 16)
    known = {
        b"\x89HDF\r\n\x1a\n": "an HDF5 file",
        b"\x93NUMPY": "a NumPy array (.npy)",
        b"PK\x03\x04": "a zip archive",
        b"PK\x05\x06": "an empty zip archive",
        b"\x1f\x8b": "gzip-compressed",
        b"PAR1": "a Parquet file",
        b"\x89PNG": "an image",
        b"\xff\xd8\xff": "an image",
        b"%PDF": "a PDF",
        b"\x7fELF": "a program",
        b"version https://": "a Git LFS pointer, not the file itself",
    }
    for magic, name in known.items():
        if start.startswith(magic):
            return name
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return "a pickle"
    try:
        start.decode("ascii")
    except UnicodeDecodeError:
        return "of an unknown format"
    return "a text file"


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts "layers.2" before "layers.10".

    >>> sorted(["l.10.b", "l.2.b", "l.2.a"], key=natural_key)
    ['l.2.a', 'l.2.b', 'l.10.b']
    """
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name) if p]
