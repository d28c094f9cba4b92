"""The command line: each command parses, makes one library call, and renders."""

from __future__ import annotations

import io
import math
import signal
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.compare_command import compare
from nrcscan.cli.console import left_by
from nrcscan.cli.cut_command import cut
from nrcscan.cli.demo_command import demo
from nrcscan.cli.extract_command import extract
from nrcscan.cli.help_text import HelpfulCommand, HelpfulGroup, name_of, usage
from nrcscan.cli.inspect_command import inspect
from nrcscan.cli.measure_command import measure
from nrcscan.cli.merge_command import merge
from nrcscan.cli.page_command import page
from nrcscan.cli.plot_command import plot
from nrcscan.cli.report_command import report
from nrcscan.cli.scan_command import scan
from nrcscan.cli.schema_command import schema
from nrcscan.errors import UsageError
from nrcscan.wording import printable

app = typer.Typer(
    name="nrcscan",
    help="Find where a trained regressor has collapsed onto its targets, and how far.",
    cls=HelpfulGroup,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)

HOW_TO = """\
From which layer on has a trained regressor collapsed onto its targets, and how far?

  nrcscan demo                  what it finds in two small networks that come along
  nrcscan measure MODEL DATA    the same of your checkpoint, on your data
  nrcscan extract MODEL DATA    in two steps: measure once, into acts.h5,
  nrcscan report                and show it, as often as you like
  nrcscan scan FOLDER DATA      every checkpoint of a folder, over epochs and runs

All commands: nrcscan --help. One of them, with examples: nrcscan report --help.
"""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nrcscan {nrcscan.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(HOW_TO, nl=False)
        raise typer.Exit(UsageError.exit_code)


_COMMANDS = (
    *(demo, measure, extract, report, cut, plot, page),
    *(scan, compare, merge, inspect, schema),
)
for _command in _COMMANDS:
    app.command(cls=HelpfulCommand)(_command)


class _Stopped(BaseException):
    """A signal asked the program to end; no code on the way may take it for its own exit."""


class _Stop:
    """What a signal does: it ends the program, which cleans up, and once is enough for a while.

    A terminal, or what ends a group of processes, sends it to this process and to the one that
    guards it, which passes it on.
    """

    WHILE = 1.0

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        before, self._last = self._last, now
        if now - before < self.WHILE:
            return
        raise KeyboardInterrupt if number == signal.SIGINT else _Stopped(number)


def main() -> None:
    """Run the command line; a polite kill, or a closed terminal, cleans up as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it, and what runs aside
            signal.signal(number, _Stop())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(app(standalone_mode=False))
    except _Stopped as stopped:
        for text in left_by(stopped):
            print(f"stopped: {text}", file=sys.stderr)
        sys.exit(128 + stopped.args[0])
    except Exception as error:
        # Typer keeps the classes of its own usage errors to itself; this tells them.
        message: Callable[[], str] | None = getattr(error, "format_message", None)
        if message is None:
            raise
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "nrcscan"
        text = printable(message()).rstrip(".?")
        if type(error).__name__ == "MissingParameter" and context is not None:
            missing = name_of(error.param).rstrip(".")  # type: ignore[attr-defined]
            text = f"{missing} is missing; the call is {usage(context)}"
        print(f"error: {text}; see {where} --help", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", UsageError.exit_code))
