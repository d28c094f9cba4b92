"""What commands share at the terminal: results out, notes and progress beside, errors in a line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from nrcscan.errors import NrcscanError, OutputError, UsageError
from nrcscan.options.faces import at_terminal

INTERRUPTED = 130
CLOSED_PIPE = 141
_ASCII = str.maketrans(
    {
        "✓": "+",
        "✗": "-",
        "·": ".",
        "—": "n/a",
        "▼": "v",
        "─": "-",
        "→": ">",
        "×": "x",
        "²": "^2",
        "≠": "!=",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
        "√": "sqrt",
        "ρ": "rho",
        "…": "...",
    }
)


@contextmanager
def errors() -> Iterator[None]:
    """Turn an error that a user can cause into one line, which names flags, and an exit code."""
    try:
        with at_terminal(), _names_in_bounds():
            yield
    except NrcscanError as error:
        print(f"error: {error}", file=sys.stderr)
        if hasattr(error, "caret") and sys.stderr.isatty():
            print(error.caret, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        print("interrupted: nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from error


@contextmanager
def _names_in_bounds() -> Iterator[None]:
    """Turn a path that the file system cannot have, wherever it is first asked for, into one line.

    Raises:
        UsageError: a path is longer than the file system allows.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = str(error.filename)
        raise UsageError(f"{name[:60]}…: a name of {len(name)} letters; check the path") from error


def speaks() -> bool:
    """Say whether this process is the only one, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Show a note on stderr."""
    if speaks():
        print(f"note: {text}", file=sys.stderr)


def progress(unit: str) -> Any:
    """Return a progress bar on stderr with rate and time left; silent when it is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.speed or 0
            return Text(f"{speed:,.0f} {unit}/s" if speed >= 10 else f"{speed:.1f} {unit}/s")

    return Progress(
        TextColumn("{task.completed:,.0f} " + unit),
        BarColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not (sys.stderr.isatty() and speaks()),
        transient=True,
    )


def emit(text: str, output: Path | None) -> None:
    """Write a result to a file, or to stdout in the marks that it can show.

    Raises:
        OutputError: what stdout leads to takes no more, such as a full disk.
    """
    if output is not None:
        from nrcscan.files.write_atomically import write_text

        write_text(output, text)
        return
    if sys.stdout is None:  # closed by whoever called
        return
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(_ASCII)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(CLOSED_PIPE) from error
        raise OutputError(
            f"the output cannot be written: {error.strerror}; write it to a file with -o"
        ) from error


def in_terminal(shown: Any, least_width: int = 0) -> bool:
    """Show something in colours if stdout is a terminal that can; say whether it was."""
    stdout = sys.stdout
    if stdout is None or not stdout.isatty() or stdout.encoding.lower() != "utf-8":
        return False
    from rich.console import Console

    console = Console()
    console.width = max(console.width, least_width)  # numbers are never cut: lines wrap instead
    console.print(shown)
    return True
