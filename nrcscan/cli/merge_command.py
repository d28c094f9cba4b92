"""``nrcscan merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit_line, say
from nrcscan.cli.option_groups import Force, Statistics, takes
from nrcscan.wording import r_squared


@takes()
def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="PART...", help="Files of nrcscan extract.")
    ],
    output: Statistics = Path("acts.h5"),
    force: Force = False,
) -> None:
    """Merge the statistics of data shards into one file, as if one pass had seen all samples.

    Examples:
        nrcscan merge part1.h5 part2.h5
        nrcscan merge shard*.h5 -o whole.h5 --force
    """
    result = nrcscan.merge(parts, output, force=force, on_note=say)
    fit = "" if result.r2 is None else f", R² = {r_squared(result.r2)}"
    emit_line(f"{result.path}: {result.size}{fit}")
    say(f"see where it collapses with: nrcscan report {result.path}")
