"""``nrcscan plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit_line
from nrcscan.cli.option_groups import Force, takes
from nrcscan.options.plot_options import PlotOptions


@takes(options=PlotOptions)
def plot(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="ACTS...", help="Files of nrcscan extract, or folders of nrcscan scan."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The figure to write: .pdf, .svg or .png.",
            show_default="KIND.pdf",
        ),
    ] = None,
    force: Force = False,
    *,
    options: PlotOptions,
) -> None:
    """Draw where collapse begins: networks over depth, or a scan over its epochs.

    Examples:
        nrcscan plot acts.h5
        nrcscan plot wd0.h5 wd0.01.h5 -o collapse.pdf
        nrcscan plot scan/ --kind heatmap -o epochs.png
        nrcscan plot seed1.h5 seed2.h5 --label "λ = 0.01" --label "λ = 0.01"
        nrcscan plot scan/ scan-test/ --kind error --label training --label held-out
    """
    path = output or Path(f"{options['kind']}.pdf")
    drawn = nrcscan.plot(sources, path, force=force, **options)
    width, height = drawn.get_size_inches()
    emit_line(f"{path}: {width:.2f} × {height:.2f} in")
