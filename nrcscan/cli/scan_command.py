"""``nrcscan scan``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

import nrcscan
from nrcscan.cli.console import INTERRUPTED, emit, encoding_of_stdout, in_terminal, placed, say
from nrcscan.cli.option_groups import (
    DataFactory,
    DataFiles,
    Force,
    given_in,
    one_source,
    takes,
    words_of,
)
from nrcscan.cli.progress_bar import counting
from nrcscan.options.effect import require_effect
from nrcscan.options.gate_options import GateOptions
from nrcscan.options.scan_options import ScanOptions

_ScanFormat = Literal["table", "json", "csv"]


@takes(many=True, options=ScanOptions, gating=GateOptions)
def scan(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Where the checkpoints are, in sub-folders too."),
    ],
    data: DataFiles = None,
    data_factory: DataFactory = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write to.")
    ] = Path("scan"),
    form: Annotated[
        _ScanFormat,
        typer.Option(
            "--format",
            metavar=words_of(_ScanFormat),
            help="What to show; the output folder has JSON and CSV anyway.",
        ),
    ] = "table",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every rule with the values that decided it.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")
    ] = None,
    force: Force = False,
    *,
    options: ScanOptions,
    gating: GateOptions,
    context: typer.Context,
) -> None:
    """Measure every checkpoint in a folder, and show how collapse develops.

    Examples:
        nrcscan scan runs/ data.npz
        nrcscan scan runs/ data.npz -o scan/ --jobs 4 --pattern 'epoch_*.pt'
        nrcscan scan runs/ data.npz --require 'model.r2 >= 0.9' --junit nrc.xml
    """
    from nrcscan.gating.requirements import gather_rules
    from nrcscan.gating.settings_file import find_settings
    from nrcscan.gating.verdicts import require_writable, verdicts_of

    settings, given = find_settings(), given_in(context)
    settings.require_no_code_of(folder, given)
    wanted = gather_rules(settings, **gating)
    if not wanted:
        require_effect({"--explain": explain}, "without rules", "give rules, or leave it out")
    require_writable(junit)
    read = (folder, output, wanted.baseline and Path(wanted.baseline.path), *(data or ()))
    junit = placed(junit, read, (b"<",), force=force)
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
    say(f"wrote {output}: scan.json, scan.csv and a statistics file per checkpoint")
    verdicts = verdicts_of(found.to_dict(), wanted, folder=folder, explained=explain, junit=junit)
    if form == "table":
        emit(verdicts.text, None)
    else:  # stdout has data alone
        sys.stderr.write(verdicts.text)
    if junit is not None:
        say(f"wrote {junit}")
    for note in verdicts.notes:
        say(note)
    raise typer.Exit(verdicts.exit_code)


@contextmanager
def _watched(output: Path) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told of progress, and say what is kept of a scan that is interrupted."""
    done = total = 0
    try:
        with counting("checkpoints") as count:

            def advance(now: int, of: int) -> None:
                nonlocal done, total
                done, total = now, of
                count(now, of)

            yield advance
    except KeyboardInterrupt as error:
        kept = f"{done} of {total} checkpoints are kept in {output}" if total else "nothing is lost"
        say(f"interrupted: {kept}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from error


def _show(found: nrcscan.Scan, form: str) -> None:
    if form != "table":
        return emit(found.to_json() if form == "json" else found.to_csv(), None)
    from nrcscan.reporting.numbers import NARROW, plain
    from nrcscan.scanning import scan_table

    if not in_terminal(scan_table.table(found)):
        emit(plain(scan_table.table(found, NARROW), encoding_of_stdout()), None)
    return None
