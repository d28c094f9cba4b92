"""Several files that belong together are put in place: all of them, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nrcscan.files import claims
from nrcscan.files.claims import beside
from nrcscan.files.write_atomically import (
    NO_LINKS,
    move,
    require_file,
    require_nothing_new,
    sync,
    sync_entry,
    told,
)


@contextmanager
def put_together(paths: Sequence[Path], *, force: bool) -> Iterator[Path]:
    """Yield a folder to write several files in, which appear at `paths`, all of them or none.

    They appear, on disk, when the block has ended well.

    Args:
        paths: where they will be, in one folder; in the folder that is yielded they have the
            same names.
        force: replace what is there.

    Raises:
        UsageError: something has come there during the work, that is not to be overwritten, or
            another program is writing it.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    force = all(claims.replaces(path, force=force) for path in paths)
    with ExitStack() as stack:
        for path in paths:
            with told(path):
                require_file(path, force=force)
                stack.enter_context(claims.claimed(path))
                require_nothing_new(path, force=force)
        folder = beside(paths[0])
        try:
            with told(paths[0]):
                folder.mkdir()
            yield folder
            with told(paths[0]):
                for path in paths:
                    sync(folder / path.name)
                _move_all(folder, paths, force=force)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for path in paths:
            claims.written(path)
        sync_entry(paths[0])


def _move_all(folder: Path, paths: Sequence[Path], *, force: bool) -> None:
    """Give files of a folder their final names; if one cannot be moved, all is as before.

    At no moment is there nothing where something was.
    """
    moved: list[tuple[Path, Path | None]] = []
    try:
        for path in paths:
            before = folder / f"{path.name}.before" if path.exists() and force else None
            if before is not None:
                _keep(path, before)
            moved.append((path, before))
            move(folder / path.name, path, force=force)
    except BaseException:  # a signal too
        for path, before in moved:
            if before is not None:
                before.replace(path)
            elif not (folder / path.name).exists():
                path.unlink(missing_ok=True)
        raise


def _keep(path: Path, before: Path) -> None:
    """Have a file under a second name."""
    try:
        os.link(path, before)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(path, before)
