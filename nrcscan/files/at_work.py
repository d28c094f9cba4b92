"""What this process is at, for the one that guards it and can still speak when this one cannot.

Both share a little memory. In a process that nobody guards, such as a program of the user's that
calls the library, nothing is kept.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

_SIZE = 1 << 16
"""Bytes of what may be told at once."""


@dataclass(frozen=True)
class Deed:
    """What a thread is at.

    Attributes:
        thread: which one, as `threading.get_ident` has it.
        what: as it would be told, such as "the network ran"; empty where a file is read.
        file: that is read; empty where none is.
    """

    thread: int
    what: str
    file: str


@dataclass
class Told:
    """All that a process says of itself.

    Attributes:
        deeds: what its threads are at, the main one's first.
        limit: seconds that it may take in all; None for any.
        outputs: paths that it has claimed, and would give up itself.
        folders: those of its own, which it would remove.
    """

    deeds: list[Deed] = field(default_factory=list)
    limit: float | None = None
    outputs: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


class Board:
    """Memory that a process shares with those that it forks off: one writes, and one reads.

    There are two places, so that what is read is whole whenever the writer ends.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1 + 2 * _SIZE)

    def write(self, told: Told) -> None:
        """Say what this process is at now."""
        records = [
            record
            for one in told.deeds
            for record in (f"t{one.thread}", f"w{one.what}", f"r{one.file}")
        ]
        records += [] if told.limit is None else [f"l{told.limit!r}"]
        records += [f"f{folder}" for folder in told.folders]
        records += [f"o{output}" for output in told.outputs]
        text = b"\0".join(os.fsencode(record) for record in records)[: _SIZE - 4]
        place = 1 - self._shared[0]
        start = 1 + place * _SIZE
        self._shared[start : start + 4 + len(text)] = len(text).to_bytes(4, "big") + text
        self._shared[0] = place

    def read(self) -> Told:
        """Return what the other process has said last."""
        start = 1 + self._shared[0] * _SIZE
        size = int.from_bytes(self._shared[start : start + 4], "big")
        told = Told()
        thread, what = 0, ""
        for record in os.fsdecode(self._shared[start + 4 : start + 4 + size]).split("\0"):
            kind, value = record[:1], record[1:]
            if kind == "t":
                thread = int(value)
            elif kind == "w":
                what = value
            elif kind == "r":
                told.deeds.append(Deed(thread, what, value))
            elif kind == "l":
                told.limit = float(value)
            elif kind in ("f", "o"):
                (told.folders if kind == "f" else told.outputs).append(value)
        return told


_board: Board | None = None
_told = Told()
_deeds: dict[int, Deed] = {}
_lock = threading.RLock()  # also where a signal comes between, and its handler cleans up


def _nothing() -> None:
    pass


_at_first: Callable[[], None] = _nothing


def tell(board: Board | None, at_first: Callable[[], None] = _nothing) -> None:
    """Have this process say what it is at from now on, or nobody.

    Args:
        board: where it says so.
        at_first: called before it first says anything, which it does before it opens a file.
    """
    global _board, _told, _at_first
    _board, _told, _at_first = board, Told(), at_first
    _deeds.clear()


os.register_at_fork(after_in_child=lambda: tell(None))  # what is forked off has a say of its own


def limited_to(seconds: float | None) -> None:
    """Have whoever guards this process end it when it has taken so long in all."""
    with _lock:
        _told.limit = seconds
        _publish()


@contextmanager
def doing(what: str = "", file: Path | str = "") -> Iterator[None]:
    """Say what is done until the block ends: words that follow "while", or which file is read."""
    if _board is None:
        yield
        return
    before = _deeds.get(threading.get_ident())
    _at(what, str(file))
    try:
        yield
    finally:
        _at(*("", "") if before is None else (before.what, before.file))


def each_read(file: str, items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, each of which is read from a file when it is asked for."""
    iterator = iter(items)
    end = object()
    while True:
        with doing(file=file):
            item = next(iterator, end)
        if item is end:
            return
        yield item  # type: ignore[misc]


@contextmanager
def claiming(output: Path) -> Iterator[None]:
    """Say until the block ends that an output is this process's, with what is half-written."""
    with _keeping(_told.outputs, os.path.abspath(output)):  # noqa: PTH100 (links stay)
        yield


@contextmanager
def own_folder() -> Iterator[Path]:
    """Yield a folder for what nobody else is to see, which goes with the process."""
    from tempfile import TemporaryDirectory  # which takes longer to import than all of this

    with TemporaryDirectory(prefix="nrcscan-") as folder, _keeping(_told.folders, folder):
        yield Path(folder)


@contextmanager
def _keeping(names: list[str], name: str) -> Iterator[None]:
    with _lock:
        names.append(name)
        _publish()
    try:
        yield
    finally:
        with _lock:
            names.remove(name)
            _publish()


def _at(what: str, file: str) -> None:
    if _board is None:
        return
    thread = threading.get_ident()
    with _lock:
        if what or file:
            _deeds[thread] = Deed(thread, what, file)
        else:
            _deeds.pop(thread, None)
        _told.deeds = list(_deeds.values())
        _publish()


def _publish() -> None:
    global _at_first
    if _board is not None:
        begin, _at_first = _at_first, _nothing
        begin()
        _board.write(_told)
