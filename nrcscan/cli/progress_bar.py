"""How far a command is: on a terminal's stderr, with a time left only where it is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from nrcscan.cli.console import shows_progress

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 0.2
"""Seconds before a bar appears: what is done by then needs none."""

SURE_AFTER = 2.0
"""Seconds of work that an estimate of the time left is made from at least."""

Advance = Callable[[int, int | None], None]
"""Called with how many are done, and in all if known."""


@contextmanager
def counting(unit: str) -> Iterator[Advance]:
    """Yield what is told how many are done; nothing is shown where stderr is no terminal."""
    with counting_in_turn(unit) as (advance,):
        yield advance


@contextmanager
def counting_in_turn(*units: str) -> Iterator[tuple[Advance, ...]]:
    """Yield the same of several things that are done one after the other, in one bar."""
    if not shows_progress():
        yield (lambda done, total: None,) * len(units)
        return
    bar = _Bar()
    try:
        yield tuple(partial(bar.advance, unit, Pace()) for unit in units)
    finally:
        bar.end()


class Pace:
    """How long the rest takes, from what was done since the first that is heard of.

    What an earlier run had done, or what getting ready took, says nothing of it.
    """

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None

    def told(self, now: float, done: int, total: int | None) -> str:
        """Return how much is done, in words, and how long the rest takes where that is known.

        Args:
            now: in seconds.
            done: so many.
            total: of so many; None if that is not known.

        >>> pace = Pace()
        >>> pace.told(10.0, 20, 100), pace.told(20.0, 60, 100), pace.told(30.0, 70, None)
        ('20 of 100', '60 of 100 (4/s), about 10 s left', '70, of how many is not known')
        """
        if self._begun is None:
            self._begun = (now, done)
        since, already = self._begun
        if total is None:
            return f"{done:,}, of how many is not known"
        text = f"{done:,} of {total:,}"
        if now - since < SURE_AFTER or done <= already:
            return text
        pace = (done - already) / (now - since)
        return f"{text} ({pace:.3g}/s), about {_duration((total - done) / pace)} left"


def _duration(seconds: float) -> str:
    """Return a time as people say it, no more exact than an estimate is.

    >>> _duration(42.4), _duration(400), _duration(9000)
    ('42 s', '7 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Bar:
    """A bar that appears when there is something to wait for, and goes when it is over."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._shown: Progress | None = None
        self._alone = Lock()  # batches and layers are done side by side

    def advance(self, unit: str, pace: Pace, done: int, total: int | None) -> None:
        """Show how many are done."""
        with self._alone:
            now = time.monotonic()
            text = f"{unit}: {pace.told(now, done, total)}"
            if self._shown is None:
                if now - self._begun < PATIENCE:
                    return
                self._shown = _started()
            (task,) = self._shown.task_ids
            self._shown.update(task, completed=done, total=total, description=text)

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._shown is not None:
            self._shown.stop()


def _started() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    shown = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    shown.add_task("", total=None)
    shown.start()
    return shown
