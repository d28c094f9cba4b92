"""Opening what a user named: a regular file, told by its content, with its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from nrcscan.errors import InputError, UnsafeError
from nrcscan.wording import reason


def regular_file(path: Path, kind: str) -> Path:
    """Return `path` if it is a file that can be read and is not empty.

    Raises:
        InputError: there is no such file with content, or it may not be read.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the {kind} file itself")
    if not path.exists():
        raise InputError(f"{path}: no such {kind} file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file; copy the {kind} into one first")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the {kind} file is empty; save or copy it again")
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


def beside(path: Path, name: str, kind: str) -> Path:
    """Return the file `name` in the folder of `path`, which names it.

    Raises:
        UnsafeError: a file names another that is not beside it, and might be anyone's.
    """
    if not name or name in (".", "..") or set(name) & set("/\\\0") or Path(name).name != name:
        raise UnsafeError(
            f"{path}: names a {kind} outside its own folder, {name!r}; save both in one"
        )
    found = path.parent / name
    if found.is_symlink() and found.resolve().parent != path.parent.resolve():
        raise UnsafeError(
            f"{path}: {kind} {name!r} is a link out of its folder; copy the file there"
        )
    return found
