"""What is said, and swept, for a process that crashed, hung or took all memory."""

from __future__ import annotations

import re
import shutil
import signal
import sys
import time
from pathlib import Path

from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.files import claims
from nrcscan.files.at_work import Deed, Told
from nrcscan.files.budgets import told as told_bytes
from nrcscan.wording import listed

CRASHES = (
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE),
    *(signal.SIGTRAP, signal.SIGSYS),
)
"""Signals that a process gets for what it did itself."""

_THREAD = re.compile(r"^(?:Current thread|Thread) 0x([0-9a-f]+)", re.M)
_FRAME = re.compile(r'^  File "([^"]*)"', re.M)
_PACKAGE = re.compile(r".*/(?:site|dist)-packages/([^/.]+)")
_PATIENCE = 2.0
"""Seconds that a claim is waited for."""


def crashed(told: Told, number: int, report: str) -> InputError:
    """Return the error that a library, or the network's own code, has crashed, and what to do.

    Args:
        told: what the process was at.
        number: the signal that ended it.
        report: of `faulthandler`, on the thread that crashed; may be empty.

    Raises:
        InputError: a damaged file, the network's code or a fault in a library crashed the program.
    """
    thread = _THREAD.search(report)
    deeds = [deed for deed in told.deeds if thread and deed.thread == int(thread[1], 16)]
    deeds = deeds or told.deeds
    who, what = _place(deeds)
    how = f"{signal.Signals(number).name}) while {what}"
    crash = f"{who} crashed{_inside(report)}"
    if not deeds:
        return InputError(f"{crash} ({how}: a library has a fault; try it with other versions")
    if any(deed.what for deed in deeds):
        return InputError(
            f"{crash} ({how}: that code or a library has a fault; run it by itself to find where"
        )
    return InputError(
        f"{crash} ({how}: it is damaged, or a library has a fault; save or copy it again, or in"
        " another form"
    )


def killed(told: Told, *, out_of_memory: bool) -> InputError:
    """Return the error that a process was killed from outside, and what to do.

    Args:
        told: what it was at.
        out_of_memory: whether the system has ended a program for want of memory meanwhile.

    Raises:
        InputError: the system has ended the program, usually as no memory was left.
    """
    who, what = _place(told.deeds)
    if out_of_memory:
        return InputError(
            f"{who} was ended by the system, which ran out of memory while {what}; use a smaller"
            " --batch-size, or more memory"
        )
    return InputError(f"{who} was killed (SIGKILL) while {what}; see who did, or run it again")


def too_long(told: Told, limit: float) -> InputError:
    """Return the error that a process has used up its time, and what to do.

    Args:
        told: what it was at.
        limit: seconds that it had.

    Raises:
        InputError: opening the files, or running the network, takes longer than --timeout.
    """
    who, what = _place(told.deeds)
    return InputError(
        f"{who} took longer than --timeout {limit:g}: given up while {what}; give more time, or"
        " see what it waits for"
    )


def too_much(told: Told, held: int, bound: str) -> InputError:
    """Return the error that a process holds more memory than there is for it, and what to do.

    Args:
        told: what it was at.
        held: bytes that it holds.
        bound: how much it may hold, in words.

    Raises:
        InputError: the program takes so much memory that little is left, or more than `ulimit -m`.
    """
    who, what = _place(told.deeds)
    return InputError(
        f"{who} was ended before memory runs out while {what}: it held {told_bytes(held)}, and"
        f" {bound}; use a smaller --batch-size, or more memory"
    )


def _place(deeds: list[Deed]) -> tuple[str, str]:
    """Return how a message begins, with the file if one is to blame, and what was done."""
    files = list(dict.fromkeys(deed.file for deed in deeds if deed.file))
    others = list(dict.fromkeys(deed.what for deed in deeds if deed.what))
    if len(files) == 1 and not others:
        return f"{files[0]}: nrcscan", "it was read"
    phrases = [*(f"{file} was read" for file in files), *others]
    return "nrcscan", listed(phrases) if phrases else "it worked"


def _inside(report: str) -> str:
    """Return which package crashed, where the traceback begins in one that is not this."""
    begins = _FRAME.search(report)
    package = begins and _PACKAGE.match(begins[1])
    return f" in {package[1]}" if package and package[1] != "nrcscan" else ""


def sweep(told: Told) -> None:
    """Remove what a process that has ended left of its outputs, and folders of its own."""
    for folder in told.folders:
        shutil.rmtree(folder, ignore_errors=True)
    for output in map(Path, told.outputs):
        until = time.monotonic() + _PATIENCE
        # What the process had started may hold its claim too, for as long as it takes to end.
        while not _swept(output) and time.monotonic() < until:
            time.sleep(0.02)


def _swept(output: Path) -> bool:
    try:
        with claims.claimed(output):  # which sweeps what a program left that is gone
            return True
    except UsageError:
        return False
    except OSError:  # the folder is gone, or not ours any more
        return True


def say(error: NrcscanError) -> None:
    """Show an error on stderr, where a bar may stand that hid the cursor."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[2K\x1b[?25h")
    print(f"error: {error}", file=sys.stderr)
