"""``nrcscan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, in_terminal
from nrcscan.cli.option_groups import Form, Written, takes
from nrcscan.options.report_options import ReportOptions


@takes(options=ReportOptions)
def report(
    acts: Annotated[Path, typer.Argument(help="A file of nrcscan extract.")],
    form: Form = "table",
    output: Written = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show every value with its standard error.")
    ] = False,
    chance: Annotated[
        bool, typer.Option("--chance", help="Show what every value would be by chance.")
    ] = False,
    *,
    options: ReportOptions,
) -> None:
    """Show where collapse begins, layer by layer.

    Example: nrcscan report acts.h5 --format json -o report.json
    """
    result = nrcscan.report(acts, **options)
    from nrcscan.reporting import report_table

    shown = report_table.Shown(errors, chance)
    if form == "table" and output is None:
        table = report_table.table(result, shown)
        if in_terminal(table, report_table.least_width(result, shown)):
            return
    emit(report_table.render(result, form, shown), output)
