"""``nrcscan report``."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, in_terminal, say
from nrcscan.cli.option_groups import Form, Written, given_in, takes
from nrcscan.options.choices import Format
from nrcscan.options.effect import require_effect
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.scanning.scan_file import is_scan


@takes(options=ReportOptions)
def report(
    acts: Annotated[
        Path, typer.Argument(help="A file of nrcscan extract, or a scan: see --checkpoint.")
    ],
    form: Form = "table",
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
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Which of a scan's, judged as the scan judged it."),
    ] = None,
    *,
    options: ReportOptions,
    context: typer.Context,
) -> None:
    """Show where collapse begins, layer by layer.

    Example: nrcscan report acts.h5 --format json -o report.json
    """
    asked = {"--errors": errors, "--chance": chance}
    if form in ("json", "csv"):
        require_effect(asked, f"with --format {form}", "leave it out: json has them anyway")
    if against is not None:
        alone = {**asked, "--checkpoint": checkpoint}
        require_effect(alone, "with --against", "leave it out: gaps are shown with their errors")
        _beside(acts, against, form, output, options)
        return
    result = _reported(acts, checkpoint, options, given_in(context))
    from nrcscan.reporting import report_table

    shown = report_table.Shown(errors, chance)
    if form == "table" and output is None:
        table = report_table.table(result, shown)
        if in_terminal(table, report_table.least_width(result, shown)):
            return
    emit(report_table.render(result, form, shown), output)


def _reported(
    acts: Path, checkpoint: str | None, options: ReportOptions, given: Set[str]
) -> nrcscan.Report:
    """Report on a file, or on a checkpoint of a scan, which has options of its own."""
    if checkpoint is None and not is_scan(acts):
        return nrcscan.report(acts, **options)
    from nrcscan.scanning.one_checkpoint import report_of_checkpoint

    told = {**options, **vars(options["thresholds"] or Thresholds())}
    chosen = {name: value for name, value in told.items() if name in given}
    return report_of_checkpoint(acts, checkpoint, chosen, on_note=say)


def _beside(
    acts: Path, test: Path, form: Format, output: Path | None, options: ReportOptions
) -> None:
    """Show a network on two sets of samples."""
    found = nrcscan.against(acts, test, **options)
    from nrcscan.comparing import against_table

    if form == "table" and output is None and in_terminal(against_table.BothSides(found)):
        return
    emit(against_table.render(found, form), output)
