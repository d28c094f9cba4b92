"""``nrcscan merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, say
from nrcscan.cli.option_groups import takes


@takes()
def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="PART...", help="Files of nrcscan extract.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(
        "acts.h5"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Merge the statistics of data shards into one file, as if one pass had seen all samples.

    Example: nrcscan merge part1.h5 part2.h5 -o acts.h5
    """
    result = nrcscan.merge(parts, output, force=force, on_note=say)
    fit = "" if result.r2 is None else f", R² = {result.r2:.3f}"
    size = f"{len(result.layers)} layers, {result.n_samples} samples of {result.n_parts} parts"
    emit(f"{result.path}: {size}{fit}\n", None)
    say(f"see where it collapses with: nrcscan report {result.path}")
