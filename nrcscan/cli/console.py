"""What commands share at the terminal: results out, notes and progress beside, errors in a line."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from nrcscan.errors import InputError, NrcscanError, OutputError
from nrcscan.files.claims import holding
from nrcscan.files.open_safely import too_long
from nrcscan.options.faces import at_terminal
from nrcscan.wording import in_ascii, printable, reason

STDOUT = "-"
INTERRUPTED = 130
CLOSED_PIPE = 141


@contextmanager
def errors() -> Iterator[None]:
    """Turn an error that a user can cause into one line, which names flags, and an exit code."""
    try:
        with at_terminal(), _names_in_bounds(), holding():
            yield
    except NrcscanError as error:
        print(f"error: {error}", file=sys.stderr)
        for text in left_by(error):
            print(f"note: {text}", file=sys.stderr)
        if error.__cause__ is not None:
            detail(f"because of {type(error.__cause__).__name__}: {reason(error.__cause__)}")
        if hasattr(error, "caret") and sys.stderr.isatty():
            print(error.caret, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except MemoryError as error:
        print(f"error: {_no_memory()}", file=sys.stderr)
        raise typer.Exit(NrcscanError.exit_code) from error
    except KeyboardInterrupt as error:
        kept = "; ".join(left_by(error))
        print(f"interrupted: {kept or 'nothing was written'}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from error


def left_by(error: BaseException) -> list[str]:
    """Return what an unfinished command keeps, as an error or an interruption tells it."""
    return [printable(text) for text in getattr(error, "__notes__", [])]


def _no_memory() -> InputError:
    """Return the error that the system gives no more memory.

    Raises:
        InputError: more memory is needed than there is, or than `ulimit -v` allows.
    """
    return InputError("there is not enough memory; use a smaller --batch-size, or more memory")


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
        raise too_long(str(error.filename)) from error


@dataclass
class _Volume:
    """How much is said beside results and errors.

    Attributes:
        quiet: neither notes nor progress.
        verbose: details too.
    """

    quiet: bool = False
    verbose: bool = False


_volume = _Volume()


@contextmanager
def speaking(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Have a command say less than usual, or more, and at its end how long it took."""
    _volume.quiet, _volume.verbose = quiet, verbose and not quiet
    begun = time.perf_counter()
    try:
        yield
        detail(f"took {time.perf_counter() - begun:.2f} s")
    finally:
        _volume.quiet = _volume.verbose = False


def speaks() -> bool:
    """Say whether this process is the only one, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Show a note on stderr, unless --quiet is given."""
    if speaks() and not _volume.quiet:
        print(f"note: {printable(text)}", file=sys.stderr)


def detail(text: str) -> None:
    """Show a note on stderr if --verbose is given."""
    if _volume.verbose:
        say(text)


def shows_progress() -> bool:
    """Say whether anybody would see on stderr how far a command is."""
    return sys.stderr.isatty() and speaks() and not _volume.quiet


def placed(
    output: Path | None,
    inputs: Iterable[Path | None] = (),
    begins: tuple[bytes, ...] = (),
    *,
    force: bool = False,
) -> Path | None:
    """Return where a result is to be written, before any work is done; None for stdout, as "-".

    Whatever a command writes is checked by the same two rules: an input is never written over, and
    nothing else that is there unless --force is given.

    Args:
        output: as it was given.
        inputs: files and folders that are read.
        begins: what files of the output's form begin with; see `require_apart`.
        force: replace what is there.

    Raises:
        UsageError: it is an input, or is there already and is not to be replaced.
        OutputError: its folder is missing, full, or cannot be written to.
    """
    if output is None or str(output) == STDOUT:
        return None
    from nrcscan.files.write_atomically import require_apart, require_free

    require_apart(output, [path for path in inputs if path is not None], begins)
    require_free(output, force=force)
    return output


def emit(text: str, output: Path | None) -> None:
    """Write a result to a file, or to stdout in the marks that it can show.

    Raises:
        OutputError: what stdout leads to takes no more, such as a full disk.
    """
    if output is not None:
        from nrcscan.files.write_atomically import write_text

        write_text(output, text)
        say(f"wrote {output}")
        return
    if sys.stdout is None:  # closed by whoever called
        return
    try:
        text.encode(encoding_of_stdout())
    except UnicodeEncodeError:
        text = in_ascii(text)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(CLOSED_PIPE) from error
        raise OutputError(
            f"stdout cannot be written: {error.strerror}; write to a file, with > or -o"
        ) from error


def emit_line(text: str) -> None:
    """Write a result that is one line, names of files in it, to stdout.

    Raises:
        OutputError: what stdout leads to takes no more, such as a full disk.
    """
    emit(f"{printable(text)}\n", None)


def encoding_of_stdout() -> str:
    """Return what a table has to be laid out for; where there is no stdout it does not matter."""
    return getattr(sys.stdout, "encoding", None) or "ascii"


def in_terminal(shown: Any, least_width: int = 0) -> bool:
    """Show something in colours if stdout is a terminal that can; say whether it was."""
    stdout = sys.stdout
    if stdout is None or not stdout.isatty() or stdout.encoding.lower() != "utf-8":
        return False
    from rich.console import Console

    from nrcscan.reporting.inert_lines import InertLines

    console = Console()
    console.width = max(console.width, least_width)  # numbers are never cut: lines wrap instead
    console.print(InertLines(shown))
    return True
