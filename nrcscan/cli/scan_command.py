"""``nrcscan scan``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

import nrcscan
from nrcscan.cli.console import INTERRUPTED, emit, in_terminal, progress, say
from nrcscan.cli.option_groups import DataFactory, DataFiles, given_in, one_source, takes
from nrcscan.options.effect import require_effect
from nrcscan.options.gate_options import GateOptions
from nrcscan.options.scan_options import ScanOptions


@takes(many=True, options=ScanOptions, gating=GateOptions)
def scan(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoints are, in sub-folders too.")],
    data: DataFiles = None,
    data_factory: DataFactory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(
        "scan"
    ),
    form: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--format", help="What to show; the output folder has JSON and CSV anyway."),
    ] = "table",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every rule with the values that decided it.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")
    ] = None,
    *,
    options: ScanOptions,
    gating: GateOptions,
    context: typer.Context,
) -> None:
    """Measure every checkpoint in a folder, and show how collapse develops.

    Example: nrcscan scan runs/ data.npz -o scan/
    """
    from nrcscan.gating.requirements import gather_rules
    from nrcscan.gating.settings_file import find_settings
    from nrcscan.gating.verdicts import require_writable, verdicts_of

    settings, given = find_settings(), given_in(context)
    wanted = gather_rules(settings, **gating)
    if not wanted:
        require_effect({"--explain": explain}, "without rules", "give rules, or leave it out")
    require_writable(junit)
    source = one_source(data, data_factory, "scan", settings.data)
    for told in (settings.told(given), wanted.told()):
        if told:
            say(told)
    with _watched(output) as advance:
        found = nrcscan.scan(
            folder,
            source,
            output,
            **settings.completed(options, given),
            on_note=say,
            on_progress=advance,
        )
    _show(found, form)
    say(f"{output}: scan.json, scan.csv and a statistics file per checkpoint")
    verdicts = verdicts_of(found.to_dict(), wanted, folder=folder, explained=explain, junit=junit)
    if form == "table":
        emit(verdicts.text, None)
    else:  # stdout has data alone
        sys.stderr.write(verdicts.text)
    for note in verdicts.notes:
        say(note)
    raise typer.Exit(verdicts.exit_code)


@contextmanager
def _watched(output: Path) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told of progress, and say what is kept of a scan that is interrupted."""
    done = total = 0
    bar = progress("checkpoints")
    try:
        with bar:
            task = bar.add_task("checkpoints", total=None, visible=False)

            def advance(now: int, of: int) -> None:
                nonlocal done, total
                done, total = now, of
                bar.update(task, completed=now, total=of, visible=now < of)

            yield advance
    except KeyboardInterrupt as error:
        kept = f"{done} of {total} checkpoints are kept in {output}" if total else "nothing is lost"
        say(f"interrupted: {kept}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from error


def _show(found: nrcscan.Scan, form: str) -> None:
    if form != "table":
        return emit(found.to_json() if form == "json" else found.to_csv(), None)
    from nrcscan.reporting.numbers import plain
    from nrcscan.scanning import scan_table

    shown = scan_table.table(found)
    if not in_terminal(shown):
        emit(plain(shown), None)
    return None
