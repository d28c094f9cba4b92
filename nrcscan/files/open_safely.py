"""The one door for what a user named, or what lies in a folder that is scanned.

A regular file alone, opened so that neither a pipe nor a device can make the program wait, told by
its content, with its fingerprint; and of a size that its kind can have.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nrcscan.errors import InputError, NrcscanError, UnsafeError, UsageError
from nrcscan.files import at_work
from nrcscan.wording import reason

# Where a system has no such flag it has no pipes among its files either.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))


def is_folder(path: Path) -> bool:
    """Whether this is a folder; also of a name that no file can have, of which it is none."""
    return os.path.isdir(path)  # noqa: PTH112 (which raises on names that are too long)


def is_regular(path: Path) -> bool:
    """Whether this is a regular file; also of a name that no file can have, of which it is none."""
    return os.path.isfile(path)  # noqa: PTH113 (as above)


def is_link(path: Path) -> bool:
    """Whether this is a link; also of a name that no file can have, of which it is none."""
    return os.path.islink(path)  # noqa: PTH114 (as above)


def is_there(path: Path) -> bool:
    """Whether there is anything of this name, which may be one that no file can have."""
    return os.path.exists(path)  # noqa: PTH110 (as above)


def regular_file(path: Path, kind: str) -> Path:
    """Return `path` if it is a file that can be read and is not empty.

    Raises:
        InputError: there is no such file with content, or it may not be read.
    """
    if is_folder(path):
        raise InputError(f"{path}: this is a folder; give the {kind} file itself")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such {kind} file; check the path") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path, kind)
    if status.st_size == 0:
        raise InputError(f"{path}: the {kind} file is empty; save or copy it again")
    head(path, 1)
    return path


def opened(path: Path, kind: str = "file") -> io.BufferedReader:
    """Open a regular file to be read; a pipe or a device is refused, and never waited for.

    Raises:
        InputError: there is no such regular file, or it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path, kind)
    return open(descriptor, "rb")  # noqa: PTH123 (of a descriptor)


def head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file."""
    with _reading(path) as file:
        return file.read(size)


def content(path: Path, kind: str, limit: int) -> bytes:
    """Return all bytes of a file that may have so many.

    Raises:
        InputError: it cannot be read, or is larger than files of its kind are.
    """
    with _reading(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise InputError(
                f"{path}: has more than {limit / 1e6:.0f} MB, which no {kind} file has; give"
                " another"
            )
        return file.read(size)


@contextmanager
def _reading(path: Path, kind: str = "file") -> Iterator[io.BufferedReader]:
    """Open a regular file to be read and closed, either of which a disk may fail at."""
    try:
        with opened(path, kind) as file, at_work.doing(file=path):
            yield file
    except OSError as error:
        raise _unreadable(path, error) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with _reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_regular(path: Path, kind: str) -> InputError:
    """Return the error that something is no file, such as a pipe.

    Raises:
        InputError: what is read has to be a regular file, and this is a pipe, device or folder.
    """
    return InputError(f"{path}: not a regular file; copy the {kind} into one first")


def too_long(name: str) -> UsageError:
    """Return the error that no file can have this name.

    Raises:
        UsageError: a path is longer than the file system allows.
    """
    return UsageError(f"{name[:60]}…: a name of {len(name)} letters; check the path")


def _unreadable(path: Path, error: OSError | ValueError) -> NrcscanError:
    """Return the error that a file cannot be read.

    Raises:
        InputError: the system does not let a file be read, or cannot have one of its name.
    """
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return too_long(str(path))
    why = (error.strerror if isinstance(error, OSError) else None) or reason(error)
    remedy = "check its permissions" if isinstance(error, PermissionError) else "check the path"
    return InputError(f"{path}: cannot be read: {why}; {remedy}")


def sha256_all(paths: Iterable[Path]) -> str:
    """Return one SHA-256, in hex, for the contents of several files in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def require_plain(folder: Path) -> None:
    """Refuse a folder that a library will open files of, if one of them would make it wait.

    Raises:
        InputError: a pipe or a device is in a folder that is opened as a whole.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error
    for path in entries:
        if is_there(path) and not is_folder(path) and not is_regular(path):
            raise InputError(f"{path}: not a regular file; remove it from the folder")


def beside(path: Path, name: str, kind: str) -> Path:
    """Return the file `name` in the folder of `path`, which names it.

    Whoever can make a link can have one file name any other that is on the same disk, which would
    be read as if it lay there.

    Raises:
        UnsafeError: a file names another that is not beside it, and might be anyone's.
    """
    if not name or name in (".", "..") or set(name) & set("/\\\0") or Path(name).name != name:
        raise UnsafeError(
            f"{path}: names a {kind} outside its own folder, {name!r}; save both in one"
        )
    found = path.parent / name
    if is_link(found) and found.resolve().parent != path.parent.resolve():
        raise UnsafeError(
            f"{path}: {kind} {name!r} is a link out of its folder; copy the file there, as cp -rL"
            " does with a whole folder"
        )
    if is_regular(found) and found.stat().st_nlink > 1:
        raise UnsafeError(
            f"{path}: {kind} {name!r} has a second name, a hard link, which may be anywhere; copy"
            " the file, and put the copy in its place"
        )
    return found
