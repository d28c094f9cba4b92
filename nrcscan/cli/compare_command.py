"""``nrcscan compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, in_terminal
from nrcscan.cli.option_groups import Form, Written, takes
from nrcscan.options.effect import require_effect
from nrcscan.options.report_options import ReportOptions

QUANTITY = "noise_component"


@takes(options=ReportOptions)
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="ACTS...", help="Files of nrcscan extract, or folders of nrcscan scan."
        ),
    ],
    quantity: Annotated[
        str, typer.Option(help="What the table shows of every layer: any quantity of a report.")
    ] = QUANTITY,
    form: Form = "table",
    output: Written = None,
    *,
    options: ReportOptions,
) -> None:
    """Show several runs side by side, layer by layer, and where they differ.

    Example: nrcscan compare wd0.h5 wd0.01.h5 wd0.05.h5
    """
    if form in ("json", "csv") and quantity != QUANTITY:
        remedy = "leave it out: that has every quantity anyway"
        require_effect({"--quantity": quantity}, f"with --format {form}", remedy)
    result = nrcscan.compare(paths, **options)
    from nrcscan.comparing import comparison_table

    shown = comparison_table.Tables(result, quantity)
    terminal = form == "table" and output is None
    if not (terminal and in_terminal(shown, shown.least_width)):
        emit(comparison_table.render(result, form, quantity), output)
