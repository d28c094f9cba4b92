"""Runs the command line in a process of its own, and speaks for it where it no longer can.

Files are read, and networks are run, by libraries that are not ours. One can crash, hang, or take
all memory: then only another process can say what happened, and leave nothing half-written. The
one that works is forked off before anything large is imported, which takes a few milliseconds.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from nrcscan.files import at_work

if TYPE_CHECKING:
    from nrcscan.errors import NrcscanError

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that are for the process that works, whichever of the two they reach."""

TICK = 0.1
"""Seconds between two looks at time and memory."""

FIRST_LOOK = 0.5
"""Seconds before the first: what is done by then needs none."""

PATIENCE = 1.0
"""Seconds that the process has to clean up, once its time is over."""

_DIES_WITH_PARENT, _TAKES_ORPHANS = 1, 36
"""What Linux calls prctl's PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER."""


def main() -> None:
    """Run the command line; what ends it without a word of its own is told in one line."""
    board, parent = at_work.Board(), os.getpid()
    report, reports = os.pipe()
    passed = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    before = signal.signal(signal.SIGCHLD, _wake)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*passed, signal.SIGCHLD})
    try:
        child = os.fork()
    except OSError:  # no process is left to be had: then nobody guards this one
        child = 0
    if child != 0:
        os.close(reports)
        code = _Guard(child, board, report).code(passed, mask)
        sys.stderr.flush()
        os._exit(code)  # there is nothing to take apart
    signal.signal(signal.SIGCHLD, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(report)
    if os.getpid() != parent:
        if not faulthandler.is_enabled():
            faulthandler.enable(reports, all_threads=False)
        at_work.tell(board, partial(_end_with, parent))
    from nrcscan.cli.app import main as run

    run()


class _Guard:
    """Waits for the process that works.

    Args:
        child: that process.
        board: what it says of itself.
        report: where the traceback of a crash can be read.
    """

    def __init__(self, child: int, board: at_work.Board, report: int) -> None:
        self._child, self._board, self._report = child, board, report
        self._begun = self._looked = time.monotonic()
        self._due: float | None = None
        self._why: NrcscanError | None = None
        self._run_out: int | None = None

    def code(self, passed: list[signal.Signals], mask: set[int]) -> int:
        """Return what to exit with, once the process has ended and what it left is swept.

        Args:
            passed: signals to pass on.
            mask: of signals that are to be blocked from now on.
        """
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in passed:
            signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        patience = FIRST_LOOK
        while (ended := os.waitpid(self._child, os.WNOHANG))[0] == 0:
            if select.select([woken], [], [], patience)[0]:
                os.read(woken, 4096)
            else:
                self._look()
                patience = TICK
        for number in passed:
            signal.signal(number, signal.SIG_IGN)
        return self._outcome(os.waitstatus_to_exitcode(ended[1]))

    def _pass_on(self, number: int, frame: object = None) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._child, number)

    def _look(self) -> None:
        """End the process if its time is over, or memory is."""
        if self._run_out is None:
            _prctl(_TAKES_ORPHANS, 1)
            self._run_out = memory_left().run_out()
        now = time.monotonic()
        if (
            now - self._looked > 1 + FIRST_LOOK
        ):  # stopped meanwhile, as by Ctrl-Z, and so was the work
            self._begun += now - self._looked
        self._looked = now
        if self._due is None:
            self._why = self._too_long(now - self._begun)
            self._due = None if self._why is None else now + PATIENCE
            if self._why is not None:
                return self._pass_on(signal.SIGTERM)
            self._why = self._too_much()
            self._due = None if self._why is None else now
        if self._due is not None and now >= self._due:
            self._pass_on(signal.SIGKILL)
        return None

    def _too_long(self, seconds: float) -> NrcscanError | None:
        told = self._board.read()
        if told.limit is None or seconds < told.limit:
            return None
        from nrcscan.cli import last_words

        return last_words.too_long(told, told.limit)

    def _too_much(self) -> NrcscanError | None:
        held = memory_left().held_by(self._child)
        over = None if held is None else memory_left().over(held)
        if held is None or over is None:
            return None
        from nrcscan.cli import last_words

        return last_words.too_much(self._board.read(), held, over)

    def _outcome(self, code: int) -> int:
        """Return what to exit with, and say why if the process could not."""
        if code >= 0 and (self._why is None or code != 128 + signal.SIGTERM):
            return code
        from nrcscan.cli import last_words

        told = self._board.read()
        if self._why is None and -code in last_words.CRASHES:
            self._why = last_words.crashed(told, -code, self._last_report())
        elif self._why is None and code == -signal.SIGKILL:
            before, now = self._run_out, memory_left().run_out()
            self._why = last_words.killed(told, out_of_memory=before is not None and now > before)
        _end_orphans()
        last_words.sweep(told)
        if self._why is None:
            return 128 - code
        last_words.say(self._why)
        return self._why.exit_code

    def _last_report(self) -> str:
        os.set_blocking(self._report, False)
        with suppress(BlockingIOError):
            return os.read(self._report, 1 << 16).decode(errors="replace")
        return ""


def memory_left() -> ModuleType:
    """Return the module that knows of memory, which is imported when it is first asked."""
    from nrcscan.files import memory_left as module

    return module


def _wake(number: int, frame: object) -> None:
    """Take note: that a signal came is what counts."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        with suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_with(parent: int) -> None:
    """Have this process end when the one that guards it does, however that ends."""
    if sys.platform == "linux":
        _prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(TICK)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_orphans() -> None:
    """End what the process has left running: Linux hands that on to this one."""
    left = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    with suppress(OSError):  # not told by this system
        while orphans := left.read_text().split():
            for orphan in map(int, orphans):
                os.kill(orphan, signal.SIGKILL)
                os.waitpid(orphan, 0)
