"""The one place that puts files in place: whole or not at all, and on disk.

One policy holds for whatever is written: `require_apart` and `require_free`, before any work.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nrcscan.errors import OutputError, UsageError
from nrcscan.files import claims
from nrcscan.files.claims import beside
from nrcscan.files.open_safely import head, is_folder, is_link, is_regular, is_there
from nrcscan.wording import reason

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the operating system says of a full disk, and of a user who has used up a share of it."""

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF)
"""What it says where a folder cannot be synced at all, or not by this user."""

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
"""What it says of a file system without hard links."""


def require_free(path: Path, *, force: bool) -> None:
    """Check that `path` can be written before any work is done, and claim it.

    Raises:
        UsageError: something is there already that is not to be overwritten, it is no file, or
            another program is writing it.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    with told(path):
        require_file(path, force=force)
        claims.claim(path, force=force)
        require_nothing_new(path, force=force)


def require_file(path: Path, *, force: bool) -> None:
    """Check what is at `path`, and its folder.

    Raises:
        UsageError: something is there already that is not to be overwritten, or it is no file.
        OutputError: the folder of the output is missing.
    """
    _require_no_stream(path, "file")
    if is_folder(path):
        raise UsageError(f"{path}: is a folder; give a file name with -o")
    if is_link(path) or (is_there(path) and not is_regular(path)):
        raise UsageError(f"{path}: is a link or a device, not a file; give a file name with -o")
    if is_there(path) and not force:
        raise UsageError(f"{path}: exists already; replace it with --force, or choose another name")
    folder = path.parent
    if not is_folder(folder):
        raise OutputError(f"{path}: there is no folder {folder}; create it first")


def require_nothing_new(path: Path, *, force: bool) -> None:
    """Check once more when no other nrcscan can write there.

    Raises:
        UsageError: something has come there that is not to be overwritten.
    """
    if not force and path.exists():
        raise UsageError(f"{path}: another program has just created it; choose another -o")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one message about an output.

    Raises:
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise
        raise unwritable(path, error) from error


def require_folder(path: Path) -> None:
    """Check that `path` is a folder, or nothing yet.

    Raises:
        UsageError: it is a file, or stands for stdout.
    """
    _require_no_stream(path, "folder")
    if is_there(path) and not is_folder(path):
        raise UsageError(f"{path}: is a file; give a folder with -o")


def require_apart(
    output: Path, inputs: Iterable[str | Path], begins: tuple[bytes, ...] = ()
) -> None:
    """Refuse to write over an input, or what is in a folder that is one, whatever is asked for.

    Args:
        output: the file to write.
        inputs: files and folders.
        begins: what a file of the output's form begins with. In a folder only such a one is
            replaced: a page in a scan, say, but nothing that the scan itself is made of.

    Raises:
        UsageError: the output is one of the inputs, or in a folder of them.
        InputError: the file that it would replace cannot be read.
    """
    named = sorted(map(Path, inputs), key=is_folder)  # what is named itself comes first
    for given in named if is_there(output) else ():
        if not is_there(given):
            continue
        if output.samefile(given):
            raise UsageError(f"{output}: is an input too; choose another -o")
        inside = is_folder(given) and output.resolve().is_relative_to(given.resolve())
        if inside and output.is_file():
            found = head(output, max(map(len, begins), default=0))
            if not found.startswith(begins):
                raise UsageError(f"{output}: is in {given}, an input too; choose another -o")


@contextmanager
def put_in_place(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield where to write what appears at `path`, on disk, when the block has ended well.

    Args:
        path: where it will be.
        force: replace what is there.

    Raises:
        UsageError: something has come there during the work, that is not to be overwritten, or
            another program is writing it.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    force = claims.replaces(path, force=force)
    with ExitStack() as stack:
        with told(path):
            require_file(path, force=force)
            stack.enter_context(claims.claimed(path))
            require_nothing_new(path, force=force)
        partial = beside(path)
        try:
            yield partial
            with told(path):
                sync(partial)
                move(partial, path, force=force)
        finally:
            with suppress(OSError):
                partial.unlink()
        claims.written(path)
        sync_entry(path)


def move(partial: Path, path: Path, *, force: bool) -> None:
    """Give a file its final name.

    Raises:
        UsageError: something has come there that is not to be overwritten.
    """
    if force:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # unlike a rename it replaces nothing, whoever wrote it
        with suppress(OSError):
            partial.unlink()
    except FileExistsError:
        require_nothing_new(path, force=force)
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        require_nothing_new(path, force=force)
        partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, replacing what was there.

    Raises:
        UsageError: `path` is a folder, a link or a device, or another program is writing it.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    write_bytes(path, text.encode(), force=True)


def write_bytes(path: Path, content: bytes, *, force: bool) -> None:
    """Write a file whole or not at all.

    Args:
        path: where it will be.
        content: of the file.
        force: replace what is there.

    Raises:
        UsageError: `path` is a folder, a link or a device, something is there that is not to be
            overwritten, or another program is writing it.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    with put_in_place(path, force=force) as partial, told(path):
        partial.write_bytes(content)


@contextmanager
def kept_beside(path: Path, rank: int) -> Iterator[Path]:
    """Yield where a process of torchrun keeps, until the block ends, what goes into an output.

    Args:
        path: of the output.
        rank: of the process.

    Raises:
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    own = claims.of_rank(path, rank)
    with ExitStack() as stack:
        with told(path):
            stack.enter_context(claims.claimed(own))
        partial = beside(own)
        try:
            yield partial
        finally:
            with suppress(OSError):
                partial.unlink()


def unwritable(path: Path, error: OSError | RuntimeError) -> OutputError:
    """Return the message for an output that cannot be written; HDF5 hides the reason in its own."""
    hidden = re.search(r"errno = (\d+)", str(error))
    number = int(hidden[1]) if hidden else getattr(error, "errno", None)
    why = os.strerror(number) if number else reason(error)
    return OutputError(f"{path}: cannot be written: {why}; choose another place with -o")


def _require_no_stream(path: Path, kind: str) -> None:
    """Refuse "-", which stands for stdout.

    Raises:
        UsageError: stdout takes text, and this is another kind of output.
    """
    if str(path) == "-":
        raise UsageError(f"-: stdout takes no such output; give a {kind} with -o")


def sync(path: Path) -> None:
    """Have the operating system put a file, or a folder's entries, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_entry(path: Path) -> None:
    """Have the operating system put on disk that a file, which is, has come into its folder.

    Raises:
        OutputError: the file is there, and whole, but may be gone after a power failure.
    """
    try:
        sync(path.parent)
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        with told(path):
            path.stat()
        raise OutputError(
            f"{path}: is written and whole, but its folder cannot be put on disk:"
            f" {os.strerror(error.errno or errno.EIO)}; a power failure may undo it: check the"
            " disk, and copy the file to another"
        ) from error
