"""``nrcscan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import nrcscan
from nrcscan.cli.console import emit, in_terminal
from nrcscan.cli.options import Form, Written, report_options, takes


@takes(judged=report_options)
def report(
    acts: Annotated[Path, typer.Argument(help="A file of nrcscan extract.")],
    form: Form = "table",
    output: Written = None,
    *,
    judged: dict[str, Any],
) -> None:
    """Show where collapse begins, layer by layer.

    Example: nrcscan report acts.h5 --format json -o report.json
    """
    result = nrcscan.report(acts, **judged)
    from nrcscan import tables

    terminal = form == "table" and output is None
    if not (terminal and in_terminal(tables.table(result), tables.least_width(result))):
        emit(tables.render(result, form), output)
