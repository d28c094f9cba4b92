"""Who writes where: a program claims the name of what it will write, and no other gets it.

A claim is an empty file beside the output, `.NAME.lock`, which the operating system locks. The lock
ends with the program, however that ends; so what a lock without an owner is beside was left by a
program that was killed, and whoever claims the name next removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from nrcscan.errors import UsageError
from nrcscan.files import at_work

PARTIAL = ".part"
"""How the name of what is not whole yet ends."""

LOCK = ".lock"
"""How the name of a claim ends."""


@dataclass(frozen=True)
class _Scope:
    """Claims that last until the end of a block.

    Attributes:
        claims: open ones.
        replaces: output → whether what is there may be replaced.
    """

    claims: ExitStack
    replaces: dict[Path, bool]


_scope: ContextVar[_Scope | None] = ContextVar("_scope", default=None)


@contextmanager
def holding() -> Iterator[None]:
    """Have `claim` last until the end of the block, so that no work is done in vain."""
    outer = _scope.get()
    with ExitStack() as claims:
        token = _scope.set(_Scope(claims, {} if outer is None else outer.replaces.copy()))
        try:
            yield
        finally:
            _scope.reset(token)


def claim(path: Path, *, force: bool) -> None:
    """Claim an output for as long as a block of `holding` lasts; without one, see that it can be.

    Of the processes of torchrun, which share their outputs, the first claims them.

    Args:
        path: of the output.
        force: whether what is there may be replaced, when it is written.

    Raises:
        UsageError: another program is writing it.
        OSError: the folder cannot be written to.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    scope, name = _scope.get(), _name(path)
    if scope is None:
        with claimed(path):
            return
    if name not in scope.replaces:
        scope.claims.enter_context(claimed(path))
    scope.replaces[name] = scope.replaces.get(name, True) and force


def replaces(path: Path, *, force: bool) -> bool:
    """Return whether an output may be replaced, as it was claimed and as it is written now."""
    scope = _scope.get()
    return force and (scope is None or scope.replaces.get(_name(path), True))


def written(path: Path) -> None:
    """Have an output that is ours now be replaced when it is written again."""
    scope = _scope.get()
    if scope is not None and _name(path) in scope.replaces:
        scope.replaces[_name(path)] = True


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Claim an output until the end of the block, and sweep what killed programs left of it.

    Raises:
        UsageError: another program is writing it.
        OSError: the folder cannot be written to.
    """
    scope = _scope.get()
    if scope is not None and _name(path) in scope.replaces:
        yield
        return
    lock = path.with_name(f".{path.name}{LOCK}")
    descriptor, left = _locked(lock, path)
    try:
        if left:
            _sweep_name(path)
        with at_work.claiming(path):
            yield
    finally:
        with suppress(OSError):
            lock.unlink()  # before it is given up: nobody then takes it for a claim
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked process may have it open too
        with suppress(OSError):
            os.close(descriptor)


def beside(path: Path) -> Path:
    """Return a name in the same folder that nothing has yet."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")


def of_rank(path: Path, rank: int) -> Path:
    """Return the name under which a process of torchrun keeps what goes into an output."""
    return path.with_name(f"{path.name}.rank{rank}")


def sweep(folder: Path) -> None:
    """Remove what killed programs left half-written in a folder that is this program's alone."""
    for ending in (PARTIAL, LOCK):
        for left in folder.glob(f".*{ending}"):
            _remove(left)


def _name(path: Path) -> Path:
    return Path(os.path.realpath(path.parent), path.name)


def _locked(lock: Path, path: Path) -> tuple[int, bool]:
    """Return a claim's file, open and locked, and whether a program that is gone had left it.

    Raises:
        UsageError: another program has locked it.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        left = False
        try:
            descriptor = os.open(lock, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            left = True
            try:
                descriptor = os.open(lock, flags)
            except FileNotFoundError:
                continue  # it has just been given up
        try:
            _lock(descriptor, lock, path, left=left)
            if _is_at(descriptor, lock):
                return descriptor, left
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # given up between the two, and removed


def _lock(descriptor: int, lock: Path, path: Path, *, left: bool) -> None:
    """Lock an open file.

    Raises:
        UsageError: another program has.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"{path}: another program is writing it; wait for it, or choose another -o"
        ) from error
    except OSError as error:  # a file system without locks, where whoever made the file has it
        if left:
            raise UsageError(
                f"{path}: another program is writing it, or was killed as it did; if there is none,"
                f" remove {lock}"
            ) from error


def _is_at(descriptor: int, lock: Path) -> bool:
    """Say whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.lstat())
    except FileNotFoundError:
        return False


def _sweep_name(path: Path) -> None:
    """Remove what killed programs left of an output that is claimed now."""
    ours = re.compile(rf"\.{re.escape(path.name)}(\.rank\d+)?\.[0-9a-f]{{8}}{re.escape(PARTIAL)}")
    with suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            if (found := ours.fullmatch(entry.name)) is None:
                continue
            if found[1] is None:
                _remove(Path(entry.path))
            else:  # it has a claim of its own, which may outlive ours
                with suppress(UsageError, OSError), claimed(path.with_name(path.name + found[1])):
                    _remove(Path(entry.path))


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
        return
    with suppress(OSError):
        left.unlink()
