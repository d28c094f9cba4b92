"""``nrcscan inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, in_terminal
from nrcscan.cli.option_groups import Checkpoint, takes
from nrcscan.files.inert_json import json_text
from nrcscan.options.pass_options import CheckpointOptions


@takes(options=CheckpointOptions)
def inspect(
    model: Checkpoint,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    *,
    options: CheckpointOptions,
) -> None:
    """Show what a checkpoint is and holds; nothing in it runs, unless it is trusted.

    Examples:
        nrcscan inspect model.pt
        nrcscan inspect run/checkpoint.ckpt --state-key ema --json
    """
    found = nrcscan.inspect(model, **options)
    if json_:
        emit(json_text(found.to_dict(), indent=2) + "\n", None)
        return
    from nrcscan.inspecting import inspection_table
    from nrcscan.reporting.numbers import plain

    shown = inspection_table.inspection(found)
    if not in_terminal(shown):
        emit(plain(shown), None)
