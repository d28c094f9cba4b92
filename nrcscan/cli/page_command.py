"""``nrcscan page``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit_line
from nrcscan.cli.option_groups import Force, takes
from nrcscan.options.page_options import PageOptions


@takes(options=PageOptions)
def page(
    source: Annotated[
        Path, typer.Argument(metavar="ACTS|SCAN", help="A file of nrcscan extract, or a scan.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("page.html"),
    force: Force = False,
    *,
    options: PageOptions,
) -> None:
    """Write a report, or a scan, as one HTML file to look at and pass on.

    Examples:
        nrcscan page acts.h5
        nrcscan page scan/ -o scan.html --force
    """
    written = nrcscan.page(source, output, force=force, **options)
    emit_line(f"{written}: {written.stat().st_size / 1e6:.2f} MB, open it in a browser")
