"""The one place that puts files in place: whole or not at all, and on disk.

One policy holds for whatever is written: `require_apart` and `require_free`, before any work.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nrcscan.errors import OutputError, UsageError
from nrcscan.files.open_safely import head, is_folder, is_link, is_regular, is_there
from nrcscan.wording import reason

PARTIAL = ".part"
"""How the name of what is not whole yet ends."""


def require_free(path: Path, *, force: bool) -> None:
    """Check that `path` can be written before any work is done.

    Raises:
        UsageError: something is there already that is not to be overwritten, or it is no file.
        OutputError: the folder of the output is missing, full, or cannot be written to.
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
    probe = beside(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
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
        UsageError: something has come there during the work, that is not to be overwritten.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    require_free(path, force=force)
    partial = beside(path)
    try:
        yield partial
        try:
            _sync(partial)
            if path.exists() and not force:
                raise UsageError(f"{path}: another program has just created it; choose another -o")
            partial.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def put_together(paths: Sequence[Path], *, force: bool) -> Iterator[Path]:
    """Yield a folder to write several files in, which appear at `paths`, all of them or none.

    They appear, on disk, when the block has ended well.

    Args:
        paths: where they will be, in one folder; in the folder that is yielded they have the
            same names.
        force: replace what is there.

    Raises:
        UsageError: something has come there during the work, that is not to be overwritten.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    for path in paths:
        require_free(path, force=force)
    folder = beside(paths[0])
    try:
        try:
            folder.mkdir()
            yield folder
            for path in paths:
                _sync(folder / path.name)
                if path.exists() and not force:
                    raise UsageError(
                        f"{path}: another program has just created it; choose another -o"
                    )
            _replace_all(folder, paths)
            _sync(paths[0].parent)
        except OSError as error:
            raise unwritable(paths[0], error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace_all(folder: Path, paths: Sequence[Path]) -> None:
    """Move files of a folder to where they will be; if one cannot be moved, all is as before."""
    moved: list[tuple[Path, Path]] = []
    try:
        for path in paths:
            before = folder / f"{path.name}.before"
            if path.exists():
                path.replace(before)
            moved.append((path, before))
            (folder / path.name).replace(path)
    except OSError:
        for path, before in moved:
            path.unlink(missing_ok=True)
            if before.exists():
                before.replace(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, replacing what was there.

    Raises:
        UsageError: `path` is a folder, a link or a device.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    with put_in_place(path, force=True) as partial:
        try:
            partial.write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error


def beside(path: Path) -> Path:
    """Return a name in the same folder that nothing has yet."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")


def sweep(folder: Path) -> None:
    """Remove what killed programs left half-written in a folder."""
    for left in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError):
            left.unlink()


def unwritable(path: Path, error: OSError | RuntimeError) -> OutputError:
    """Return the message for an output that cannot be written; HDF5 hides the reason in its own."""
    told = re.search(r"errno = (\d+)", str(error))
    number = int(told[1]) if told else getattr(error, "errno", None)
    why = os.strerror(number) if number else reason(error)
    return OutputError(f"{path}: cannot be written: {why}; choose another place with -o")


def _require_no_stream(path: Path, kind: str) -> None:
    """Refuse "-", which stands for stdout.

    Raises:
        UsageError: stdout takes text, and this is another kind of output.
    """
    if str(path) == "-":
        raise UsageError(f"-: stdout takes no such output; give a {kind} with -o")


def _sync(path: Path) -> None:
    """Have the operating system put a file, or a folder's entries, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
