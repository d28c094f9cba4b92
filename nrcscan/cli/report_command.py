"""``nrcscan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, in_terminal
from nrcscan.cli.option_groups import FormOfReport, Written, takes
from nrcscan.errors import UsageError
from nrcscan.options.choices import ReportFormat
from nrcscan.options.report_options import ReportOptions


@takes(options=ReportOptions)
def report(
    acts: Annotated[Path, typer.Argument(help="A file of nrcscan extract.")],
    form: FormOfReport = "table",
    output: Written = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show every value with its standard error.")
    ] = False,
    chance: Annotated[
        bool, typer.Option("--chance", help="Show what every value would be by chance.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="TEST", help="The same network on other samples: show both, and the gap."
        ),
    ] = None,
    *,
    options: ReportOptions,
) -> None:
    """Show where collapse begins, layer by layer.

    Example: nrcscan report acts.h5 --format json -o report.json
    """
    if against is not None:
        _require_none({"--errors": errors, "--chance": chance})
        _beside(acts, against, form, output, options)
        return
    result = nrcscan.report(acts, **options)
    from nrcscan.reporting import report_table

    shown = report_table.Shown(errors, chance)
    if form == "table" and output is None:
        table = report_table.table(result, shown)
        if in_terminal(table, report_table.least_width(result, shown)):
            return
    emit(report_table.render(result, form, shown), output)


def _beside(
    acts: Path, test: Path, form: ReportFormat, output: Path | None, options: ReportOptions
) -> None:
    """Show a network on two sets of samples.

    Raises:
        UsageError: two reports side by side have no such form.
    """
    if form == "tex":
        raise UsageError("--format tex: is for the report of one file; leave out --against")
    found = nrcscan.against(acts, test, **options)
    from nrcscan.comparing import against_table

    if form == "table" and output is None and in_terminal(against_table.BothSides(found)):
        return
    emit(against_table.render(found, form), output)


def _require_none(flags: dict[str, bool]) -> None:
    """Refuse what has no effect on two reports side by side.

    Raises:
        UsageError: a flag of a single report is given with --against.
    """
    for flag, given in flags.items():
        if given:
            raise UsageError(
                f"{flag} is for the report of one file; leave it out with --against, which shows"
                " the gaps with their errors"
            )
