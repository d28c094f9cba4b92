"""``nrcscan compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, encoding_of_stdout, in_terminal, placed
from nrcscan.cli.option_groups import Force, Form, Written, takes
from nrcscan.options.effect import require_effect
from nrcscan.options.report_options import ReportOptions
from nrcscan.scanning.scan_file import whole_of

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
        str,
        typer.Option(
            metavar="NAME", help="What the table shows of every layer: any quantity of a report."
        ),
    ] = QUANTITY,
    form: Form = "table",
    output: Written = None,
    force: Force = False,
    *,
    options: ReportOptions,
) -> None:
    """Show several runs side by side, layer by layer, and where they differ.

    Examples:
        nrcscan compare wd0.h5 wd0.01.h5 wd0.05.h5
        nrcscan compare scan/ --quantity cka
        nrcscan compare before.h5 after.h5 --format csv -o runs.csv
    """
    output = placed(output, map(whole_of, paths), force=force)
    if form in ("json", "csv") and quantity != QUANTITY:
        remedy = "leave it out: that has every quantity anyway"
        require_effect({"--quantity": quantity}, f"with --format {form}", remedy)
    result = nrcscan.compare(paths, **options)
    from nrcscan.comparing import comparison_table

    shown = comparison_table.Tables(result, quantity)
    terminal = form == "table" and output is None
    if not (terminal and in_terminal(shown, shown.least_width)):
        encoding = "utf-8" if output is not None else encoding_of_stdout()
        emit(comparison_table.render(result, form, quantity, encoding=encoding), output)
