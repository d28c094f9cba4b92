"""Opening what a user named: a regular file, told by its content, with its fingerprint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from nrcscan.errors import InputError, UnsafeError, reason


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
        raise _unreadable(path, error) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    why = error.strerror or reason(error)
    return InputError(f"{path}: cannot be read: {why}; check its permissions")


def sha256_all(paths: Iterable[Path]) -> str:
    """Return one SHA-256, in hex, for the contents of several files in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def beside(path: Path, name: str, what: str) -> Path:
    """Return the file `name` in the folder of `path`, which names it.

    Raises:
        UnsafeError: it is not a plain name, or a link out of the folder.
    """
    if not name or name in (".", "..") or set(name) & set("/\\\0") or Path(name).name != name:
        raise UnsafeError(f"{path}: names a {what} outside its own folder, {name!r}; not followed")
    found = path.parent / name
    if found.is_symlink() and found.resolve().parent != path.parent.resolve():
        raise UnsafeError(f"{path}: {what} {name!r} is a link out of its folder; not followed")
    return found


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
        b"\xff\xfe": "UTF-16 text, to be saved as UTF-8",
        b"\xfe\xff": "UTF-16 text, to be saved as UTF-8",
        b"ARROW1": "an Arrow (Feather) file",
        b"\xff\xff\xff\xff": "a stream of Arrow, whose folder is the data",
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
