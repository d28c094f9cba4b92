"""The command line: each command parses, makes one library call, and renders."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.compare_command import compare
from nrcscan.cli.extract_command import extract
from nrcscan.cli.inspect_command import inspect
from nrcscan.cli.merge_command import merge
from nrcscan.cli.page_command import page
from nrcscan.cli.report_command import report
from nrcscan.cli.scan_command import scan
from nrcscan.errors import UsageError
from nrcscan.wording import printable

app = typer.Typer(
    name="nrcscan",
    help="Find where a trained regressor has collapsed onto its targets, and how far.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nrcscan {nrcscan.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    pass


for _command in (extract, report, page, scan, compare, merge, inspect):
    app.command(no_args_is_help=True)(_command)


class _Stopped(BaseException):
    """A signal asked the program to end; no code on the way may take it for its own exit."""


def _stop(number: int, frame: object) -> None:
    raise _Stopped(number)


def main() -> None:
    """Run the command line; a polite kill, or a closed terminal, cleans up as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(app(standalone_mode=False))
    except _Stopped as stopped:
        sys.exit(128 + stopped.args[0])
    except Exception as error:
        # Typer keeps the classes of its own usage errors to itself; this tells them.
        message: Callable[[], str] | None = getattr(error, "format_message", None)
        if message is None:
            raise
        if text := message():  # there is none where the help was shown instead
            context = getattr(error, "ctx", None)
            where = context.command_path if context is not None else "nrcscan"
            print(f"error: {printable(text).rstrip('.')}; see {where} --help", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", UsageError.exit_code))
