"""``nrcscan demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from nrcscan.cli.console import emit_line, say
from nrcscan.cli.extract_command import sizes, watched_pass
from nrcscan.cli.option_groups import Force, takes
from nrcscan.cli.report_command import measured, show
from nrcscan.demonstration.networks import NETWORKS, unpack


@takes()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to work in.")
    ] = Path("nrcscan-demo"),
    force: Force = False,
) -> None:
    """Measure two small networks that come along, and show what you would type.

    Their checkpoints, data and statistics stay in a folder, to go on with.

    Examples:
        nrcscan demo
        nrcscan demo -o /tmp/nrcscan --force
    """
    n_files = len(list(unpack(output, force=force)))
    say(f"wrote {output}: {n_files} files, {len(NETWORKS)} checkpoints and their data")
    kept = []
    for network in NETWORKS:
        checkpoint, data = (output / name for name in network.files)
        acts = checkpoint.with_suffix(".h5")
        kept.append(acts)
        emit_line(f"# {network.name}: {network.words}")
        _typed("extract", checkpoint, data, "-o", acts)
        result = watched_pass(checkpoint, data, acts, {}, force=force, on_note=say)
        emit_line(f"{acts}: {sizes(result)}")
        _typed("report", acts)
        show(measured(acts, {}), "table")
        emit_line("")
    emit_line("# Side by side, and what a report has besides:")
    for line in (("compare", *kept), ("report", kept[0], "--errors", "--chance")):
        _typed(*line)


def _typed(*words: object) -> None:
    """Show a command as it is typed."""
    emit_line(f"$ nrcscan {shlex.join(map(str, words))}")
